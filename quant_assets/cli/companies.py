"""The command about companies that nobody but a person can tell apart, or together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli.tables import ExchangeOption, JsonOption
from quant_assets.cli.usage import UsageProblem, catalog_of, check_symbols, chosen, load, read_date

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.catalog.company_review import Case, Side
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


def register(commands: typer.Typer) -> None:
    """Adds the command to the group `catalog`."""
    commands.command("review")(review)


def review(
    exchange: ExchangeOption = None,
    link: Annotated[
        tuple[str, str] | None,
        typer.Option("--link", metavar="OLD NEW", help="OLD and NEW are symbols of one company."),
    ] = None,
    separate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--separate",
            metavar="OLD NEW",
            help="They are of two. Twice the same symbol: it is another company's now.",
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", help="First day of NEW, YYYY-MM-DD. Default: as the case or the prices say."),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="Why; kept with the decision.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Symbols that may be another company's, or another symbol of one: the open cases, with what is known of both
    sides. With --link or --separate your decision, which counts before everything that was found."""
    from quant_assets.resources.open_store import open_store

    if link and separate:
        raise UsageProblem("--link and --separate say opposite things; give one")
    if (first or note) and not (link or separate):
        raise UsageProblem("--from and --note belong to a decision; add --link OLD NEW or --separate OLD NEW")
    settings = load()
    store = open_store(settings.store_location)
    codes = [one.code for one in chosen(exchange, settings)]
    catalog = catalog_of(store, codes, "catalog review")
    if link or separate:
        _decide(settings, store, catalog, link, separate, first, note, as_json)
        return
    from quant_assets.catalog.company_review import open_cases

    cases = [case for code in codes for case in open_cases(store, code, catalog, settings.clock())]
    if as_json:
        print(json.dumps([_to_json(case) for case in cases], default=str, indent=2))
        return
    for case in cases:
        _print_case(case)
    print(f"review: {len(cases)} open" if cases else "review: nothing is open")


def _decide(
    settings: Settings,
    store: ObjectStore,
    catalog: pl.DataFrame,
    link: tuple[str, str] | None,
    separate: tuple[str, str] | None,
    first: str | None,
    note: str,
    as_json: bool,
) -> None:
    from quant_assets.catalog.company_review import UndecidableCase, decisions_told
    from quant_assets.catalog.company_review import link as record_link
    from quant_assets.catalog.company_review import separate as record_separate
    from quant_assets.resources.object_store import claim
    from quant_assets.tables.layout import TOP_LEVEL

    option, pair = ("--link", link) if link else ("--separate", separate)
    assert pair is not None
    old, new = (symbol.strip().upper() for symbol in pair)
    check_symbols([old, new], catalog["symbol"].to_list(), option)
    exchange_of: dict[str, str] = dict(catalog.select("symbol", "exchange").iter_rows())
    code = exchange_of[new]
    if exchange_of[old] != code:
        raise UsageProblem(f"{option} {old} {new}: {old} is of {exchange_of[old]}, {new} of {code}")
    begin, now = read_date(first, "--from") if first else None, settings.clock()
    claim(store, TOP_LEVEL)
    try:
        if link:
            rows = record_link(store, code, old, new, begin, note, now)
        else:
            rows = record_separate(store, code, catalog, old, new, begin, note, now)
    except UndecidableCase as error:
        raise UsageProblem(f"{option} {old} {new}: {error}") from error
    if as_json:
        print(json.dumps([asdict(row) for row in rows], default=str, indent=2))
        return
    for line in decisions_told(rows):
        print(line)
    print(f"review: ok {'recorded' if rows else 'nothing new'}")


def _to_json(case: Case) -> dict[str, Any]:
    return {
        "exchange": case.exchange,
        "company_id": case.company_id,
        "old": _flat(case.old),
        "new": _flat(case.new),
        "first": case.first,
        "common_sessions": None if case.prices is None else case.prices.sessions,
        "equal_closes": None if case.prices is None else case.prices.equal,
        "evidence": case.evidence,
        "since": case.since.isoformat(),
    }


def _flat(side: Side) -> dict[str, Any]:
    return {
        "symbol": side.symbol,
        **asdict(side.facts),
        "first_bar": side.first_bar,
        "last_bar": side.last_bar,
    }


def _print_case(case: Case) -> None:
    old, new = _flat(case.old), _flat(case.new)
    name = case.old.symbol if case.prices is None else f"{case.old.symbol} {case.new.symbol}"
    print(f"{case.exchange} {name}: {case.evidence} (since {case.since.date()})")
    rows: list[tuple[str, str, str]] = [
        (fact.replace("_", " "), _shown(old[fact]), _shown(new[fact])) for fact in old
    ]
    if case.prices is None:
        rows[0] = ("", f"{case.old.symbol} before", f"{case.new.symbol} from {case.first} on")
    _print_columns(rows)
    if case.prices is not None:
        print(f"  {case.prices.equal} of {case.prices.sessions} common sessions have equal closes")
    pair = f"{case.old.symbol} {case.new.symbol}"
    print(f"  decide with: quant-assets catalog review --link {pair}, or --separate {pair}")


def _print_columns(rows: Sequence[tuple[str, str, str]]) -> None:
    widths = [max(len(row[at]) for row in rows) for at in range(2)]
    for what, old, new in rows:
        print(f"  {what:{widths[0]}}  {old:{widths[1]}}  {new}".rstrip())


def _shown(value: object) -> str:
    return "?" if value is None else str(value)
