"""Constituents from a table of a web page."""

from __future__ import annotations

from quant_assets.catalog.configured import ConfiguredSymbol, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.sources.html_grid import Grid, tables_of
from quant_assets.catalog.sources.outside import read
from quant_assets.catalog.sources.tables import Table, column, listed, plain
from quant_assets.catalog.universe import HtmlTableSource, Universe
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents, shown


def read_page(
    universe: Universe, source: HtmlTableSource, exchange: Exchange, documents: Documents
) -> list[ConfiguredSymbol]:
    """The constituents that the page's table names. Raises SourceFailed."""
    data = read(universe, source.url, source.megabytes, documents)
    where = shown(source.url)
    tables = tables_of(data, source.skip)
    if tables is None:
        raise SourceFailed(universe, f"{where}: no page that can be read", "correct `url`")
    if not tables:
        raise SourceFailed(universe, f"{where}: no table on the page", "correct `url`")
    if isinstance(source.table, int):
        if source.table >= len(tables):
            raise SourceFailed(
                universe,
                f"{where}: there is no table {source.table}, the page has {len(tables)}, counted from 0",
                "correct `table`",
            )
        number = source.table
    else:
        number = _with_header(universe, source, tables, source.table, where)
    headers, rows = tables[number]
    return listed(Table(f"{where}, table {number}", headers, rows), universe, source, exchange)


def _with_header(
    universe: Universe, source: HtmlTableSource, tables: list[Grid], header: str, where: str
) -> int:
    """The number of the table that has the header, and of several the one with all columns that are asked for."""
    wanted = plain(header).casefold()
    having = [
        number for number, (headers, _) in enumerate(tables) if wanted in (one.casefold() for one in headers)
    ]
    if not having:
        shown_headers = "; ".join(
            f"{number}: {', '.join(short(one) for one in headers[:6])}"
            for number, (headers, _) in enumerate(tables[:6])
        )
        raise SourceFailed(
            universe,
            f"{where}: none of its {len(tables)} tables has the header {short(header)} ({shown_headers})",
            "correct `table`, or `skip`",
        )
    if len(having) > 1:
        whole = [number for number in having if _has_all(tables[number], source, where)]
        if len(whole) != 1:
            raise SourceFailed(
                universe,
                f"{where}: the tables {', '.join(map(str, having))} have the header {short(header)}",
                "write the number of one as `table`",
            )
        return whole[0]
    return having[0]


def _has_all(table: Grid, source: HtmlTableSource, where: str) -> bool:
    seen = Table(where, *table)
    return all(column(seen, header) is not None for header in source.columns.values())
