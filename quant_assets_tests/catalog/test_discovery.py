"""Discovery: what a look finds is proposed, what was decided stands, and the catalog follows what was accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.discovery import (
    Discovery,
    Listings,
    Rules,
    Status,
    UnknownListing,
    discover,
    merged,
    settle,
)
from quant_assets.catalog.lists import inputs_sha256, known_symbols, lists_of
from quant_assets.catalog.universes_file import read_universes
from quant_assets.exchanges import enabled, exchange
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.documents import Documents
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.discovered import Discovered, State, change_discovered, read_discovered
from quant_assets.tables.layout import discovered_key
from quant_assets_tests.support import NOW, quick_settings
from quant_assets_tests.web import Web

PROPOSE = Rules(("equity",), 10, automatic=False)
FOLLOW = Rules(("equity",), 10, automatic=True)
DAY = NOW.date()
WEEK = timedelta(days=7)
FIVE = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


@pytest.fixture
def documents(market: ReplayHandle, tmp_path: Path) -> Iterator[Documents]:
    documents = Documents(quick_settings(tmp_path, market.url, attempts=1))
    yield documents
    documents.close()


def listed(*symbols: str, **more: str) -> Listings:
    return Listings({"equity": [ConfiguredSymbol(symbol=symbol, **more) for symbol in symbols]})  # pyright: ignore[reportArgumentType]


def take(
    store: LocalObjectStore, found: Listings, *known: str, rules: Rules = PROPOSE, at: datetime = NOW
) -> Discovery:
    """What `discover` does with what a look has found."""
    made: list[Discovery] = []

    def decide(before: Discovered) -> Discovered | None:
        after, told = merged("US", before, found, known, rules, at)
        made.append(told)
        return after

    change_discovered(store, "US", decide)
    return made[-1]


def states(store: LocalObjectStore, code: str = "US") -> dict[str, str]:
    return dict(read_discovered(store, code).listings.select("symbol", "state").iter_rows())


# Looking.


def test_what_stands_in_no_list_is_proposed_row_by_row(documents: Documents, store: LocalObjectStore) -> None:
    made = discover(store, exchange("ASX"), {"AAA.AX", "AAB.AX"}, documents, PROPOSE, NOW)
    symbols = tuple(f"AA{letter}.AX" for letter in "CDEGHIJ")  # one has been delisted
    assert made == Discovery("ASX", Status.CHANGED, "", 9, symbols)
    assert read_discovered(store, "ASX").listings.rows() == [
        (symbol, f"{symbol[:3].title()} Generated Ltd", "AUD", "equity", DAY, DAY, "proposed", NOW)
        for symbol in symbols
    ]
    # The same look on the same day puts nothing; a dry run never does.
    before = store.head(discovered_key("ASX"))
    assert discover(store, exchange("ASX"), set(), documents, FOLLOW, NOW, dry_run=True).accepted
    again = discover(
        store, exchange("ASX"), {"AAA.AX", "AAB.AX"}, documents, PROPOSE, NOW + timedelta(minutes=1)
    )
    assert again == Discovery("ASX", Status.UNCHANGED, "", 9)
    assert store.head(discovered_key("ASX")) == before


def test_a_listing_that_has_ended_stays_with_the_day_it_was_last_seen(
    market: ReplayHandle, documents: Documents, store: LocalObjectStore
) -> None:
    early = datetime(2012, 6, 1, 12, tzinfo=UTC)
    market.set_clock(early)
    assert "AAF.AX" in discover(store, exchange("ASX"), set(), documents, FOLLOW, early).accepted
    market.set_clock(NOW)
    made = discover(store, exchange("ASX"), set(), documents, FOLLOW, NOW)
    assert (made.status, made.gone) == (Status.CHANGED, ("AAF.AX",))
    rows = {row[0]: row[1:] for row in read_discovered(store, "ASX").listings.drop("name").iter_rows()}
    assert rows["AAF.AX"] == ("AUD", "equity", early.date(), early.date(), "accepted", early)
    assert rows["AAA.AX"] == ("AUD", "equity", early.date(), DAY, "accepted", early)
    # It is said once.
    assert discover(store, exchange("ASX"), set(), documents, FOLLOW, NOW + WEEK).gone == ()


@pytest.mark.parametrize(
    ("code", "types", "told"),
    [
        (
            "LSE",
            ("equity",),
            "LSE: Yahoo's screener: it finds no listing; try again later, or correct QUANT_ASSETS_",
        ),
        ("ASX", ("etf",), "ASX: Yahoo's screener: it finds no listing; "),
    ],
)
def test_a_look_that_finds_nothing_is_a_failure(
    documents: Documents, store: LocalObjectStore, code: str, types: Sequence[str], told: str
) -> None:
    made = discover(store, exchange(code), set(), documents, Rules(types, 10, automatic=True), NOW)  # pyright: ignore[reportArgumentType]
    assert made.status is Status.FAILED
    assert made.reason.startswith(told)
    assert not made.done
    assert list(store.list("")) == []


def test_what_cannot_be_of_the_exchange_is_refused_by_name(
    web: Web, tmp_path: Path, store: LocalObjectStore
) -> None:
    documents = Documents(quick_settings(tmp_path, web.url, attempts=1))
    quotes = ",".join(
        f'{{"symbol": "{symbol}", "exchange": "{code}", "currency": "{currency}"}}'
        for symbol, code, currency in (
            ("A.L", "LSE", "GBp"), ("B.L", "", "ZAc"), ("BHP.AX", "LSE", "AUD"), ("C/D.L", "LSE", "GBp"),
            ("BT.A.L", "LSE", "GBp"), ("E.L", "IOB", "USD"),
        )
    )  # fmt: skip
    web.put("/v1/finance/screener", f'{{"finance": {{"result": [{{"total": 6, "quotes": [{quotes}]}}]}}}}')
    made = discover(store, exchange("LSE"), set(), documents, PROPOSE, NOW)
    assert (made.listings, made.proposed) == (2, ("A.L", "B.L"))
    assert made.refused == {
        "'BHP.AX'": "BHP.AX is no symbol of LSE (its symbols end in '.L'); list it under its own exchange",
        "'C/D.L'": "a symbol is made of letters, digits and . - ^ = & _ + $",
        "'BT.A.L'": "BT.A.L: Yahoo spells it BT-A.L; write that",
        "'E.L'": "Yahoo has it on 'IOB'",
    }
    # A currency that the exchange does not quote in is not believed.
    assert read_discovered(store, "LSE").listings["currency"].to_list() == ["GBp", None]
    web.put(
        "/v1/finance/screener", '{"finance": {"result": [{"total": 1, "quotes": [{"symbol": "BHP.AX"}]}]}}'
    )
    reason = discover(store, exchange("LSE"), set(), documents, PROPOSE, NOW + WEEK).reason
    assert reason.startswith(
        "LSE: Yahoo's screener: it finds no listing (1 refused: BHP.AX is no symbol of LSE "
    )
    documents.close()


def test_damage_is_named_and_nothing_is_put(documents: Documents, store: LocalObjectStore) -> None:
    store.put(discovered_key("US"), b"no parquet")
    made = discover(store, exchange("US"), set(), documents, PROPOSE, NOW)
    assert made.status is Status.FAILED
    assert "discovered_listings/exchange=US.parquet" in made.reason
    assert store.get(discovered_key("US")).data == b"no parquet"


# What a look makes of what was known.


def test_an_answer_that_shrank_or_is_overtaken_changes_nothing(store: LocalObjectStore) -> None:
    twenty = [f"S{n:02}" for n in range(20)]
    take(store, listed(*twenty))
    before = store.head(discovered_key("US"))
    made = take(store, listed(*twenty[:17], "NEW"[:3]), at=NOW + WEEK)
    assert made.status is Status.CHANGED  # 18 of 20: as much as is believed
    assert made.gone == ("S17", "S18", "S19")
    made = take(store, listed(*twenty[:16]), at=NOW + 2 * WEEK)
    assert (made.status, made.listings, made.done) == (Status.REFUSED, 16, False)
    assert made.reason == (
        "the screener's equity listings shrank from 18 to 16 (11.1 %, and 10 % are believed): nothing is changed; "
        "look again later, and if this is right say QUANT_ASSETS_UNIVERSE_SHRINK=12 for one call"
    )
    assert take(store, listed(*twenty), at=NOW).reason.startswith("somebody looked at 2013-03-08 ")
    after = store.head(discovered_key("US"))
    assert before is not None
    assert after is not None
    assert after.version != before.version
    # Another type of asset is counted for itself.
    made = take(
        store, Listings({"etf": [ConfiguredSymbol(symbol="SPY", asset_type="etf")]}), at=NOW + 2 * WEEK
    )
    assert (made.proposed, made.gone) == (("SPY",), ())


def test_what_was_decided_stands_and_a_list_takes_over_a_proposal(store: LocalObjectStore) -> None:
    take(store, listed(*FIVE), "MSFT")
    assert settle(store, "US", ["AAPL"], State.ACCEPTED, NOW) == ["AAPL"]
    assert settle(store, "US", ["IBM"], State.REJECTED, NOW) == ["IBM"]
    # GOOG and AAPL stand in a list by now: the proposal is none any more, the accepted one stays accepted.
    made = take(store, listed(*FIVE, name="Named"), "GOOG", "AAPL", "MSFT", at=NOW + WEEK)
    assert made == Discovery("US", Status.CHANGED, "", 5, taken=("GOOG",))
    assert states(store) == {"AAPL": "accepted", "FB": "proposed", "IBM": "rejected"}
    made = take(store, listed(*FIVE), "GOOG", rules=FOLLOW, at=NOW + 2 * WEEK)
    assert made.accepted == ("FB", "MSFT")
    assert read_discovered(store, "US").listings.drop("currency", "asset_type").rows() == [
        ("AAPL", "Named", DAY, DAY + 2 * WEEK, "accepted", NOW),
        ("FB", "Named", DAY, DAY + 2 * WEEK, "accepted", NOW + 2 * WEEK),
        ("IBM", "Named", DAY, DAY + 2 * WEEK, "rejected", NOW),
        ("MSFT", None, DAY + 2 * WEEK, DAY + 2 * WEEK, "accepted", NOW + 2 * WEEK),
    ]


# Deciding.


def test_all_proposals_are_those_that_nobody_has_decided_about(store: LocalObjectStore) -> None:
    many = [f"S{n:02}" for n in range(20)]
    take(store, listed(*many, *FIVE))
    settle(store, "US", ["IBM"], State.REJECTED, NOW)
    take(store, listed(*many, "AAPL", "IBM", "GOOG", "MSFT"), at=NOW + WEEK)
    # FB is listed no longer: nobody accepts it unseen, and it can be rejected.
    assert settle(store, "US", None, State.ACCEPTED, NOW) == sorted([*many, "AAPL", "GOOG", "MSFT"])
    assert (states(store)["FB"], states(store)["IBM"]) == ("proposed", "rejected")
    assert settle(store, "US", None, State.REJECTED, NOW) == ["FB"]
    assert settle(store, "US", None, State.REJECTED, NOW) == []
    # The later word counts.
    assert settle(store, "US", ["IBM", "AAPL"], State.ACCEPTED, NOW + WEEK) == ["IBM"]
    with pytest.raises(UnknownListing, match=r"^US: not among what was discovered: 'NONE' \(`quant-assets"):
        settle(store, "US", ["NONE", "AAPL"], State.REJECTED, NOW)
    assert states(store)["AAPL"] == "accepted"
    with pytest.raises(UnknownListing):
        settle(store, "ASX", ["AAPL"], State.REJECTED, NOW)
    assert settle(store, "ASX", None, State.ACCEPTED, NOW) == []


def test_looks_and_decisions_at_once_lose_nothing(store: LocalObjectStore) -> None:
    many = [f"S{n:02}" for n in range(16)]
    take(store, listed(*many))

    def work(number: int) -> None:
        if number % 2:
            settle(store, "US", [many[number]], State.ACCEPTED, NOW)
        else:
            take(store, listed(*many, f"NEW{number:02}"), at=NOW + timedelta(seconds=1))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(16)))
    found = states(store)
    assert [symbol for symbol, state in found.items() if state == "accepted"] == many[1::2]
    assert sorted(set(found) - set(many)) == [f"NEW{number:02}" for number in range(0, 16, 2)]


# The catalog.


def test_the_catalog_follows_what_was_accepted_and_nothing_else(
    tmp_path: Path, store: LocalObjectStore
) -> None:
    both = enabled(["US", "ASX"])
    file = tmp_path / "list.yaml"
    file.write_text("US: [{symbol: IBM, name: Big Blue}]\n")
    universes = read_universes(file, both)
    assert known_symbols(universes, store) == {"US": {"IBM"}}
    plain = inputs_sha256(file, both, store)
    take(store, listed("IBM", *FIVE, name="Of Yahoo", currency="USD"))
    # Proposals change nothing of the catalog.
    assert inputs_sha256(file, both, store) == plain
    assert lists_of(universes, store).members == {}
    settle(store, "US", ["AAPL", "IBM"], State.ACCEPTED, NOW)
    settle(store, "US", ["FB"], State.REJECTED, NOW)
    followed = inputs_sha256(file, both, store)
    assert followed != plain
    assert inputs_sha256(file, both, store, universes) == followed
    # An exchange that is not in use counts for nothing.
    assert inputs_sha256(file, enabled(["ASX"]), store) == plain
    lists = lists_of(universes, store)
    first = build_catalog(lists.configured, both, None, DAY, lists.members, lists.unknown)
    assert first.select("symbol", "name", "currency", "universes", "is_active").rows() == [
        ("AAPL", "Of Yahoo", "USD", ["discovered"], True),
        ("IBM", "Big Blue", "USD", ["configured", "discovered"], True),
    ]
    # A look that finds the same later does not make the catalog anew; a rejection does.
    take(store, listed("IBM", *FIVE, name="Of Yahoo", currency="USD"), at=NOW + WEEK)
    assert inputs_sha256(file, both, store) == followed
    settle(store, "US", ["AAPL"], State.REJECTED, NOW)
    assert inputs_sha256(file, both, store) not in (plain, followed)
    assert known_symbols(universes, store) == {"US": {"IBM"}}
    lists = lists_of(universes, store)
    later = build_catalog(lists.configured, both, first, date(2013, 3, 9), lists.members, lists.unknown)
    assert later.select("symbol", "universes", "is_active").rows()[0] == ("AAPL", [], False)
