"""The symbols we follow: a list that is checked, a catalog that forgets nothing, and a ledger that only grows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.catalog.build import (
    CATALOG_SCHEMA,
    build_catalog,
    expected_through,
    followed,
    left_lists,
    with_states,
)
from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol, read_universe
from quant_assets.exchanges import enabled
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.listing_events import (
    LISTING_EVENTS_SCHEMA,
    Standing,
    State,
    events_key,
    learn_first_trades,
    read_events,
    with_learned,
)

BOTH = enabled(["US", "ASX"])
US = enabled(["US"])
DAY = date(2024, 3, 15)
NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "list.yaml"


# --- the configured list


def test_the_shipped_list_can_be_read() -> None:
    listed = read_universe(None, BOTH)
    assert [entry.symbol for entry in listed["US"]] == ["AAPL", "IBM", "MSFT"]
    assert all(entry.symbol.endswith(".AX") and entry.name for entry in listed["ASX"])


@pytest.mark.parametrize(
    "symbol",
    [
        '"AA\\0PL"',
        '"AA\\tPL"',
        '"AAPL\\x1b[31m"',
        '"A\\nB"',
        "A/B",
        "A%2FB",
        '"A?B"',
        "../AAPL",
        "ÄPFEL",
        "A B",
        "A" * 10_000,
    ],
    ids=lambda symbol: symbol[:12],
)
def test_symbols_that_are_none_are_refused_in_one_short_line(written: Path, symbol: str) -> None:
    for entry in (symbol, f"{{symbol: {symbol}}}"):
        written.write_text(f"US: [IBM, {entry}]\n", encoding="utf-8")
        with pytest.raises(CatalogError) as refused:
            read_universe(written, US)
        message = str(refused.value)
        assert message.startswith(f"{written}: US entry 2 (")
        assert message.endswith("(correct the entry)")
        assert message.isprintable()
        assert len(message) < 400


def test_the_signs_of_real_symbols_are_taken(written: Path) -> None:
    real = ["BRK-B", "M&M", "AAPL230616C00150000", "GC_F"]
    written.write_text(f"US: [{', '.join(real)}]\n")
    assert [entry.symbol for entry in read_universe(written, US)["US"]] == real


def test_symbols_may_be_bare_or_have_what_is_known_of_them(written: Path) -> None:
    written.write_text(
        "US:\n"
        "  - AAPL\n"
        "  - {symbol: ' IBM ', name: Big Blue, sector: Technology, listed_on: 1962-01-02, delisted_on: }\n"
        "LSE: [VOD.L]\n"
    )
    assert read_universe(written, BOTH) == {
        "US": [
            ConfiguredSymbol(symbol="AAPL"),
            ConfiguredSymbol(symbol="IBM", name="Big Blue", sector="Technology", listed_on=date(1962, 1, 2)),
        ]
    }


def test_a_currency_of_the_exchange_may_be_named_and_else_is_the_only_one_it_has(written: Path) -> None:
    written.write_text("LSE: [{symbol: AAA.L, currency: GBp}, AAB.L]\nUS: [AAPL]\n")
    exchanges = enabled(["LSE", "US"])
    lists = read_universe(written, exchanges)
    catalog = build_catalog(lists, exchanges, None, DAY)
    # London quotes in several: which one is the answer's to say.
    expected = {"AAA.L": "GBp", "AAB.L": None, "AAPL": "USD"}
    assert dict(catalog.select("symbol", "currency").iter_rows()) == expected
    assert dict(followed(catalog, "LSE").select("symbol", "currency").iter_rows()) == {
        "AAA.L": "GBp", "AAB.L": None,
    }  # fmt: skip


def test_symbols_that_yaml_would_take_for_something_else_stay_symbols(written: Path) -> None:
    written.write_text("US: [ON, NO, TRUE, {symbol: Y, name: null}]\n")
    entries = read_universe(written, US)["US"]
    assert [entry.symbol for entry in entries] == ["ON", "NO", "TRUE", "Y"]
    assert entries[3].name == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("US: [AAPL", "not readable as YAML"),
        pytest.param("US: " + "[" * 2000, "not readable as YAML", id="nested deeper than Python goes"),
        ("US: [AAPL]\nUS: [IBM]\n", "US is there twice"),
        ("", "lists of symbols"),
        ("- AAPL\n", "lists of symbols"),
        ("US: AAPL\n", "US is no list of symbols"),
        ("US:\n", "US is no list of symbols"),
        ("US: [BHP.AX]\n", "BHP.AX is no symbol of US"),
        ("US: [^GSPC]\n", "no symbol of US"),
        ("ASX: [AAPL]\n", "AAPL is no symbol of ASX (its symbols end in '.AX')"),
        ("US: [AAPL, {symbol: AAPL}]\n", "AAPL stands twice under US"),
        ("US: [AAPL, {name: Apple}]\n", "entry 2"),
        ("US: [{symbol: ''}]\n", "symbol: Field required"),
        ("US: [A B]\n", "entry 1 ('A B'): symbol"),
        (
            "US: [{symbol: AAPL, listed_on: 2024-02-30}]\n",
            "listed_on: '2024-02-30' is no day; write year-month-day",
        ),
        ("US: [{symbol: AAPL, listed_on: soon}]\n", "listed_on: 'soon' is no day"),
        ("US: [{symbol: AAPL, delisted_on: 15/03/2024}]\n", "delisted_on: '15/03/2024' is no day"),
        (
            "US: [{symbol: AAPL, listed_on: 2024-01-02, delisted_on: 2024-01-01}]\n",
            "delisted_on 2024-01-01 is before listed_on 2024-01-02",
        ),
        ("US: [{symbol: AAPL, sektor: Tech}]\n", "sektor"),
        (
            "US: [{symbol: AAPL, currency: AUD}]\n",
            "AAPL: US does not quote in 'AUD'; write one of USD, or leave it out",
        ),
        ("ASX: [{symbol: BHP.AX, currency: aud}]\n", "BHP.AX: ASX does not quote in 'aud'"),
        ("US: [[AAPL]]\n", "entry 1"),
        ("US: [AAPL]\nNYSE: [IBM]\n", "unknown exchange NYSE; known are ASX"),
    ],
)
def test_a_list_that_cannot_be_used_is_named_with_the_place(written: Path, text: str, told: str) -> None:
    written.write_text(text)
    with pytest.raises(CatalogError) as refused:
        read_universe(written, BOTH)
    assert str(refused.value).startswith(f"{written}: ")
    assert told in str(refused.value)


def test_a_list_that_cannot_be_read_is_named_with_the_remedy(written: Path) -> None:
    with pytest.raises(CatalogError, match=r"list\.yaml: cannot be read .*QUANT_ASSETS_UNIVERSE"):
        read_universe(written, US)
    with pytest.raises(CatalogError, match="QUANT_ASSETS_UNIVERSE"):
        read_universe(written.parent, US)
    written.write_bytes("US: [Ü]".encode("latin-1"))
    with pytest.raises(CatalogError, match="UTF-8"):
        read_universe(written, US)


# --- the catalog


def configured(*symbols: str, exchange: str = "US", **known: date | str) -> dict[str, list[ConfiguredSymbol]]:
    return {exchange: [ConfiguredSymbol.model_validate({"symbol": symbol, **known}) for symbol in symbols]}


def row(catalog: pl.DataFrame, symbol: str) -> dict[str, object]:
    return catalog.row(by_predicate=pl.col("symbol") == symbol, named=True)


def test_a_first_catalog_has_what_the_list_says() -> None:
    lists = configured("IBM", name="Big Blue", listed_on=date(1962, 1, 2)) | configured(
        "BHP.AX", exchange="ASX"
    )
    catalog = build_catalog(lists, BOTH, None, DAY)
    assert catalog.schema == CATALOG_SCHEMA
    assert catalog["symbol"].to_list() == ["BHP.AX", "IBM"]
    assert row(catalog, "IBM") == {
        "symbol": "IBM",
        "name": "Big Blue",
        "exchange": "US",
        "listing_exchange": "US",
        "asset_type": "equity",
        "sector": None,
        "industry": None,
        "currency": "USD",
        "universes": ["configured"],
        "first_seen": DAY,
        "last_seen": DAY,
        "listed_on": date(1962, 1, 2),
        "delisted_on": None,
        "is_active": True,
        "state": "active",
        "stated_delisting": None,
        "watched_until": None,
        "left_universes": [],
        "company_id": None,
        "company_since": None,
    }
    assert (row(catalog, "BHP.AX")["name"], row(catalog, "BHP.AX")["currency"]) == ("BHP.AX", "AUD")


def test_an_empty_list_makes_an_empty_catalog() -> None:
    assert build_catalog({}, BOTH, None, DAY).schema == CATALOG_SCHEMA


def test_first_seen_stays_and_last_seen_moves() -> None:
    first = build_catalog(configured("IBM", name="Big Blue"), US, None, DAY)
    later = build_catalog(configured("IBM"), US, first, DAY + timedelta(days=9))
    ibm = row(later, "IBM")
    assert (ibm["first_seen"], ibm["last_seen"]) == (DAY, DAY + timedelta(days=9))
    assert ibm["name"] == "Big Blue"


def test_a_symbol_that_left_the_list_stays_inactive_and_may_come_back() -> None:
    first = build_catalog(configured("IBM", "MSFT"), US, None, DAY)
    without = build_catalog(configured("MSFT"), US, first, DAY + timedelta(days=1))
    gone = row(without, "IBM")
    assert (gone["is_active"], gone["universes"], gone["last_seen"]) == (False, [], DAY)
    assert row(without, "MSFT")["is_active"] is True
    back = row(build_catalog(configured("IBM"), US, without, DAY + timedelta(days=2)), "IBM")
    assert (back["is_active"], back["first_seen"], back["last_seen"]) == (True, DAY, DAY + timedelta(days=2))


def test_symbols_of_an_exchange_not_in_use_now_stay_as_they_are() -> None:
    lists = configured("IBM") | configured("BHP.AX", exchange="ASX")
    first = build_catalog(lists, BOTH, None, DAY)
    later = build_catalog(lists, US, first, DAY + timedelta(days=1))
    assert row(later, "BHP.AX") == row(first, "BHP.AX")


@pytest.mark.parametrize(("days", "active"), [(-1, False), (0, True), (1, True)])
def test_a_symbol_is_active_through_its_last_trading_day(days: int, active: bool) -> None:
    catalog = build_catalog(configured("IBM", delisted_on=DAY + timedelta(days=days)), US, None, DAY)
    assert row(catalog, "IBM")["is_active"] is active


@given(st.lists(st.sets(st.sampled_from("ABCDE")), min_size=1, max_size=6))
def test_no_symbol_is_ever_forgotten_whatever_the_lists(lists: list[set[str]]) -> None:
    catalog = None
    for number, symbols in enumerate(lists):
        catalog = build_catalog(configured(*symbols), US, catalog, DAY + timedelta(days=number))
    assert catalog is not None
    seen = {s: [n for n, symbols in enumerate(lists) if s in symbols] for s in set().union(*lists)}
    assert {
        r["symbol"]: (r["first_seen"], r["last_seen"], r["is_active"]) for r in catalog.iter_rows(named=True)
    } == {
        s: (DAY + timedelta(days=n[0]), DAY + timedelta(days=n[-1]), n[-1] == len(lists) - 1)
        for s, n in seen.items()
    }


def test_a_bar_is_expected_until_the_listing_ends_or_the_symbol_left_the_list() -> None:
    ended = ConfiguredSymbol(symbol="OLD", listed_on=date(1990, 1, 2), delisted_on=date(2001, 9, 10))
    first = build_catalog({"US": [ended, *configured("IBM", "LEFT")["US"]]}, US, None, DAY)
    lists = {"US": [ended, *configured("IBM")["US"]]} | configured("BHP.AX", exchange="ASX")
    catalog = build_catalog(lists, BOTH, first, DAY + timedelta(days=7))
    expected = followed(catalog, "US").select("symbol", "listed_on", "delisted_on")
    assert expected.rows() == [
        ("IBM", None, None),
        ("LEFT", None, DAY),
        ("OLD", date(1990, 1, 2), date(2001, 9, 10)),
    ]


def test_a_symbol_that_left_a_universe_is_watched_and_one_that_somebody_took_off_his_list_is_not() -> None:
    page = {"US": {"page": configured("A", "B")["US"], "mine": configured("C", "B")["US"]}}
    first = build_catalog({}, US, None, DAY, page, sourced=["page"])
    today = DAY + timedelta(days=1)
    nobody = {"US": {"page": configured("D")["US"]}}
    catalog = build_catalog({}, US, first, today, nobody, sourced=["page"])
    watched = DAY + timedelta(days=14)
    for made in (catalog, build_catalog({}, US, catalog, today + timedelta(days=30), nobody)):
        expected = dict(followed(made, "US").select("symbol", "delisted_on").iter_rows())
        assert expected == {"A": watched, "B": watched, "C": DAY, "D": None}
        assert left_lists(made) == dict.fromkeys("ABC", DAY)
        assert expected_through(made) == {"A": watched, "B": watched, "C": DAY}
        assert dict(made.select("symbol", "left_universes").iter_rows()) == {
            "A": ["page"], "B": ["page"], "C": [], "D": [],
        }  # fmt: skip
    back = build_catalog({}, US, catalog, today, page)
    assert back["watched_until"].null_count() == back.height
    # Of a list that is no longer in the file nothing is watched either.
    gone = build_catalog({}, US, first, today, {})
    assert gone["watched_until"].null_count() == gone.height


def test_the_catalog_has_the_learned_states_and_what_is_stated_wins() -> None:
    last = DAY - timedelta(days=40)
    lists = {"US": [*configured("A", "B", "C")["US"], *configured("S", delisted_on=last)["US"]]}
    both = build_catalog(lists | configured("A.AX", exchange="ASX"), BOTH, None, DAY)
    ended = Standing(State.DELISTED, DAY, DAY)
    known = {"A": Standing(State.SUSPENDED, DAY), "B": ended, "S": ended, "A.AX": ended, "UNKNOWN": ended}
    catalog = with_states(both, known, "US")
    assert catalog.schema == CATALOG_SCHEMA
    expected = {
        "A": ("suspended", None, None, True), "B": ("delisted", DAY, None, False), "C": ("active", None, None, True),
        "S": ("delisted", last, last, False), "A.AX": ("active", None, None, True),
    }  # fmt: skip
    columns = ("state", "delisted_on", "stated_delisting", "is_active")
    assert {r["symbol"]: tuple(r[c] for c in columns) for r in catalog.iter_rows(named=True)} == expected
    # A learned date is not taken for one that is stated, by whoever makes the catalog next.
    assert followed(catalog, "US")["stated_delisting"].to_list() == [None, None, None, last]
    assert followed(catalog, "US")["delisted_on"].to_list() == [None, None, None, last]
    again = with_states(build_catalog(lists, BOTH, catalog, DAY), {"A": Standing(State.ACTIVE, DAY)}, "US")
    assert again.filter(pl.col("symbol") == "B").select(columns).row(0) == ("active", None, None, True)


def test_a_catalog_of_an_earlier_release_is_read_as_it_was_and_goes_on() -> None:
    lists = configured("A", "LEFT") | configured("B.AX", exchange="ASX", delisted_on=DAY - timedelta(days=1))
    new = build_catalog(lists, BOTH, None, DAY)
    left = build_catalog(configured("A"), US, new, DAY + timedelta(days=3))
    old = left.drop("state", "stated_delisting", "watched_until", "left_universes")
    for code in ("US", "ASX"):
        assert followed(old, code).equals(followed(left, code))
    made = build_catalog(configured("A"), US, old, DAY + timedelta(days=9))
    assert made.equals(build_catalog(configured("A"), US, left, DAY + timedelta(days=9)))


# --- the ledger of listings

LISTINGS = pl.DataFrame(
    [("A", None, None), ("B", date(2000, 1, 3), None), ("C", None, None)],
    schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    orient="row",
)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("US: [BRK.B]", "BRK.B: Yahoo spells it BRK-B; write that"),
        ("US: [{symbol: JPM.PR.C}]", "JPM.PR.C: Yahoo spells it JPM-PC; write that"),
        ("ASX: [BT.A.AX]", "BT.A.AX: Yahoo spells it BT-A.AX; write that"),
        (
            "US: [^GSPC]",
            r"\^GSPC is no symbol of US; .*, or, if .* an index with its sessions, write asset_type: index",
        ),
        (
            "US: [{symbol: ^TA125.TA, asset_type: index}]",
            r"\^TA125.TA is no symbol of US; list it under its own exchange$",
        ),
        ("US: [{symbol: ^AXJO, asset_type: index, currency: AUD}]", r"\^AXJO: US does not quote in 'AUD'"),
        ("US: [{symbol: ES=F, asset_type: index}]", "ES=F is no symbol of US"),
    ],
)
def test_a_symbol_spelled_otherwise_or_an_index_not_called_one_is_refused(
    written: Path, entry: str, said: str
) -> None:
    written.write_text(entry)
    with pytest.raises(CatalogError, match=said):
        read_universe(written, enabled(["US", "ASX"]))


def test_an_index_is_listed_under_the_exchange_whose_sessions_it_has(written: Path) -> None:
    written.write_text(
        "US: [{symbol: ^GSPC, asset_type: index, currency: USD}, BRK-B]\n"
        "ASX: [{symbol: ^AXJO, asset_type: Index}, {symbol: XJO.AX, asset_type: index}]\n"
    )
    listed = read_universe(written, enabled(["US", "ASX"]))
    assert [one.symbol for one in listed["US"]] == ["^GSPC", "BRK-B"]
    assert [one.symbol for one in listed["ASX"]] == ["^AXJO", "XJO.AX"]


def test_what_is_learned_is_appended_and_fills_only_what_is_unknown(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    assert read_events(store, "US").schema == LISTING_EVENTS_SCHEMA
    assert with_learned(store, "US", LISTINGS).equals(LISTINGS)
    learn_first_trades(store, "US", LISTINGS, {"B": DAY, "A": DAY}, NOW)
    events = read_events(store, "US")
    assert events.schema == LISTING_EVENTS_SCHEMA
    assert events.drop("evidence", "confidence").rows() == [("A", "first_trade", DAY, NOW)]
    assert with_learned(store, "US", LISTINGS)["listed_on"].to_list() == [DAY, date(2000, 1, 3), None]
    assert with_learned(store, "ASX", LISTINGS).equals(LISTINGS)


def test_a_symbol_that_left_the_list_without_a_bar_is_expected_nowhere(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    stated = ConfiguredSymbol(symbol="STATED", listed_on=DAY - timedelta(days=9))
    ended = ConfiguredSymbol(symbol="ENDED", delisted_on=DAY)
    lists = configured("IBM", "TYPO", "TRADED")["US"]
    first = build_catalog({"US": [*lists, stated, ended]}, US, None, DAY)
    catalog = build_catalog({"US": [*configured("IBM")["US"], ended]}, US, first, DAY + timedelta(days=1))
    learn_first_trades(store, "US", followed(catalog, "US"), {"TRADED": DAY - timedelta(days=3)}, NOW)
    expected = with_learned(store, "US", followed(catalog, "US"))
    # TYPO is gone without a trace; the others have had a bar, or the list states something of them.
    assert expected["symbol"].to_list() == ["ENDED", "IBM", "STATED", "TRADED"]
    # While it is on the list it is expected, bar or not.
    assert "TYPO" in with_learned(store, "US", followed(first, "US"))["symbol"]


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    learn_first_trades(store, "US", LISTINGS, {}, NOW)
    assert store.head(events_key("US")) is None
    learn_first_trades(store, "US", LISTINGS, {"A": DAY}, NOW)
    before = store.head(events_key("US"))
    learn_first_trades(store, "US", LISTINGS, {"A": DAY, "B": DAY}, NOW + timedelta(days=1))
    assert store.head(events_key("US")) == before


def test_of_two_learned_dates_the_later_learned_one_counts_and_both_stay(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    earlier = DAY - timedelta(days=100)
    learn_first_trades(store, "US", LISTINGS, {"A": DAY}, NOW)
    learn_first_trades(store, "US", LISTINGS, {"A": earlier}, NOW + timedelta(days=1))
    assert read_events(store, "US")["date"].to_list() == [DAY, earlier]
    assert with_learned(store, "US", LISTINGS)["listed_on"][0] == earlier


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.put(events_key("US"), b"no parquet")
    for use in (
        lambda: with_learned(store, "US", LISTINGS),
        lambda: learn_first_trades(store, "US", LISTINGS, {"A": DAY}, NOW),
    ):
        with pytest.raises(ObjectDamaged, match=r"exchange=US\.parquet"):
            use()
