"""The commands about what is held: what waits, each thing with all that is known of it, and what becomes of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli.tables import ExchangeOption, JsonOption, SymbolOption, gathered, show
from quant_assets.cli.usage import UsageProblem, check_in_catalog, chosen, load, read_symbols

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.ingest.decisions import Choice
    from quant_assets.maintenance.held import HeldItem
    from quant_assets.resources.object_store import ObjectStore

_commands = typer.Typer(
    no_args_is_help=True,
    help="What is in doubt and waits: for the source to be right, or for a decision.",
    rich_markup_mode=None,
)
_MOST_SESSIONS = 20
_COLUMNS = ("open", "high", "low", "close", "volume", "dividend", "split_ratio", "currency")

IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Ids as `quarantine list` and `show` name them (leave out with --symbol)."),
]
NoteOption = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(_commands, name="quarantine")
    _commands.command("list")(list_held)
    _commands.command("show")(show_held)
    _commands.command("accept")(accept)
    _commands.command("reject")(reject)


def list_held(
    exchange: ExchangeOption = None,
    symbol: SymbolOption = None,
    everything: Annotated[bool, typer.Option("--all", help="What has been settled, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What is held, a line for each answer, stretch, bar or action: its id, since when, and why."""
    import polars as pl

    from quant_assets.tables.quarantine import Decision, items, read_quarantine

    table = gathered(exchange, symbol, lambda store, one, _: items(read_quarantine(store, one.code)))
    if not everything:
        table = table.filter(pl.col("decision") == Decision.PENDING.value)
    table = table.rename({"item": "id"})
    if not as_json:
        columns = ["exchange", "id", "scope", "kind", "symbol", "first", "last", "since", "claims", "rule"]
        table = table.select([*columns[:4], "decision", *columns[4:]] if everything else columns)
    show(table, as_json, "nothing waits in quarantine")


def show_held(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An id as `quarantine list` names it.")],
    as_json: JsonOption = False,
) -> None:
    """One thing that is held: the claim beside what is stored, the witnesses, and what will settle it."""
    from quant_assets.maintenance.held import held_item
    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    found = held_item(store, [one.code for one in chosen(None, settings)], id_)
    if found is None:
        raise UsageProblem(
            f"quarantine show: nothing has the id {id_} (`quant-assets quarantine list --all` lists all)"
        )
    if as_json:
        print(json.dumps(found.to_json(), default=str, indent=2))
        return
    _print_item(found)


def accept(
    ids: IdsArgument = None, exchange: ExchangeOption = None, symbol: SymbolOption = None, note: NoteOption = "",
    dividend: Annotated[
        float | None,
        typer.Option(
            help="With the id of a dividend: the amount to store instead of the one that is claimed, a share of that "
            "day, in the currency of the prices."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Stores what is claimed, answers, bars and actions alike; the same values are never held again.

    What was rejected can be accepted after all, by its id.
    """
    from quant_assets.ingest.decisions import Choice
    from quant_assets.tables.quarantine import Decision

    if dividend is not None and symbol:
        raise UsageProblem("quarantine accept: --dividend is for the id of one dividend, not for --symbol")
    _decide(Choice(Decision.ACCEPTED, ids or [], _symbols(symbol), note, dividend), exchange, as_json)


def reject(
    ids: IdsArgument = None, exchange: ExchangeOption = None, symbol: SymbolOption = None, note: NoteOption = "",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Keeps what is claimed out for good; cells name such bars as rejected, a dividend in doubt becomes 0.0."""
    from quant_assets.ingest.decisions import Choice
    from quant_assets.tables.quarantine import Decision

    _decide(Choice(Decision.REJECTED, ids or [], _symbols(symbol), note), exchange, as_json)


def _symbols(option: str | None) -> list[str]:
    return read_symbols(option, "--symbol")


def _decide(choice: Choice, exchange: str | None, as_json: bool) -> None:
    from quant_assets.ingest.decisions import settle_quarantine
    from quant_assets.local_runs import Runner

    decision, wanted = choice.decision, choice.symbols
    if bool(choice.ids) == bool(wanted):
        verb = "accept" if decision.value == "accepted" else "reject"
        raise UsageProblem(f"quarantine {verb}: name ids, or --symbol for all that is pending of it")
    settings = load()
    settled: list[str] = []
    changed: dict[str, list[str]] = {}
    unknown = set(choice.ids)
    problems: list[str] = []
    exchanges = chosen(exchange, settings)
    with Runner(settings) as runner:
        check_in_catalog(runner.store, wanted, "--symbol", [one.code for one in exchanges])
        for one in exchanges:
            done = settle_quarantine(
                runner.store, one, choice,
                now=settings.clock(), min_coverage=settings.least_coverage(one.code),
            )  # fmt: skip
            settled += done.ids
            unknown -= done.named
            if done.days:
                changed[one.code] = [str(day) for day in done.days]
                runner.recorded(one.code, done.days)
                runner.derived(one, done.days[0], done.days[-1])
        problems += [
            _not_waiting(runner.store, [one.code for one in exchanges], id_) for id_ in sorted(unknown)
        ]
    if wanted and not settled:
        names = ", ".join(sorted(wanted))
        problems.append(
            f"nothing of {names} waits for a decision (`quant-assets quarantine list` lists what does)"
        )
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if as_json:
        print(json.dumps({decision.value: settled, "cells": changed, "unknown": sorted(unknown)}, indent=2))
    else:
        print(f"quarantine: {decision.value} {len(settled)}")
    if unknown or not settled:
        sys.exit(1)


def _not_waiting(store: ObjectStore, exchanges: list[str], id_: str) -> str:
    """Why an id names nothing that can be decided about."""
    from quant_assets.maintenance.held import held_item
    from quant_assets.tables.quarantine import Decision

    found = held_item(store, exchanges, id_)
    if found is None:
        return f"nothing that waits has the id {id_} (`quant-assets quarantine list`)"
    what = f"{id_}: the {found.what} of {found.facts['symbol']}"
    if found.facts["decision"] == Decision.SUPERSEDED.value:
        return f"{what} waits no more: the source has given something else since, which is stored"
    more = {
        Decision.ACCEPTED.value: "; once the source gives other values they are held, and can be accepted",
        Decision.REJECTED.value: "; `quant-assets quarantine accept` takes it after all",
    }
    return f"{what} was {found.decided}{more.get(found.facts['decision'], '')}"


def _print_item(item: HeldItem) -> None:
    from quant_assets.cli.console import console
    from quant_assets.market.settling import ACCEPTING, REJECTING, settles

    facts = item.facts
    days = f"{facts['claims']} day{'s' if facts['claims'] > 1 else ''}, last on {facts['last_claimed']}"
    lines = {
        f"{facts['symbol']} ({item.exchange})": f"{item.what}: {facts['decision']}",
        "id": facts["item"],
        "kind": f"{facts['kind']} ({facts['scope']})",
        "why": facts["rule"],
        "since": f"{facts['since']}, claimed on {days}",
        "witnesses": "; ".join(item.witnesses) or "none but the rule",
    }
    if item.decided:
        lines["decided"] = item.decided
    for name, text in lines.items():
        console.print(f"{name:<12}{text}", markup=False, soft_wrap=True)
    show(_beside(item), False, "")
    if facts["decision"] == "pending":
        effects = {
            "settles itself": settles(facts["kind"]),
            "accept": ACCEPTING[item.scope],
            "reject": REJECTING[item.scope],
        }
        for name, text in effects.items():
            console.print(f"{name:<16}{text}", markup=False, soft_wrap=True)


def _beside(item: HeldItem) -> pl.DataFrame:
    """The claims of an item, each above what is stored of its session; of many sessions the first and the last."""
    import polars as pl

    pairs = item.beside()
    half = _MOST_SESSIONS // 2
    cut = len(pairs) - 2 * half if len(pairs) > _MOST_SESSIONS else 0
    rows: list[dict[str, Any]] = []
    for number, (claim, stored) in enumerate(pairs):
        if cut and half <= number < half + cut:
            if number == half:
                rows.append({"date": "…", "": f"{cut} more (--json has all)"})
            continue
        values = {name: claim[name] for name in _COLUMNS}
        rows.append({"date": str(claim["date"]), "": "claimed", **values, "id": claim["id"]})
        rows.append(
            {"date": "", "": "stored", **({name: stored[name] for name in _COLUMNS}), "id": stored["flags"]}
            if stored
            else {"date": "", "": "nothing stored"}
        )
    schema: dict[str, type[pl.String]] = dict.fromkeys(("date", "", *_COLUMNS, "id"), pl.String)
    texts = [{name: None if row.get(name) is None else str(row[name]) for name in schema} for row in rows]
    return pl.DataFrame(texts, schema=schema).rename({"id": "id / flags"})
