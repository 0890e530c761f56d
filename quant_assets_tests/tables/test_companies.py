"""The ledgers of what symbols stand for: what their rows say in the end, whatever their order of events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.companies import (
    COMPANY_EVENTS_SCHEMA,
    Book,
    CompanyEvent,
    CompanyRow,
    Confidence,
    append_company_events,
    as_events,
    book_of,
    company_id,
    read_book,
    read_company_events,
)
from quant_assets.tables.layout import company_events_key, symbol_facts_key
from quant_assets.tables.symbol_facts import SymbolFacts, learn_facts, read_symbol_facts

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
DAY = date(2024, 3, 15)
E, STRONG = CompanyEvent, Confidence.STRONG


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def row(
    company: str, symbol: str, event: CompanyEvent, first: int | None = None, last: int | None = None
) -> CompanyRow:
    """Days are counted from DAY."""
    begin, end = (None if n is None else DAY + timedelta(days=n) for n in (first, last))
    return CompanyRow(company, symbol, event, begin, end, "shown", STRONG)


def book(*rows: CompanyRow) -> Book:
    return book_of(as_events(rows, NOW))


def spells(of: Book) -> dict[str, list[tuple[str, int | None, int | None]]]:
    def n(day: date | None) -> int | None:
        return None if day is None else (day - DAY).days

    return {s: [(x.company_id, n(x.first), n(x.last)) for x in found] for s, found in of.of_symbol.items()}


FB = row("C", "FB", E.ASSIGNED, -900)
RENAMED = (row("C", "FB", E.RENAMED, -900, -1), row("C", "META", E.RENAMED, 0))
REUSED = (row("C", "FB", E.REUSED, -900, -100), row("D", "FB", E.REUSED, 0))


def test_an_id_is_made_of_what_a_company_is_first_met_with() -> None:
    ours = company_id("US", "FB", DAY, None)
    assert ours == "QA-5F35116E477C"
    others = [
        company_id("ASX", "FB", DAY, None), company_id("US", "FBX", DAY, None), company_id("US", "FB", None, None),
    ]  # fmt: skip
    assert len({ours, *others}) == 4
    assert company_id("US", "FB", DAY, "US0378331005") == "US0378331005"


def test_a_rename_moves_a_company_and_takes_the_id_that_its_new_symbol_had() -> None:
    assert spells(book(FB, row("M", "META", E.ASSIGNED, -900), *RENAMED)) == {
        "FB": [("C", -900, -1)], "META": [("C", 0, None)],
    }  # fmt: skip
    found = book(FB, *RENAMED)
    assert [spell.symbol for spell in found.companies["C"]] == ["FB", "META"]
    assert (found.current("META"), found.current("IBM")) == (found.companies["C"][1], None)


def test_a_company_may_come_back_to_a_symbol() -> None:
    back = (row("C", "META", E.RENAMED, 0, 99), row("C", "FB", E.RENAMED, 100))
    found = book(FB, *RENAMED, *back)
    assert spells(found) == {"FB": [("C", -900, -1), ("C", 100, None)], "META": [("C", 0, 99)]}
    assert [spell.symbol for spell in found.companies["C"]] == ["FB", "META", "FB"]
    assert (found.changes("FB"), found.changes("IBM")) == ([], [])


def test_a_symbol_that_is_reused_has_two_companies_one_after_the_other() -> None:
    found = book(FB, *REUSED)
    assert spells(found) == {"FB": [("C", -900, -100), ("D", 0, None)]}
    first, second = found.of_symbol["FB"]
    assert found.days(first) == (date.min, DAY - timedelta(days=1))
    assert found.days(second) == (DAY, date.max)
    assert found.changes("FB") == [DAY]
    assert found.days(None) == (date.min, date.max)


def test_a_case_is_open_until_it_is_decided() -> None:
    case = row("C", "META", E.OPEN, 0)
    own = row("M", "META", E.ASSIGNED, -900)
    assert set(book(FB, own, case).open) == {("C", "META")} == set(book(FB, case, own).open)
    assert spells(book(FB, own, case))["META"] == [("M", -900, None)]
    rival = row("X", "META", E.OPEN, 0)
    # A rename answers all questions about the new symbol, a separation one.
    assert not book(FB, own, case, rival, *RENAMED).open
    assert set(book(FB, own, case, rival, row("C", "META", E.SEPARATED)).open) == {("X", "META")}
    assert book(FB, own, case).decided_at == {"FB": NOW, "META": NOW}
    assert book(row("C", "FB", E.OPEN)).decided_at == {}


def test_the_latest_word_of_a_person_counts() -> None:
    apart = (row("C", "META", E.SEPARATED), row("M", "META", E.ASSIGNED, -900))
    found = book(FB, *RENAMED, *apart)
    assert spells(found) == {"FB": [("C", -900, -1)], "META": [("M", -900, None)]}
    assert found.separated == {("C", "META")}
    again = book(FB, *RENAMED, *apart, row("C", "META", E.LINKED, 0))
    assert (spells(again)["META"], again.separated) == ([("C", 0, None)], set())
    # One symbol: two companies since, and one all along.
    two = (row("C", "FB", E.SEPARATED, -900, -5), row("D", "FB", E.ASSIGNED, 0))
    assert spells(book(FB, *two)) == {"FB": [("C", -900, -5), ("D", 0, None)]}
    assert spells(book(FB, *two, row("C", "FB", E.LINKED, -900))) == {"FB": [("C", -900, None)]}
    assert spells(book(FB, row("C", "FB", E.SEPARATED))) == {}


ROWS = st.builds(
    row,
    st.sampled_from("CDM"),
    st.sampled_from(["FB", "META"]),
    st.sampled_from(list(E)),
    st.sampled_from([None, -900, 0]),
    st.sampled_from([None, -100, -1]),
)


@given(st.lists(ROWS, max_size=8))
def test_a_symbol_is_open_for_one_company_at_most_whatever_the_rows(rows: list[CompanyRow]) -> None:
    found = book(*rows)
    for symbol, of in found.of_symbol.items():
        assert sum(spell.last is None for spell in of) <= 1
        assert of
        assert all(spell.symbol == symbol for spell in of)
    assert sum(map(len, found.companies.values())) == sum(map(len, found.of_symbol.values()))


def test_rows_are_appended_and_read_as_of_a_moment(store: LocalObjectStore) -> None:
    assert read_company_events(store, "US").schema == COMPANY_EVENTS_SCHEMA
    assert append_company_events(store, "US", lambda _: [], NOW) == []
    assert store.head(company_events_key("US")) is None
    assert append_company_events(store, "US", lambda _: [FB], NOW) == [FB]

    def decide(known: Book) -> list[CompanyRow]:
        assert set(known.companies) == {"C"}
        return list(RENAMED)

    later = NOW + timedelta(days=1)
    append_company_events(store, "US", decide, later)
    assert read_company_events(store, "US")["known_at"].to_list() == [NOW, later, later]
    assert set(read_book(store, "US").of_symbol) == {"FB", "META"}
    assert set(read_book(store, "US", NOW).of_symbol) == {"FB"}
    store.put(company_events_key("US"), b"junk")
    with pytest.raises(
        ObjectDamaged, match=r"company_events/exchange=US\.parquet.*Bring the object back from a backup"
    ):
        read_book(store, "US")


def test_facts_are_appended_when_they_change_and_nothing_told_is_no_change(store: LocalObjectStore) -> None:
    first = SymbolFacts(DAY, "Facebook, Inc.", "USD", None, "EQUITY")
    assert not learn_facts(store, "US", {}, NOW)
    assert learn_facts(store, "US", {"FB": first, "IBM": SymbolFacts(name="IBM")}, NOW)
    before = store.head(symbol_facts_key("US"))
    same = SymbolFacts(None, "FACEBOOK INC", None, None, None)
    assert not learn_facts(store, "US", {"FB": same, "IBM": SymbolFacts()}, NOW + timedelta(days=1))
    assert store.head(symbol_facts_key("US")) == before
    later = NOW + timedelta(days=2)
    assert learn_facts(
        store, "US", {"FB": SymbolFacts(isin="US30303M1027", name="Meta"), "IBM": SymbolFacts()}, later
    )
    seen = read_symbol_facts(store, "US")
    assert [(one.facts, one.known_at) for one in seen["FB"]] == [
        (first, NOW), (SymbolFacts(DAY, "Meta", "USD", "US30303M1027", "EQUITY"), later),
    ]  # fmt: skip
    assert [one.facts for one in seen["IBM"]] == [SymbolFacts(name="IBM")]
