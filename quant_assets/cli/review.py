"""The commands about what is missing, what was changed and what is held back: gaps, restatements, quarantine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli.usage import UsageProblem, check_in_catalog, chosen, load, read_symbols

if TYPE_CHECKING:
    import polars as pl


ExchangeOption = Annotated[
    str | None, typer.Option("--exchange", help="Exchange code, e.g. ASX. Default: all enabled ones.")
]
SymbolOption = Annotated[str | None, typer.Option("--symbol", help="Only these symbols, comma-separated.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]

_SENTENCES = ("reason", "rule")
_WIDE = 180
_EMPTY = {
    "gaps": "no gaps",
    "restatements": "no restatements",
    "quarantine": "no bar waits in quarantine",
}

_quarantine = typer.Typer(
    no_args_is_help=True, help="Bars that break a rule and wait for a decision.", rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("gaps")(gaps)
    app.command("restatements")(restatements)
    app.add_typer(_quarantine, name="quarantine")
    _quarantine.command("list")(list_quarantine)
    _quarantine.command("accept")(accept)
    _quarantine.command("reject")(reject)


def gaps(exchange: ExchangeOption = None, symbol: SymbolOption = None, as_json: JsonOption = False) -> None:
    """What is missing, with dates and evidence; `backfill --missing` heals what is not settled."""
    import polars as pl

    from quant_assets.maintenance.inventory import exchange_gaps
    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    wanted = read_symbols(symbol, "--symbol")
    exchanges = chosen(exchange, settings)
    check_in_catalog(store, wanted, "--symbol", [one.code for one in exchanges])
    found = [
        exchange_gaps(store, one, settings.clock(), symbols=wanted).select(
            pl.lit(one.code).alias("exchange"), pl.all()
        )
        for one in exchanges
    ]
    table = pl.concat(found)
    _show(table if as_json else table.drop("answers", "settled"), as_json, "gaps")
    if not as_json:
        open_ = table.filter(~pl.col("settled"))
        print(f"gaps: {table.height} open={open_.height} sessions={open_['sessions'].sum()}")


def restatements(
    exchange: ExchangeOption = None, symbol: SymbolOption = None, as_json: JsonOption = False
) -> None:
    """The ledger: every value that changed after it was stored, why, and when that became known."""
    import polars as pl

    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.restatements import Ledger

    settings = load()
    store = open_store(settings.store_location)
    wanted = read_symbols(symbol, "--symbol")
    exchanges = chosen(exchange, settings)
    check_in_catalog(store, wanted, "--symbol", [one.code for one in exchanges])
    table = pl.concat(
        [
            Ledger(store, one.code).restatements().select(pl.lit(one.code).alias("exchange"), pl.all())
            for one in exchanges
        ]
    )
    if wanted:
        table = table.filter(pl.col("symbol").is_in(wanted))
    shown = ["exchange", "symbol", "date", "field", "old", "new", "class", "rows", "detected_at"]
    _show(table if as_json else table.select(shown), as_json, "restatements")


def list_quarantine(
    exchange: ExchangeOption = None,
    symbol: SymbolOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Decided ones, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The bars that are held back, each with its id, its values and the rule it breaks."""
    import polars as pl

    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.quarantine import Decision, read_quarantine

    settings = load()
    store = open_store(settings.store_location)
    wanted = read_symbols(symbol, "--symbol")
    exchanges = chosen(exchange, settings)
    check_in_catalog(store, wanted, "--symbol", [one.code for one in exchanges])
    table = pl.concat(
        [
            read_quarantine(store, one.code).select(pl.lit(one.code).alias("exchange"), pl.all())
            for one in exchanges
        ]
    )
    if wanted:
        table = table.filter(pl.col("symbol").is_in(wanted))
    if not everything:
        table = table.filter(pl.col("decision") == Decision.PENDING.value)
    if as_json:
        _show(table, True, "quarantine")
        return
    shown = ["exchange", "id", "decision", "symbol", "date", "open", "high", "low", "close", "volume", "rule"]
    _show(table.select(shown), False, "quarantine")


IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids as `quarantine list` shows them (leave out with --symbol).")
]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]


def accept(
    ids: IdsArgument = None,
    exchange: ExchangeOption = None,
    symbol: SymbolOption = None,
    note: NoteOption = "",
) -> None:
    """Stores bars as they are, and never holds them back again."""
    _decide("accept", ids or [], exchange, symbol, note)


def reject(
    ids: IdsArgument = None,
    exchange: ExchangeOption = None,
    symbol: SymbolOption = None,
    note: NoteOption = "",
) -> None:
    """Keeps bars out for good; their cells name them as rejected."""
    _decide("reject", ids or [], exchange, symbol, note)


def _decide(verb: str, ids: list[str], exchange: str | None, symbol: str | None, note: str) -> None:
    from quant_assets.ingest.decisions import Choice, settle_quarantine
    from quant_assets.local_runs import Runner
    from quant_assets.tables.quarantine import Decision

    wanted = read_symbols(symbol, "--symbol")
    if bool(ids) == bool(wanted):
        raise UsageProblem(f"quarantine {verb}: name ids, or --symbol for all that is pending of it")
    decision = Decision.ACCEPTED if verb == "accept" else Decision.REJECTED
    settings = load()
    settled = 0
    unknown = set(ids)
    exchanges = chosen(exchange, settings)
    with Runner(settings) as runner:
        check_in_catalog(runner.store, wanted, "--symbol", [one.code for one in exchanges])
        for one in exchanges:
            done = settle_quarantine(
                runner.store, one, Choice(decision, ids, wanted, note),
                now=settings.clock(), min_coverage=settings.least_coverage(one.code),
            )  # fmt: skip
            settled += len(done.ids)
            unknown -= set(done.ids)
            if done.days:
                runner.recorded(one.code, done.days)
                runner.derived(one, done.days[0], done.days[-1])
    if unknown:
        print(f"error: no pending bar has the id {', '.join(sorted(unknown))}", file=sys.stderr)
    print(f"quarantine: {decision.value} {settled}")
    if unknown or not settled:
        sys.exit(1)


def _show(table: pl.DataFrame, as_json: bool, title: str) -> None:
    if as_json:
        print(json.dumps(table.to_dicts(), default=str, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from quant_assets.cli.console import console

    if table.is_empty():
        console.print(_EMPTY[title])
        return
    shown: Any = Table(box=None, pad_edge=False)
    for name in table.columns:
        # What a person copies must not be cut; sentences may be folded.
        shown.add_column(name, no_wrap=name not in _SENTENCES, overflow="fold")
    for row in table.iter_rows():
        shown.add_row(*("" if value is None else str(value) for value in row))
    Console(width=max(console.width, _WIDE), highlight=False, markup=False).print(shown)
