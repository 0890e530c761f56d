"""The ledger of membership: it only grows, and answers for the days that something is known of."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import membership_key
from quant_assets.tables.membership import (
    MEMBERS_SCHEMA,
    MEMBERSHIP_SCHEMA,
    MembershipUnknown,
    Spell,
    Statement,
    members_on,
    read_membership,
    record_seen,
    record_stated,
    seen_from,
    vouched,
)

NOW = datetime(2024, 3, 15, 4, tzinfo=UTC)
DAY = NOW.date()
WEEK = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def state(
    store: LocalObjectStore,
    first: str,
    last: str,
    *spells: tuple[str, str, str | None],
    evidence: str = "stated in past.csv",
    now: datetime = NOW,
) -> bool:
    read = [Spell(s, date.fromisoformat(j), date.fromisoformat(x) if x else None) for s, j, x in spells]
    statement = Statement(read, date.fromisoformat(first), date.fromisoformat(last), evidence)
    return record_stated(store, "idx", statement, now)


def members(store: LocalObjectStore, day: date | str) -> list[str]:
    on = date.fromisoformat(day) if isinstance(day, str) else day
    return members_on(read_membership(store, "idx"), "idx", on)["symbol"].to_list()


def spans(store: LocalObjectStore) -> list[tuple[str, str | None]]:
    found = vouched(read_membership(store, "idx"))
    return [(str(first), str(last) if last else None) for first, last in found]


# --- what refreshes see


def test_the_first_refresh_tells_who_is_in_from_its_day_on(store: LocalObjectStore) -> None:
    assert read_membership(store, "idx").schema == MEMBERSHIP_SCHEMA
    news = record_seen(store, "idx", ["IBM", "AAPL", "IBM"], "idx.csv", NOW)
    ledger = read_membership(store, "idx")
    assert ledger.equals(news)
    assert ledger.schema == MEMBERSHIP_SCHEMA
    in_it = "in idx.csv at the first refresh, 2024-03-15"
    assert ledger.rows() == [
        (None, "complete_from", DAY, "first refresh, from idx.csv", "first_seen", NOW),
        ("AAPL", "joined", DAY, in_it, "first_seen", NOW),
        ("IBM", "joined", DAY, in_it, "first_seen", NOW),
    ]
    assert read_membership(store, "other").is_empty()
    answer = members_on(ledger, "idx", DAY)
    assert answer.schema == MEMBERS_SCHEMA
    assert answer.rows() == [(s, DAY, in_it, "first_seen", NOW) for s in ("AAPL", "IBM")]
    assert (seen_from(ledger), spans(store)) == (DAY, [("2024-03-15", None)])


def test_a_later_refresh_tells_who_left_and_joined_and_since_when_that_may_be(
    store: LocalObjectStore,
) -> None:
    record_seen(store, "idx", ["IBM", "AAPL", "GE"], "idx.csv", NOW)
    later = NOW + WEEK
    news = record_seen(store, "idx", ["MSFT", "AAPL", "FB"], "idx.csv", later, DAY)
    before, day = "(looked at before on 2024-03-15)", DAY + WEEK
    assert news.rows() == [
        ("GE", "left", day, f"no longer in idx.csv on 2024-03-22 {before}", "seen", later),
        ("IBM", "left", day, f"no longer in idx.csv on 2024-03-22 {before}", "seen", later),
        ("FB", "joined", day, f"new in idx.csv on 2024-03-22 {before}", "seen", later),
        ("MSFT", "joined", day, f"new in idx.csv on 2024-03-22 {before}", "seen", later),
    ]
    assert read_membership(store, "idx").tail(4).equals(news)
    third = record_seen(store, "idx", ["MSFT", "AAPL", "FB", "IBM"], "idx.csv", later + WEEK)
    assert third.select("symbol", "event", "evidence").rows() == [
        ("IBM", "joined", "new in idx.csv on 2024-03-29")
    ]
    assert members(store, DAY) == members(store, DAY + timedelta(days=6)) == ["AAPL", "GE", "IBM"]
    # The first day out is the day of `left`.
    assert members(store, day) == members(store, day + timedelta(days=6)) == ["AAPL", "FB", "MSFT"]
    assert members(store, day + WEEK) == ["AAPL", "FB", "IBM", "MSFT"]
    ibm = members_on(read_membership(store, "idx"), "idx", day + WEEK).row(2, named=True)
    assert (ibm["symbol"], ibm["date"], ibm["confidence"]) == ("IBM", day + WEEK, "seen")


def test_without_news_nothing_is_put(store: LocalObjectStore) -> None:
    record_seen(store, "idx", ["IBM"], "idx.csv", NOW)
    before = store.head(membership_key("idx"))
    assert record_seen(store, "idx", ["IBM"], "other.csv", NOW + WEEK).is_empty()
    assert store.head(membership_key("idx")) == before


def test_a_universe_that_is_empty_at_first_is_known_to_be(store: LocalObjectStore) -> None:
    record_seen(store, "idx", [], "idx.csv", NOW)
    assert members(store, DAY) == []
    assert record_seen(store, "idx", ["IBM"], "idx.csv", NOW + WEEK)["confidence"].to_list() == ["seen"]
    assert (members(store, DAY), members(store, DAY + WEEK)) == ([], ["IBM"])
    assert (seen_from(read_membership(store, "idx")), spans(store)) == (DAY, [("2024-03-15", None)])


def test_a_look_that_is_older_than_what_is_recorded_changes_nothing(store: LocalObjectStore) -> None:
    record_seen(store, "idx", ["IBM"], "idx.csv", NOW)
    before = store.head(membership_key("idx"))
    assert record_seen(store, "idx", ["GE"], "idx.csv", NOW - timedelta(microseconds=1)).is_empty()
    assert store.head(membership_key("idx")) == before
    # At the same moment the later call counts.
    assert record_seen(store, "idx", ["GE"], "idx.csv", NOW)["event"].to_list() == ["left", "joined"]
    assert members(store, DAY) == ["GE"]


def test_days_are_those_of_utc(store: LocalObjectStore) -> None:
    record_seen(store, "idx", ["IBM"], "x", datetime(2024, 3, 15, 2, tzinfo=timezone(timedelta(hours=10))))
    assert read_membership(store, "idx")["date"].to_list() == [date(2024, 3, 14)] * 2


def test_refreshes_at_once_lose_nothing(store: LocalObjectStore) -> None:
    """Each of them finds one symbol more than the one before; whoever comes late finds the later one recorded."""
    record_seen(store, "idx", [], "idx.csv", NOW)
    looks: list[tuple[Collection[str], datetime]] = [
        ([f"S{n:02}" for n in range(size)], NOW + timedelta(seconds=size)) for size in range(1, 25)
    ]
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda look: record_seen(store, "idx", look[0], "idx.csv", look[1]), looks))
    ledger = read_membership(store, "idx")
    assert members(store, DAY) == looks[-1][0]
    # Every event that a call says it appended is there, once.
    assert ledger.height == 1 + sum(some.height for some in news) == 25
    assert pl.concat(news).sort("symbol").equals(ledger.tail(24).sort("symbol"))


@settings(max_examples=20)
@given(st.lists(st.sets(st.sampled_from("ABCDE")), min_size=1, max_size=6))
def test_each_day_has_the_members_of_the_last_refresh_up_to_it(
    tmp_path_factory: pytest.TempPathFactory, looks: list[set[str]]
) -> None:
    store = LocalObjectStore(tmp_path_factory.mktemp("store"))
    heights: list[int] = []
    for number, symbols in enumerate(looks):
        record_seen(store, "idx", symbols, "idx.csv", NOW + number * WEEK)
        heights.append(read_membership(store, "idx").height)
    assert heights == sorted(heights)
    for number, symbols in enumerate(looks):
        for days in (0, 6):
            assert members(store, DAY + number * WEEK + timedelta(days=days)) == sorted(symbols)


# --- what somebody states

PAST = (
    ("OLD", "1996-01-02", "1999-06-01"),
    ("IBM", "1996-01-02", None),
    ("GE", "1998-03-02", "2001-05-01"),
    ("GE", "2003-05-05", None),
)


def test_a_statement_is_kept_in_the_order_of_its_days(store: LocalObjectStore) -> None:
    assert state(store, "1996-01-02", "2020-06-30", *PAST) is True
    rows = read_membership(store, "idx").rows()
    assert [(symbol, event, str(day)) for symbol, event, day, *_ in rows] == [
        (None, "complete_from", "1996-01-02"),
        ("IBM", "joined", "1996-01-02"),
        ("OLD", "joined", "1996-01-02"),
        ("GE", "joined", "1998-03-02"),
        ("OLD", "left", "1999-06-01"),
        ("GE", "left", "2001-05-01"),
        ("GE", "joined", "2003-05-05"),
        (None, "complete_through", "2020-06-30"),
    ]
    assert {row[3:] for row in rows} == {("stated in past.csv", "stated", NOW)}


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("1996-01-02", ["IBM", "OLD"]),
        ("1998-03-01", ["IBM", "OLD"]),
        ("1998-03-02", ["GE", "IBM", "OLD"]),
        ("1999-05-31", ["GE", "IBM", "OLD"]),
        ("1999-06-01", ["GE", "IBM"]),
        ("2001-05-01", ["IBM"]),
        ("2003-05-05", ["GE", "IBM"]),
        ("2020-06-30", ["GE", "IBM"]),
    ],
)
def test_a_statement_answers_for_its_days(store: LocalObjectStore, day: str, expected: list[str]) -> None:
    state(store, "1996-01-02", "2020-06-30", *PAST)
    assert members(store, day) == expected


@pytest.mark.parametrize("day", ["1996-01-01", "2020-07-01", "2024-03-14"])
def test_what_nothing_is_known_of_is_refused_with_the_earliest_day_that_can_be_vouched_for(
    store: LocalObjectStore, day: str
) -> None:
    state(store, "1996-01-02", "2020-06-30", *PAST)
    record_seen(store, "idx", ["IBM"], "idx.csv", NOW)
    with pytest.raises(MembershipUnknown) as refused:
        members(store, day)
    assert str(refused.value) == (
        f"nothing tells who was in universe 'idx' on {day}: the earliest date that can be vouched for is 1996-01-02 "
        "(known: 1996-01-02 to 2020-06-30, 2024-03-15 on); state what you know of other days "
        "(quant-assets catalog import-membership --universe idx FILE.csv)"
    )


def test_a_universe_that_nothing_is_known_of_says_how_to_begin(store: LocalObjectStore) -> None:
    with pytest.raises(MembershipUnknown) as refused:
        members(store, "2024-03-15")
    assert str(refused.value) == (
        "nothing tells who was in universe 'idx' on 2024-03-15: it has never been refreshed (quant-assets "
        "refresh-universe --universe idx), and nothing was stated of its past (quant-assets catalog "
        "import-membership --universe idx FILE.csv)"
    )
    assert (spans(store), seen_from(read_membership(store, "idx"))) == ([], None)


def test_from_the_first_refresh_on_refreshes_answer_alone(store: LocalObjectStore) -> None:
    record_seen(store, "idx", ["AAPL"], "idx.csv", NOW)
    state(store, "2020-01-02", "2024-12-31", ("IBM", "2020-01-02", None), now=NOW + WEEK)
    assert members(store, "2024-03-14") == ["IBM"]
    assert members(store, "2024-03-15") == ["AAPL"]
    # A statement is no look, and no look is a statement.
    assert record_seen(store, "idx", ["AAPL"], "idx.csv", NOW + timedelta(days=1)).is_empty()
    assert spans(store) == [("2020-01-02", None)]


def test_of_two_statements_about_a_day_the_later_one_counts(store: LocalObjectStore) -> None:
    assert state(store, "2000-01-03", "2009-12-31", ("OLD", "2000-01-03", None))
    # Made at the same moment: the order in which they stand counts, not the clock.
    assert state(store, "2005-01-03", "2006-12-29", ("NEW", "2005-01-03", None), evidence="corrected")
    assert members(store, "2005-01-02") == members(store, "2006-12-30") == ["OLD"]
    assert members(store, "2005-01-03") == members(store, "2006-12-29") == ["NEW"]
    assert spans(store) == [("2000-01-03", "2009-12-31")]


def test_the_same_statement_is_not_put_twice_in_a_row(store: LocalObjectStore) -> None:
    spell = ("OLD", "2000-01-03", None)
    assert state(store, "2000-01-03", "2009-12-31", spell) is True
    before = store.head(membership_key("idx"))
    assert state(store, "2000-01-03", "2009-12-31", spell, now=NOW + WEEK) is False
    assert store.head(membership_key("idx")) == before
    assert state(store, "2000-01-03", "2009-12-30", spell) is True
    assert state(store, "2000-01-03", "2009-12-31", spell) is True
    assert read_membership(store, "idx").height == 9


def test_a_symbol_that_leaves_and_joins_on_one_day_is_in(store: LocalObjectStore) -> None:
    state(store, "2000-01-03", "2009-12-31", ("A", "2000-01-03", "2001-01-02"), ("A", "2001-01-02", None))
    assert members(store, "2001-01-02") == ["A"]


@pytest.mark.parametrize(
    ("first", "last", "second", "end", "expected"),
    [
        ("2000-01-03", "2000-12-31", "2001-01-01", "2001-12-31", [("2000-01-03", "2001-12-31")]),
        (
            "2000-01-03", "2000-12-30", "2001-01-01", "2001-12-31",
            [("2000-01-03", "2000-12-30"), ("2001-01-01", "2001-12-31")],
        ),
        ("2000-01-03", "2001-12-31", "2000-06-01", "2000-06-30", [("2000-01-03", "2001-12-31")]),
        ("2001-01-01", "2001-12-31", "2000-01-03", "2000-12-31", [("2000-01-03", "2001-12-31")]),
        ("2000-01-03", "2000-12-31", "2000-06-30", "2001-12-31", [("2000-01-03", "2001-12-31")]),
    ],
)  # fmt: skip
def test_statements_that_touch_are_one_stretch(
    store: LocalObjectStore, first: str, last: str, second: str, end: str, expected: list[tuple[str, str]]
) -> None:
    state(store, first, last)
    state(store, second, end, evidence="another")
    assert spans(store) == expected


def test_stretches_that_do_not_touch_stay_apart(store: LocalObjectStore) -> None:
    years = [("1990-01-01", "1990-12-31"), ("1992-01-01", "1992-12-31"), ("1994-01-01", "1994-12-31")]
    for first, last in reversed(years):
        state(store, first, last, evidence=first)
    assert spans(store) == years
    state(store, "1995-01-01", "1995-06-30")
    assert spans(store) == [*years[:2], ("1994-01-01", "1995-06-30")]
    state(store, "1993-01-01", "1993-06-30")
    assert spans(store) == [years[0], ("1992-01-01", "1993-06-30"), ("1994-01-01", "1995-06-30")]
    record_seen(store, "idx", ["IBM"], "idx.csv", NOW)
    assert spans(store)[-2:] == [("1994-01-01", "1995-06-30"), ("2024-03-15", None)]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2020-01-02", "2024-03-13", [("2020-01-02", "2024-03-13"), ("2024-03-15", None)]),
        ("2020-01-02", "2024-03-14", [("2020-01-02", None)]),
        ("2020-01-02", "2024-03-15", [("2020-01-02", None)]),
        ("2024-03-14", "2024-03-14", [("2024-03-14", None)]),
        ("2024-03-15", "2024-04-15", [("2024-03-15", None)]),
        ("2024-03-16", "2024-04-15", [("2024-03-15", None)]),
    ],
)
def test_a_statement_goes_over_into_what_refreshes_saw(
    store: LocalObjectStore, first: str, last: str, expected: list[tuple[str, str | None]]
) -> None:
    record_seen(store, "idx", ["IBM"], "idx.csv", NOW)
    state(store, first, last)
    assert spans(store) == expected


def test_statements_at_once_lose_nothing(store: LocalObjectStore) -> None:
    days = [date(2000, 1, 1) + n * WEEK for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: state(store, str(day), str(day), (f"S{day:%m%d}", str(day), None)), days))
    assert [members(store, day) for day in days] == [[f"S{day:%m%d}"] for day in days]


def test_a_damaged_ledger_is_named(store: LocalObjectStore) -> None:
    store.put(membership_key("idx"), b"no parquet")
    for use in (
        lambda: read_membership(store, "idx"),
        lambda: record_seen(store, "idx", ["A"], "idx.csv", NOW),
        lambda: state(store, "2000-01-03", "2009-12-31"),
    ):
        with pytest.raises(ObjectDamaged, match=r"universe_events/idx\.parquet"):
            use()
