"""Constituents from a text table."""

from __future__ import annotations

import codecs
import csv
import io

from quant_assets.catalog.configured import ConfiguredSymbol, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.sources.outside import read
from quant_assets.catalog.sources.tables import MOST_CELLS, Table, column, listed
from quant_assets.catalog.universe import CsvSource, Universe
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents, shown

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks, a longer one before its beginning, and the encoding that each is the mark of."""


def read_csv(
    universe: Universe, source: CsvSource, exchange: Exchange, documents: Documents
) -> list[ConfiguredSymbol]:
    """The constituents that the table names. Raises SourceFailed."""
    data = read(universe, source.path, source.megabytes, documents)
    where = shown(source.path)
    text = _decoded(universe, source, data, where)
    # Strict: else a quote that is never closed takes the rest of the file for one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=source.delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    headers: list[str] | None = None
    room = MOST_CELLS
    try:
        for cells in reader:
            room -= len(cells)
            if room < 0:
                raise SourceFailed(
                    universe,
                    f"{where}: row {reader.line_num}: more than {MOST_CELLS:,} cells until here",
                    "name a shorter list",
                )
            if reader.line_num <= source.skip or not any(cells):
                continue
            if headers is None:
                headers = cells
            elif len(cells) > len(headers) and any(cells[len(headers) :]):
                raise SourceFailed(
                    universe,
                    f"{where}: row {reader.line_num}: {len(cells)} cells under {len(headers)} headers",
                    "put quotes around what holds the delimiter",
                )
            else:
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise SourceFailed(
            universe, f"{where}: row {reader.line_num}: no text table ({error})", "correct the file there"
        ) from error
    if headers is None:
        raise SourceFailed(universe, f"{where}: nothing in it", "correct `path`, or `skip`")
    table = Table(where, headers, rows)
    wanted = source.columns["symbol"]
    if len(headers) == 1 and column(table, wanted) is None:
        likely = max(";,\t|", key=headers[0].count)
        if headers[0].count(likely):
            raise SourceFailed(
                universe,
                f"{where}: one header only, {short(headers[0])}",
                f'its cells are not divided by {short(source.delimiter)}: write delimiter: "{_written(likely)}"',
            )
    return listed(table, universe, source, exchange)


def _decoded(universe: Universe, source: CsvSource, data: bytes, where: str) -> str:
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    # Such as utf-8-sig and utf-16-le, which are of the same family.
    if marked is not None and not source.encoding.replace("_", "-").startswith(marked):
        raise SourceFailed(
            universe,
            f"{where}: begins with the byte-order mark of {marked}, and is not {source.encoding}",
            f"write encoding: {marked}",
        )
    try:
        return data.decode(source.encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise SourceFailed(
            universe,
            f"{where}: is not {source.encoding}{at}",
            "write its encoding, such as encoding: latin-1 or cp1252",
        ) from error


def _written(delimiter: str) -> str:
    return "\\t" if delimiter == "\t" else delimiter
