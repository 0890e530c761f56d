"""What the commands that list something have in common: their options, gathering over exchanges, and printing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli.usage import check_in_catalog, chosen, load, read_symbols

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings

ExchangeOption = Annotated[
    str | None, typer.Option("--exchange", help="Exchange code, e.g. ASX. Default: all enabled ones.")
]
SymbolOption = Annotated[str | None, typer.Option("--symbol", help="Only these symbols, comma-separated.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]

_SENTENCES = ("reason", "rule", "evidence", "note")
_WIDE = 180
_MOST_SYMBOLS = 20


def gathered(
    exchange: str | None, symbol: str | None, read: Callable[[ObjectStore, Exchange, Settings], pl.DataFrame]
) -> pl.DataFrame:
    """What `read` finds of the exchanges and symbols (all where None) that options name, with the column `exchange`.

    Raises UsageProblem, ObjectDamaged, StoreUnavailable.
    """
    import polars as pl

    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    wanted = read_symbols(symbol, "--symbol")
    exchanges = chosen(exchange, settings)
    check_in_catalog(store, wanted, "--symbol", [one.code for one in exchanges])
    table = pl.concat(
        [read(store, one, settings).select(pl.lit(one.code).alias("exchange"), pl.all()) for one in exchanges]
    )
    return table.filter(pl.col("symbol").is_in(wanted)) if wanted else table


def show(table: pl.DataFrame, as_json: bool, empty: str) -> None:
    """Prints a table; `empty` where it has no rows."""
    if as_json:
        print(json.dumps(table.to_dicts(), default=str, indent=2))
        return
    from quant_assets.cli.console import console

    if table.is_empty():
        console.print(empty)
        return
    print_rows(table.columns, table.iter_rows())


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns; a terminal that is too narrow folds the lines, nothing is cut."""
    from rich.console import Console
    from rich.table import Table

    from quant_assets.cli.console import console

    shown: Any = Table(box=None, pad_edge=False)
    for name in columns:
        # What a person copies must not be cut; sentences may be folded.
        shown.add_column(name, no_wrap=name not in _SENTENCES, overflow="fold")
    for row in rows:
        shown.add_row(*("" if value is None else str(value) for value in row))
    Console(width=max(console.width, _WIDE), highlight=False, markup=False).print(shown)


def named(symbols: Sequence[str]) -> str:
    """Some symbols in a line, the first of them where there are many."""
    more = len(symbols) - _MOST_SYMBOLS
    return ", ".join(symbols[:_MOST_SYMBOLS]) + (f" and {more} more (--json lists them)" if more > 0 else "")
