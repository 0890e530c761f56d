"""The commands about listings that stand in no list: look for them, see what was found, accept or reject it."""

from __future__ import annotations

import difflib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.tables import ExchangeOption, JsonOption, gathered, named, show
from quant_assets.cli.usage import UsageProblem, chosen, load, read_symbols

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.catalog.discovery import Discovery
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings
    from quant_assets.tables.discovered import State

SymbolsArgument = Annotated[str | None, typer.Argument(metavar="[SYMBOL,…]", help="Comma-separated.")]
AllOption = Annotated[bool, typer.Option("--all", help="All proposals of the exchange.")]


def register(commands: typer.Typer) -> None:
    """Adds the commands to the group `catalog`."""
    for command in (discover, proposals, accept, reject):
        commands.command(command.__name__)(command)


def discover(
    exchange: ExchangeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Looks at all listings of the exchanges, by Yahoo's screener: what stands in no list becomes a proposal, or is
    followed at once with QUANT_ASSETS_DISCOVERY=automatic. What fails or has shrunk changes nothing: exit code 2."""
    from quant_assets.catalog.discovery import Rules
    from quant_assets.catalog.discovery import discover as look
    from quant_assets.catalog.lists import known_symbols
    from quant_assets.catalog.universes_file import read_universes
    from quant_assets.exchanges import enabled
    from quant_assets.resources.documents import Documents
    from quant_assets.resources.object_store import claim, is_claimed
    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.layout import TOP_LEVEL

    settings = load()
    exchanges = chosen(exchange, settings)
    universes = read_universes(settings.universe, enabled(settings.exchanges, settings.exchanges_file))
    store = open_store(settings.store_location)
    if dry_run:
        is_claimed(store, TOP_LEVEL)
    else:
        claim(store, TOP_LEVEL)
    known = known_symbols(universes, store)
    rules = Rules(settings.discovery_types, settings.universe_shrink, settings.discovery == "automatic")
    done: list[Discovery] = []
    with closing(Documents(settings)) as documents:
        for one in exchanges:
            # Before the screener is asked: what others find later than this counts.
            now = settings.clock()
            done.append(look(store, one, known.get(one.code, ()), documents, rules, now, dry_run=dry_run))
            if not as_json:
                _print(done[-1])
    if as_json:
        print(json.dumps({"dry_run": dry_run, "exchanges": [asdict(one) for one in done]}, indent=2))
    else:
        print(_summary(done, dry_run))
    if not all(one.done for one in done):
        sys.exit(2)


def proposals(
    exchange: ExchangeOption = None,
    state: Annotated[str, typer.Option(help="proposed, accepted or rejected.")] = "proposed",
    as_json: JsonOption = False,
) -> None:
    """What was discovered and waits for a decision (or was decided: --state)."""
    import polars as pl

    from quant_assets.tables.discovered import State, read_discovered

    if state not in tuple(State):
        raise UsageProblem(f"--state {state!r}: write {', '.join(State)}")

    def read(store: ObjectStore, one: Exchange, _: Settings) -> pl.DataFrame:
        return read_discovered(store, one.code).listings.filter(pl.col("state") == state)

    table = gathered(exchange, None, read)
    empty = f"nothing is {state} (`quant-assets catalog discover` looks for listings)"
    show(table if as_json else table.drop("state", "known_at"), as_json, empty)
    if not as_json:
        print(f"proposals: {table.height} {state}")


def accept(
    symbols: SymbolsArgument = None, every: AllOption = False, exchange: ExchangeOption = None
) -> None:
    """Has discovered listings followed from now on, in the list `discovered`; the catalog takes them by itself."""
    from quant_assets.tables.discovered import State

    _settle(symbols, every, exchange, State.ACCEPTED)


def reject(
    symbols: SymbolsArgument = None, every: AllOption = False, exchange: ExchangeOption = None
) -> None:
    """Has discovered listings neither followed nor proposed again; what was accepted before leaves the catalog."""
    from quant_assets.tables.discovered import State

    _settle(symbols, every, exchange, State.REJECTED)


def _settle(symbols: str | None, every: bool, exchange: str | None, state: State) -> None:
    from quant_assets.catalog.discovery import settle
    from quant_assets.resources.object_store import claim
    from quant_assets.resources.open_store import open_store
    from quant_assets.tables.discovered import read_discovered
    from quant_assets.tables.layout import TOP_LEVEL

    wanted = read_symbols(symbols, "SYMBOL")
    if bool(wanted) == every:
        raise UsageProblem("name symbols, or say --all for the proposals of an exchange (one of the two)")
    if every and exchange is None:
        raise UsageProblem("--all is of one exchange: say which with --exchange")
    settings = load()
    store = open_store(settings.store_location)
    codes = [one.code for one in chosen(exchange, settings)]
    by_code: dict[str, list[str] | None] = {}
    if every:
        by_code = dict.fromkeys(codes)
    else:
        places = {
            symbol: code for code in codes for symbol in read_discovered(store, code).listings["symbol"]
        }
        _refuse_unknown([symbol for symbol in wanted if symbol not in places], list(places), codes)
        for symbol in dict.fromkeys(wanted):
            some = by_code.setdefault(places[symbol], [])
            assert some is not None
            some.append(symbol)
    claim(store, TOP_LEVEL)
    count = 0
    for code, some in by_code.items():
        changed = settle(store, code, some, state, settings.clock())
        count += len(changed)
        if changed:
            print(f"{code}: {state}: {named(changed)}")
    print(f"catalog: ok {state}={count}")


def _refuse_unknown(unknown: Sequence[str], there: Sequence[str], codes: Sequence[str]) -> None:
    if not unknown:
        return
    near = sorted({name for symbol in unknown for name in difflib.get_close_matches(symbol, there, 3, 0.6)})
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise UsageProblem(
        f"not discovered on {', '.join(codes)}: {', '.join(symbol[:40] for symbol in unknown)} "
        f"({hint}`quant-assets catalog proposals` lists what is; nothing is changed)"
    )


def _print(one: Discovery) -> None:
    from quant_assets.cli.console import console

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    count = "" if one.listings is None else f" {one.listings} listings"
    say(f"{one.exchange}: {one.status}:{count} from Yahoo's screener")
    if one.reason:
        say(f"  {' '.join(one.reason.split())}")
    for word, symbols in (
        ("proposed", one.proposed),
        ("accepted", one.accepted),
        ("no longer listed", one.gone),
        ("in a list by now", one.taken),
    ):
        if symbols:
            say(f"  {word}: {named(symbols)}")
    if one.refused:
        told = [f"{symbol} ({why})" for symbol, why in one.refused.items()]
        say(f"  refused: {len(told)} that cannot be of {one.exchange}: {named(told)}")


def _summary(done: Sequence[Discovery], dry_run: bool) -> str:
    from quant_assets.catalog.discovery import Status

    counts = Counter(one.status for one in done)
    word = "dry-run" if dry_run else "ok" if all(one.done for one in done) else "incomplete"
    found = (
        f"proposed={sum(len(one.proposed) for one in done)} accepted={sum(len(one.accepted) for one in done)}"
    )
    return f"discover: {word} " + " ".join(f"{status}={counts[status]}" for status in Status) + f" {found}"
