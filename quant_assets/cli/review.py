"""The commands about what is missing and what was changed: gaps, restatements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.tables import ExchangeOption, JsonOption, SymbolOption, gathered, show
from quant_assets.cli.usage import read_symbols

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("gaps")(gaps)
    app.command("restatements")(restatements)


def gaps(
    exchange: ExchangeOption = None,
    symbol: SymbolOption = None,
    settled: Annotated[
        bool,
        typer.Option(
            "--settled", help="Those, too, that are not asked about again: suspensions, rejected bars."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What is missing, with dates and evidence; `backfill --missing` heals it. Settled gaps are counted, and listed
    with `--settled`."""
    import polars as pl

    from quant_assets.catalog.gaps import exchange_gaps
    from quant_assets.maintenance.inventory import first_day

    wanted = read_symbols(symbol, "--symbol")
    never: list[str] = []

    def read(store: ObjectStore, one: Exchange, settings: Settings) -> pl.DataFrame:
        if first_day(store, one.code) is None:
            never.append(one.code)
        return exchange_gaps(store, one, settings.clock(), symbols=wanted)

    table = gathered(exchange, symbol, read)
    open_ = table.filter(~pl.col("settled"))
    listed = table if settled else open_
    if as_json or not never or not table.is_empty():
        empty = "no gaps" if table.is_empty() else "no gaps but settled ones (`--settled` lists them)"
        show(listed if as_json else listed.drop("answers", "settled"), as_json, empty)
    if not as_json:
        if never:
            # Where nothing was asked for, nothing can be missing.
            print(f"nothing has been asked for yet of {', '.join(never)}: backfill a range first")
        print(f"gaps: {table.height} open={open_.height} sessions={open_['sessions'].sum()}")


def restatements(
    exchange: ExchangeOption = None, symbol: SymbolOption = None, as_json: JsonOption = False
) -> None:
    """The ledger: every value that changed after it was stored, why, and when that became known."""
    from quant_assets.tables.restatements import Ledger

    table = gathered(exchange, symbol, lambda store, one, _: Ledger(store, one.code).restatements())
    shown = ["exchange", "symbol", "date", "field", "old", "new", "class", "rows", "detected_at"]
    show(table if as_json else table.select(shown), as_json, "no restatements")
