"""`Reader`: what an answer says of each session, by value; and the sessions that it is read over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.answers import Answer, Decisions, OpenDays, Reader
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.ingest.plan import Days, FillRequest, Plan, make_plan
from quant_assets.ingest.stored import StoredRows
from quant_assets.ingest.wanted import Wanted
from quant_assets.market.bars import ANSWER_SCHEMA, empty_daily
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.source import SERVED_SCHEMA, FetchResult, Meta, Outcome
from quant_assets.tables.manifest import Expected
from quant_assets_tests.filled import bars as stored_bars
from quant_assets_tests.ingest.harness import DAY, WEEK, evening, sessions
from quant_assets_tests.market.verdicts.served import events, listed
from quant_assets_tests.support import listings

THURSDAY, FRIDAY = WEEK[3], WEEK[4]
NOW = evening(FRIDAY)
OVER = sessions(date(2012, 12, 31), FRIDAY)
LONG_AGO = date(2012, 6, 1)


def decided(column: str, *rows: tuple[date, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [("A", *row) for row in rows],
        schema={"symbol": pl.String, "date": pl.Date, column: pl.Float64},
        orient="row",
    )


def decisions(**made: pl.DataFrame) -> Decisions:
    none = {name: decided("close") for name in ("accepted", "rejected")}
    nor = {name: decided("dividend") for name in ("no_dividends", "none_on_closed_days")}
    return Decisions(**{**none, **nor, **made})


def served(*lacking: date, closes: Mapping[date, float] | None = None, **more: Any) -> FetchResult:
    """An answer of A over OVER, a bar at 100 each but where another close is said; `more` are fields of it."""
    prices = [(day, (closes or {}).get(day, 100.0)) for day in OVER if day not in lacking]
    bars = pl.DataFrame(prices, schema={"date": pl.Date, "close": pl.Float64}, orient="row").with_columns(
        *(pl.col("close").alias(name) for name in ("open", "high", "low")),
        adj_close=pl.lit(None),
        volume=pl.lit(1000),
    )
    fields: dict[str, Any] = {
        "splits": events([], "ratio"), "dividends": listed([]), "currency": "USD", "first_trade": LONG_AGO, **more,
    }  # fmt: skip
    return FetchResult(
        "A", Outcome.OK, bars=bars.select(pl.col(n).cast(t) for n, t in SERVED_SCHEMA.items()), **fields
    )


def reader(
    folder: Path,
    made: Decisions | None = None,
    *,
    wanted: Collection[date] = (THURSDAY,),
    also: Mapping[date, set[str]] | None = None,
    currencies: Mapping[str, str] | None = None,
    now: datetime = NOW,
) -> Reader:
    us, asked = exchange("US"), Wanted.of({**{day: {"A"} for day in wanted}, **(also or {})})
    stored = StoredRows(LocalObjectStore(folder), "US", Plan(Days([], [], []), asked))
    days = OpenDays.around(us, asked, now)
    return Reader(us, asked, asked.starts(), days, made or decisions(), stored, currencies or {})


def gaps(answer: Answer) -> list[tuple[list[date], date | None, date | None]]:
    return [(list(run.sessions), run.before, run.after) for run in answer.runs]


# --- the sessions


@pytest.mark.parametrize(
    ("wanted", "now", "first", "over", "traded", "known"),
    [
        # 45 days before the first session wanted, or the first session after.
        (THURSDAY, NOW, date(2012, 12, 31), FRIDAY, FRIDAY, date(2013, 2, 22)),
        (FRIDAY, NOW, date(2013, 1, 2), FRIDAY, FRIDAY, date(2013, 2, 22)),
        # A week beyond the last session that is over.
        (THURSDAY, evening(THURSDAY), date(2012, 12, 31), THURSDAY, THURSDAY, date(2013, 2, 21)),
        # The session that goes on, or is about to; on the holiday and the evening before it by New York's day none.
        (THURSDAY, datetime(2013, 2, 19, 16, tzinfo=UTC), OVER[0], FRIDAY, date(2013, 2, 19), date(2013, 2, 22)),
        (THURSDAY, datetime(2013, 2, 19, 3, tzinfo=UTC), OVER[0], FRIDAY, FRIDAY, date(2013, 2, 22)),
    ],
)  # fmt: skip
def test_the_days_around_what_is_wanted(
    wanted: date, now: datetime, first: date, over: date, traded: date, known: date
) -> None:
    days = OpenDays.around(exchange("US"), Wanted.of({wanted: {"A"}, FRIDAY: {"B"}}), now)
    assert list(days.over) == sessions(first, over)
    assert list(days.traded) == sessions(first, traded)
    assert days.known.unique().sort().to_list() == sessions(first, known)


def test_where_nothing_is_wanted_there_are_no_days() -> None:
    days = OpenDays.around(exchange("US"), Wanted.of({}), NOW)
    assert (days.over, days.traded, days.known.to_list(), days.known.dtype) == ((), (), [], pl.Date())


# --- holes


@pytest.mark.parametrize(
    ("lacking", "first_trade", "expected"),
    [
        ([], LONG_AGO, []), ([DAY], LONG_AGO, [([DAY], WEEK[1], THURSDAY)]),
        ([DAY, THURSDAY], LONG_AGO, [([DAY, THURSDAY], WEEK[1], FRIDAY)]),
        ([OVER[0]], LONG_AGO, [([OVER[0]], None, OVER[1])]), ([FRIDAY], LONG_AGO, [([FRIDAY], THURSDAY, None)]),
        # Before the first trade nothing is missing, and where none is stated not before what is wanted.
        ([DAY, THURSDAY], THURSDAY, [([THURSDAY], None, FRIDAY)]), ([DAY], None, []),
        ([DAY, THURSDAY], None, [([THURSDAY], None, FRIDAY)]),
    ],
)  # fmt: skip
def test_the_holes_of_an_answer(
    tmp_path: Path,
    lacking: list[date],
    first_trade: date | None,
    expected: list[tuple[list[date], date | None, date | None]],
) -> None:
    answer = reader(tmp_path).read(served(*lacking, first_trade=first_trade), NOW)
    assert gaps(answer) == expected
    assert answer.rows["date"].to_list() == [day for day in OVER if day not in lacking]


def test_a_symbol_wanted_later_than_others_has_holes_from_45_days_before_it(tmp_path: Path) -> None:
    lead = date(2013, 1, 2)
    one = reader(tmp_path, wanted=[FRIDAY], also={THURSDAY: {"B"}}).read(served(OVER[0], lead), NOW)
    assert gaps(one) == [([lead], None, OVER[2])]


def test_a_bar_that_is_held_is_no_hole_and_an_action_alone_is_one(tmp_path: Path) -> None:
    high = pl.when(pl.col("date") == DAY).then(500.0).otherwise("high")
    result = served(WEEK[1], dividends=listed([(WEEK[1], 0.5)]))
    answer = reader(tmp_path).read(
        FetchResult(
            "A", Outcome.OK, bars=result.bars.with_columns(high=high), splits=result.splits,
            dividends=result.dividends, currency="USD", first_trade=LONG_AGO,
        ),
        NOW,
    )  # fmt: skip
    assert answer.judged.held.select("date", "kind").rows() == [(DAY, "field_out_of_line")]
    assert gaps(answer) == [([WEEK[1]], WEEK[0], DAY)]
    assert answer.rows.filter(pl.col("close").is_null()).select("date", "dividend").rows() == [(WEEK[1], 0.5)]


# --- what people have decided


def test_decisions_are_about_a_close_of_a_day(tmp_path: Path) -> None:
    made = decisions(
        accepted=decided("close", (DAY, 100.0), (THURSDAY, 101.0)), rejected=decided("close", (FRIDAY, 100.0))
    )
    answer = reader(tmp_path, made).read(served(), NOW)
    assert (answer.accepted.rows(), answer.rejected.rows()) == ([("A", DAY)], [("A", FRIDAY)])
    nobody = reader(tmp_path).read(served(), NOW)
    for keys in (nobody.accepted, nobody.rejected):
        assert (keys.columns, keys.height) == (["symbol", "date"], 0)
    assert not nobody.asked_twice


@pytest.mark.parametrize("rejected", [False, True])
def test_a_move_that_witnesses_vouch_for_is_accepted_unless_somebody_has_rejected_it(
    tmp_path: Path, rejected: bool
) -> None:
    at = pl.col("date") == DAY
    result = served(closes=dict.fromkeys(WEEK[2:], 20.0), meta=Meta(low_52_weeks=19.0, high_52_weeks=101.0))
    bars = result.bars.with_columns(
        low=pl.when(at).then(19.0).otherwise(pl.col("close") * 0.999),
        volume=pl.when(at).then(4000).otherwise("volume"),
    )
    made = decisions(rejected=decided("close", (DAY, 20.0))) if rejected else decisions()
    answer = reader(tmp_path, made).read(
        FetchResult(
            "A", Outcome.OK, bars=bars, splits=result.splits, dividends=result.dividends, currency="USD",
            meta=result.meta,
        ),
        NOW,
    )  # fmt: skip
    assert answer.accepted.rows() == ([] if rejected else [("A", DAY)])


def test_a_dividend_rejected_on_a_closed_day_is_none_at_its_session(tmp_path: Path) -> None:
    saturday = date(2013, 2, 9)
    none = decided("dividend", (WEEK[0], 0.5))
    for made, dividend in ((decisions(none_on_closed_days=none), 0.0), (decisions(), 0.5)):
        answer = reader(tmp_path, made).read(served(dividends=listed([(saturday, 0.5)])), NOW)
        (row,) = answer.rows.filter(pl.col("date") == WEEK[0]).rows(named=True)
        assert (row["dividend"], row["flags"]) == (dividend, "action_dated:2013-02-09")
    others = none.with_columns(symbol=pl.lit("B"))
    answer = reader(tmp_path, decisions(none_on_closed_days=others)).read(
        served(dividends=listed([(saturday, 0.5)])), NOW
    )
    assert answer.rows["dividend"].sum() == 0.5


# --- answers that cannot be used


def test_an_answer_that_failed_says_nothing_of_any_session(tmp_path: Path) -> None:
    answer = reader(tmp_path).read(FetchResult("A", Outcome.FAILED, "no"), NOW)
    assert answer.result.outcome is Outcome.FAILED
    assert (answer.rows.schema, answer.rows.height) == (ANSWER_SCHEMA, 0)
    assert (answer.runs, answer.judged.rows.height, answer.judged.held.height) == ([], 0, 0)
    assert answer.accepted.columns == answer.rejected.columns == ["symbol", "date"]


def test_an_answer_without_a_currency_is_in_the_catalogs_or_no_answer(tmp_path: Path) -> None:
    both = pl.concat([listed([(DAY, 0.5)], currency="USD"), listed([(THURSDAY, 0.5)], currency="EUR")])
    nameless = served(currency=None, dividends=both, notes=["first"], facts={"status": 200})
    answer = reader(tmp_path, currencies={"A": "USD"}).read(nameless, NOW)
    assert set(answer.rows["currency"]) == {"USD"}
    assert answer.result.notes == [
        "first",
        "the answer names no currency; USD is taken from the catalog",
    ]
    assert answer.result.dividends["currency"].to_list() == [None, "EUR"]
    refused = reader(tmp_path, currencies={"B": "USD"}).read(nameless, NOW).result
    assert (refused.outcome, refused.first_trade, refused.facts) == (
        Outcome.FAILED, LONG_AGO, {"status": 200},
    )  # fmt: skip
    assert refused.reason == (
        "answer without a currency (state it in the universe file: `currency` of A, one of USD)"
    )
    failed = FetchResult("A", Outcome.NOT_FOUND, "not there")
    assert reader(tmp_path).read(failed, NOW).result == failed


def test_a_first_trade_still_to_come_is_none_whatever_else_an_answer_says(tmp_path: Path) -> None:
    """Believed it would take the symbol out of every cell until then, and so out of every question."""
    # That of a listing which is new now is none that is still to come, wherever the clock is held.
    tomorrow, later = datetime.now(UTC).date() + timedelta(days=1), date(2999, 1, 2)
    read = reader(tmp_path).read
    assert read(served(first_trade=tomorrow), NOW).result.first_trade == tomorrow
    answer = read(served(first_trade=later, notes=["first"]), NOW)
    assert (answer.result.first_trade, answer.rows.height) == (None, len(OVER))
    assert answer.result.notes == [
        "first",
        "the answer names a first trade date still to come; it is left out",
    ]
    nothing = FetchResult("A", Outcome.NO_DATA, "nothing", first_trade=later)
    assert read(nothing, NOW).result.first_trade is None
    assert read(served(currency=None, first_trade=later), NOW).result.first_trade is None


# --- two answers


def test_of_two_answers_the_second_adds_what_the_first_lacks(tmp_path: Path) -> None:
    of = reader(tmp_path)
    first = of.read(served(DAY, THURSDAY, closes={FRIDAY: 101.0}), NOW)
    second = of.read(served(THURSDAY, closes={DAY: 102.0, FRIDAY: 103.0}), NOW)
    both = of.both(first, second)
    assert both.rows.filter(pl.col("date") >= WEEK[1]).select("date", "close").rows() == [
        (WEEK[1], 100.0), (DAY, 102.0), (FRIDAY, 101.0),
    ]  # fmt: skip
    assert (both.asked_twice, first.asked_twice) == (True, False)
    assert gaps(both) == [([THURSDAY], DAY, FRIDAY)]
    # An action alone gives way to the bar.
    bare = of.read(served(DAY, dividends=listed([(DAY, 0.5)])), NOW)
    whole = of.both(bare, of.read(served(), NOW))
    assert (whole.rows.height, whole.runs) == (len(OVER), [])


@pytest.mark.parametrize(
    ("factor", "apart", "is_taken"),
    [
        (1.0, 99, True), (1.0009, 99, True), (1.0011, 99, False), (0.9989, 99, False), (10.0, 99, False),
        # Of the 32 bars that both have, most.
        (10.0, 16, True), (10.0, 17, False),
    ],
)  # fmt: skip
def test_of_an_answer_at_other_prices_nothing_is_taken(
    tmp_path: Path, factor: float, apart: int, is_taken: bool
) -> None:
    of = reader(tmp_path)
    first = of.read(served(DAY), NOW)
    second = of.read(served(), NOW)
    assert first.rows.height == 32
    close = pl.when(pl.int_range(pl.len()) < apart).then(100.0 * factor).otherwise("close")
    both = of.both(first, replace(second, rows=second.rows.with_columns(close=close)))
    assert (both is first) is not is_taken
    assert (both.rows.height, both.runs == []) == ((33, True) if is_taken else (32, False))
    nothing = of.read(served(*OVER[1:], dividends=listed([(DAY, 0.5)])), NOW)
    assert of.both(nothing, replace(second, rows=second.rows[1:])).rows.height == 33


def test_what_was_decided_of_a_bar_that_the_second_answer_adds_stands(tmp_path: Path) -> None:
    days = (WEEK[1], DAY, THURSDAY)
    made = decisions(
        accepted=decided("close", *((day, 100.0) for day in days)),
        rejected=decided("close", *((day, 100.0) for day in days)),
    )
    of = reader(tmp_path, made)
    both = of.both(of.read(served(DAY, THURSDAY), NOW), of.read(served(THURSDAY), NOW))
    assert both.accepted.rows() == both.rejected.rows() == [("A", WEEK[1]), ("A", DAY)]


def test_a_second_answer_that_adds_nothing_or_failed_leaves_the_first(tmp_path: Path) -> None:
    of = reader(tmp_path)
    first = of.read(served(DAY), NOW)
    same = of.both(first, of.read(served(DAY, FRIDAY), NOW))
    assert (same.rows.equals(first.rows), same.runs, same.asked_twice) == (True, first.runs, True)
    assert of.both(first, of.read(FetchResult("A", Outcome.FAILED, "no"), NOW)) is first


def test_what_both_answers_hold_is_held_once_and_what_the_second_holds_of_a_good_bar_is_not(
    tmp_path: Path,
) -> None:
    def held(*days: date) -> FetchResult:
        result = served(DAY)
        high = pl.when(pl.col("date").is_in(days)).then(500.0).otherwise("high")
        return FetchResult(
            "A", Outcome.OK, bars=result.bars.with_columns(high=high), splits=result.splits,
            dividends=result.dividends, currency="USD", first_trade=LONG_AGO,
        )  # fmt: skip

    of = reader(tmp_path)
    first = of.read(held(THURSDAY), NOW)
    second = of.read(served(THURSDAY), NOW)
    assert of.both(first, second).judged.held["date"].to_list() == [THURSDAY]
    twice = of.both(first, of.read(held(THURSDAY, FRIDAY), NOW))
    assert twice.judged.held["date"].to_list() == [THURSDAY]
    one = of.read(served(DAY, THURSDAY), NOW)
    good = served().bars.filter(pl.col("date") == DAY)
    other = FetchResult(
        "A", Outcome.OK, bars=pl.concat([held(THURSDAY).bars, good]).sort("date"),
        splits=one.result.splits, dividends=one.result.dividends, currency="USD", first_trade=LONG_AGO,
    )  # fmt: skip
    merged = of.both(one, of.read(other, NOW))
    assert merged.judged.held["date"].to_list() == [THURSDAY]
    assert gaps(merged) == []


# --- what is stored


class Noting(StoredRows):
    """Notes whose dividends of further back are asked for."""

    asked: list[tuple[str, date]]

    def dividends(self, symbol: str, before: date) -> pl.DataFrame:
        self.asked.append((symbol, before))
        return empty_daily()


@pytest.mark.parametrize(("dividends", "stored", "asked"), [
    (0, True, False), (1, True, True), (3, True, True), (4, True, False), (3, False, False),
])  # fmt: skip
def test_of_few_dividends_those_stored_of_further_back_are_read(
    tmp_path: Path, dividends: int, stored: bool, asked: bool
) -> None:
    store, us = LocalObjectStore(tmp_path), exchange("US")
    writer = CellWriter(store, "US", "made up", 0.0, Expected(store, "US"))
    for day in WEEK[1:3]:
        symbol = "A" if stored else "B"
        writer.write(
            day, [symbol], CellNews(fresh=stored_bars(day, [symbol], evening(day))), None, evening(day)
        )
    plan = make_plan(us, store, FillRequest([THURSDAY], listings("A", "B")), NOW)
    rows = Noting(store, "US", plan)
    rows.asked = []
    of = Reader(us, plan.wanted, plan.starts(), OpenDays.around(us, plan.wanted, NOW), decisions(), rows, {})
    of.read(served(dividends=listed([(day, 0.5) for day in OVER[5 : 5 + 9 * dividends : 9]])), NOW)
    assert rows.asked == ([("A", WEEK[1] - timedelta(days=1))] if asked else [])
