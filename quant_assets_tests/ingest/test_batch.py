"""`Batch`: which rows of answers are validated, and when it holds as many as are validated at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest import batch as module
from quant_assets.ingest.answers import Answer, OpenDays
from quant_assets.ingest.batch import Batch
from quant_assets.ingest.judged import Judged
from quant_assets.ingest.plan import Days, Plan
from quant_assets.ingest.wanted import Wanted
from quant_assets.market import validation
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.validation import with_context
from quant_assets.resources.source import FetchResult, Outcome
from quant_assets_tests.filled import bars
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, WEEK, evening
from quant_assets_tests.support import listings

TUESDAY, WEDNESDAY = date(2013, 2, 19), date(2013, 2, 20)
SATURDAY = date(2013, 2, 9)
NONE = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date})


def answer(*days: date, symbol: str = "A") -> Answer:
    rows = pl.concat([bars(day, [symbol]) for day in days]).with_columns(scale=pl.lit(1.0))
    rows = rows.select(list(ANSWER_SCHEMA)).with_columns(close=pl.lit(11.0))
    return Answer(FetchResult(symbol, Outcome.OK), rows, [], Judged(rows), NONE, NONE)


def batch(
    wanted: Collection[date] = (DAY, TUESDAY),
    look_back: Collection[date] = (),
    first: date | None = None,
    last: date | None = None,
    symbols: str = "AB",
) -> Batch:
    us, asked = exchange("US"), Wanted.of({day: set(symbols) for day in wanted})
    plan = Plan(Days([], [], []), asked, look_back=sorted(look_back))
    stated = listings("A", "B").with_columns(
        listed_on=pl.lit(first, pl.Date), delisted_on=pl.lit(last, pl.Date)
    )
    return Batch(us, plan, stated, OpenDays.around(us, asked, evening(TUESDAY)))


def told(of: Batch) -> tuple[list[date], list[tuple[date, str]]]:
    """The dates of good rows, and those of refused ones with the rule."""
    found = of.validated()
    assert found is not None
    good, refused = found
    return good["date"].to_list(), refused.select("date", "rule").rows()


CLOSED, UNLISTED = "the exchange was closed that day", "outside the dates of the listing"


@pytest.mark.parametrize(
    ("of", "days", "good", "refused"),
    [
        # What is wanted and what is looked back at; nothing else.
        (batch(), [WEEK[1], DAY, WEEK[3], TUESDAY, WEDNESDAY], [DAY, TUESDAY], []),
        (batch([DAY], [WEEK[1]]), [WEEK[0], WEEK[1], DAY, WEEK[3]], [WEEK[1], DAY], []),
        (batch([DAY], [WEEK[1]], symbols="B"), [WEEK[1], DAY], [WEEK[1]], []),
        # Closed days between the first and the last of them.
        (batch(), [DAY, HOLIDAY, TUESDAY], [DAY, TUESDAY], [(HOLIDAY, CLOSED)]),
        (batch([DAY]), [SATURDAY, DAY, HOLIDAY], [DAY], []),
        (batch([DAY], [date(2013, 2, 8)]), [SATURDAY, DAY, HOLIDAY], [DAY], [(SATURDAY, CLOSED)]),
        # Whatever lies outside of the listing, however long ago.
        (batch([DAY], first=WEEK[1], last=WEEK[3]), WEEK[1:4], [DAY], []),
        (batch([DAY], first=DAY), [WEEK[0], DAY], [DAY], [(WEEK[0], UNLISTED)]),
        (batch([DAY], last=DAY), [DAY, WEEK[3], TUESDAY], [DAY], [(WEEK[3], UNLISTED), (TUESDAY, UNLISTED)]),
        (batch([DAY], first=DAY, last=DAY), [WEEK[0], DAY], [DAY], [(WEEK[0], UNLISTED)]),
    ],
)  # fmt: skip
def test_rows_that_are_asked_for_or_on_days_that_should_have_none_are_validated(
    of: Batch, days: list[date], good: list[date], refused: list[tuple[date, str]]
) -> None:
    of.add(answer(*days))
    assert told(of) == (good, refused)


def test_a_symbol_without_a_listing_has_no_bounds() -> None:
    of = batch([DAY], symbols="C", first=TUESDAY)
    of.add(answer(WEEK[0], DAY, symbol="C"))
    assert told(of) == ([DAY], [])


def test_a_batch_is_full_by_its_rows_and_is_emptied_by_being_validated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ROWS", 4)
    of = batch()
    assert not of.full
    of.add(answer(WEEK[0], WEEK[1], DAY))
    assert not of.full
    of.add(answer(DAY, TUESDAY, symbol="B"))
    assert not of.full
    of.add(answer(TUESDAY))
    assert of.full
    good, refused = told(of)
    assert (sorted(good), refused) == ([DAY, DAY, TUESDAY, TUESDAY], [])
    assert (of.full, of.validated()) == (False, None)


def test_the_context_of_rows_is_found_whenever_there_are_enough_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ROWS", 4)
    found: list[int] = []

    def noted(rows: pl.DataFrame, *facts: Any) -> pl.DataFrame:
        found.append(rows.height)
        return with_context(rows, *facts)

    monkeypatch.setattr(validation, "with_context", noted)
    of = batch(symbols="VWXYZ")
    for symbol, rows in zip("VWXYZ", (3, 1, 3, 1, 1), strict=True):
        of.add(answer(*WEEK[:rows], symbol=symbol))
    assert found == [4, 4]
    of.validated()
    assert found == [4, 4, 1]


def unexplained(accepted: Collection[date] = (), rejected: Collection[date] = ()) -> list[tuple[str, date]]:
    """Of two symbols that are ten times as dear from the second of seven sessions on, the rows that are refused, some
    of A's being decided about."""
    days = [DAY, WEEK[3], WEEK[4], TUESDAY, WEDNESDAY, date(2013, 2, 21), date(2013, 2, 22)]
    dear = pl.when(pl.col("date") > DAY).then(110.0).otherwise("close")
    of = batch(days)
    for symbol in "BA":
        one = answer(*days, symbol=symbol)
        rows = one.rows.with_columns(dear.alias("close"), high=pl.lit(120.0))
        keys = [
            rows.filter(pl.col("date").is_in(list(those)), pl.lit(symbol == "A")).select("symbol", "date")
            for those in (accepted, rejected)
        ]
        of.add(replace(one, rows=rows, accepted=keys[0], rejected=keys[1]))
    found = of.validated()
    assert found is not None
    assert set(found[1]["rule"]) <= {MOVED}
    return found[1].select("symbol", "date").rows()


MOVED = "moved by more than a factor of 4.5 without a split or dividend that explains it"


def test_what_people_have_decided_of_a_symbol_counts_for_its_rows() -> None:
    # That it stays explains a move, unless somebody has rejected the bar; a person's word explains any.
    assert unexplained() == []
    assert unexplained(rejected=[WEEK[3]]) == [("A", WEEK[3])]
    assert unexplained(rejected=[WEEK[3]], accepted=[WEEK[3]]) == []
