"""The commands about universes: bring them up to date with their sources, and state what was before."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli import companies, discovery
from quant_assets.cli.tables import ExchangeOption, JsonOption, SymbolOption, gathered, named, show
from quant_assets.cli.usage import (
    PhaseOption,
    UniverseOption,
    UsageProblem,
    chosen_universes,
    load,
    read_date,
)
from quant_assets.words import number_of

if TYPE_CHECKING:
    from datetime import date

    from quant_assets.catalog.refresh import Planned
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.settings import Settings
    from quant_assets.tables.membership import Statement

_commands = typer.Typer(
    no_args_is_help=True,
    help="What is known of symbols and universes beside what their sources say.",
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("refresh-universe")(refresh_universe)
    app.add_typer(_commands, name="catalog")
    _commands.command("import-membership")(import_membership)
    discovery.register(_commands)
    _commands.command("listings")(listings)
    companies.register(_commands)


def refresh_universe(
    phase: PhaseOption = None,
    universe: UniverseOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Brings universes up to date with their sources: prints what differs, then stores it.

    Without options all that are enabled. A source that fails, or has lost more constituents than
    QUANT_ASSETS_UNIVERSE_SHRINK allows, changes nothing of its universe: exit code 2.
    """
    from quant_assets.catalog.refresh import apply_refresh, finder, plan_refresh, refreshable
    from quant_assets.catalog.universes_file import read_universes
    from quant_assets.resources.documents import Documents
    from quant_assets.resources.object_store import claim, is_claimed
    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.layout import TOP_LEVEL
    from quant_assets.tables.universes import read_constituents

    settings = load()
    exchanges = _exchanges(settings)
    universes = read_universes(settings.universe, list(exchanges.values()))
    wanted = chosen_universes(refreshable(universes), universe, phase)
    store = open_store(settings.store_location)
    if dry_run:
        is_claimed(store, TOP_LEVEL)
    else:
        claim(store, TOP_LEVEL)
    # Before anything is read: what others find later than this counts.
    now = settings.clock()
    with closing(Documents(settings)) as documents:
        planned = plan_refresh(
            universes, wanted, lambda name: read_constituents(store, name),
            finder(documents, exchanges.values()), settings.universe_shrink,
        )  # fmt: skip
    if not as_json:
        for one in planned:
            _print_planned(one)
    done = planned if dry_run else apply_refresh(store, planned, now)
    if as_json:
        print(json.dumps({"dry_run": dry_run, "universes": [_to_json(one) for one in done]}, indent=2))
    else:
        for one, before in zip(done, planned, strict=True):
            if one.done != before.done:
                _print_planned(one)
        print(_summary(done, dry_run))
    if not all(one.done for one in done):
        sys.exit(2)


def import_membership(
    file: Annotated[Path, typer.Argument(help="A CSV in UTF-8 with the columns symbol, joined, left.")],
    universe: Annotated[str, typer.Option("--universe", help="The universe it is about.")],
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First day of which the file names every member, YYYY-MM-DD. Default: the earliest joined date.",
        ),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(
            "--through",
            help="Last day of which it does. Default: the day before the universe was first refreshed, else today.",
        ),
    ] = None,
) -> None:
    """States who was in a universe before it was refreshed here: a row for each stretch, `left` the first day out of
    it, or empty. It is recorded as stated, and answers `universe(name, on=date)` for its days."""
    from datetime import UTC, timedelta

    from quant_assets.catalog.membership_file import read_statement
    from quant_assets.catalog.refresh import refreshable
    from quant_assets.catalog.universes_file import read_universes
    from quant_assets.exchanges import exchange
    from quant_assets.resources.object_store import claim
    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.layout import TOP_LEVEL
    from quant_assets.tables.membership import read_membership, record_stated, seen_from

    settings = load()
    exchanges = _exchanges(settings)
    listed = refreshable(read_universes(settings.universe, list(exchanges.values())))
    universes = {one.name: one for one in listed}
    if not universes:
        raise UsageProblem(
            f"--universe {universe}: the universe file (QUANT_ASSETS_UNIVERSE) lists symbols of exchanges, and "
            "names no universe; docs/catalog.md shows how they are written"
        )
    if universe not in universes:
        raise UsageProblem(
            f"--universe {universe}: the universe file has {', '.join(universes)} (correct one)"
        )
    store = open_store(settings.store_location)
    claim(store, TOP_LEVEL)
    now = settings.clock()
    today = now.astimezone(UTC).date()
    refreshed = seen_from(read_membership(store, universe))
    until = read_date(last, "--through") if last else refreshed - timedelta(days=1) if refreshed else today
    # Of a universe that is not enabled the exchange need not be in use.
    of = exchange(universes[universe].exchange, settings.exchanges_file)
    statement = read_statement(file, of, read_date(first, "--from") if first else None, until, today)
    new = record_stated(store, universe, statement, now)
    _print_statement(universe, statement, refreshed, new=new)


def listings(
    exchange: ExchangeOption = None, symbol: SymbolOption = None, as_json: JsonOption = False
) -> None:
    """What was learned of listings, oldest first: first trades, suspensions, delistings and what came back, each with
    its date, evidence and confidence."""
    from quant_assets.tables.listing_events import read_events

    table = gathered(exchange, symbol, lambda store, one, _: read_events(store, one.code))
    show(table, as_json, "nothing has been learned of listings yet")


def _exchanges(settings: Settings) -> dict[str, Exchange]:
    from quant_assets.exchanges import enabled

    return {one.code: one for one in enabled(settings.exchanges, settings.exchanges_file)}


def _print_statement(universe: str, statement: Statement, refreshed: date | None, *, new: bool) -> None:
    symbols = len({spell.symbol for spell in statement.spells})
    stretches = number_of(len(statement.spells), "stretch", "stretches")
    print(
        f"{universe}: {stretches} of {number_of(symbols, 'symbol')}, from {statement.first} through "
        f"{statement.last}, {statement.evidence}"
    )
    days = [day for spell in statement.spells for day in (spell.joined, spell.left) if day is not None]
    if refreshed is not None and (later := sum(day >= refreshed for day in days)):
        print(f"{number_of(later, 'date')} from {refreshed} on: refreshes alone answer for these days")
    print(f"import-membership: ok {'recorded' if new else 'nothing new'}")


def _print_planned(one: Planned) -> None:
    from quant_assets.catalog.refresh import Status, source_in_words
    from quant_assets.cli.console import console

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    count = "" if one.found is None else f" {one.found.height} constituents"
    say(f"{one.universe.name}: {one.status}:{count} from {source_in_words(one.universe)}")
    if one.reason:
        say(f"  {' '.join(one.reason.split())}")
    # All of a new universe has joined.
    if one.joined and one.status is not Status.NEW:
        say(f"  joined: {named(one.joined)}")
    if one.left:
        say(f"  left: {named(one.left)}")
    if one.changed:
        changed = [f"{symbol} ({', '.join(names)})" for symbol, names in one.changed.items()]
        say(f"  changed: {named(changed)}")


def _summary(done: Sequence[Planned], dry_run: bool) -> str:
    from quant_assets.catalog.refresh import Status

    counts = Counter(one.status for one in done)
    word = "dry-run" if dry_run else "ok" if all(one.done for one in done) else "incomplete"
    return f"refresh-universe: {word} " + " ".join(f"{status}={counts[status]}" for status in Status)


def _to_json(one: Planned) -> dict[str, Any]:
    from quant_assets.catalog.refresh import source_in_words

    return {
        "universe": one.universe.name,
        "exchange": one.universe.exchange,
        "phase": one.universe.phase,
        "source": source_in_words(one.universe),
        "status": one.status.value,
        "reason": one.reason,
        "before": one.before,
        "found": None if one.found is None else one.found.height,
        "joined": list(one.joined),
        "left": list(one.left),
        "changed": {symbol: list(names) for symbol, names in one.changed.items()},
    }
