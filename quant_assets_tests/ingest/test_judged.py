"""What is kept of an answer whose bars are in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from quant_assets.ingest.judged import judged
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.flags import explained
from quant_assets.market.validation import validate_answer, with_context
from quant_assets.market.verdicts.answer import Answer
from quant_assets.resources.source import SERVED_SCHEMA, FetchResult, Outcome, UnreadableEvent
from quant_assets_tests.market.verdicts.served import DAYS, changed, listed, served, traded

EX = 60
NOBODY = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64})
LISTING = pl.DataFrame(
    {"symbol": ["A"], "listed_on": [None], "delisted_on": [None]},
    schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
)


@pytest.mark.parametrize(
    ("off", "is_stored"),
    [(0.0, True), (0.5, False), (2.5e-4, True), (-2.5e-4, True), (4e-4, False), (-4e-4, False)],
)
def test_a_bar_in_doubt_that_is_stored_just_so_is_no_claim(off: float, is_stored: bool) -> None:
    """To a ten-thousandth of a high of two, and as much again."""
    rows = traded()
    answer = served(rows)
    bars = changed(answer.bars, EX, high=0.01)
    high = bars["high"][EX] + off
    stored = rows.with_columns(high=pl.when(pl.col("date") == DAYS[EX]).then(high).otherwise("high"))
    result = FetchResult(
        "A", Outcome.OK, bars=bars.select(pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items()),
        splits=answer.splits, dividends=answer.dividends, currency="USD",
    )  # fmt: skip
    found = judged(result, datetime(2024, 9, 2, tzinfo=UTC), stored, DAYS, NOBODY)
    assert found.held["date"].to_list() == ([] if is_stored else [DAYS[EX]])


@pytest.mark.parametrize("through", [EX + 1, EX + 2, EX + 20])
def test_a_bar_in_doubt_on_an_ex_date_leaves_its_split(through: int) -> None:
    """Without the split no bar after it would be explained, and each of them refused."""
    rows = traded(splits={EX: 0.1})
    answer = served(rows, through)
    bars = changed(answer.bars, EX, high=100.0).select(
        pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items()
    )
    result = FetchResult(
        "A", Outcome.OK, bars=bars, splits=answer.splits, dividends=answer.dividends, currency="USD"
    )
    found = judged(result, datetime(2024, 9, 2, tzinfo=UTC), None, DAYS, NOBODY)
    assert found.held["date"].to_list() == [DAYS[EX]]
    held = found.rows.filter(pl.col("date") == DAYS[EX]).select("open", "close", "volume", "split_ratio")
    assert held.rows() == [(None, None, 0, 0.1)]
    sessions, currencies = pl.Series(DAYS), pl.Series(["USD"])
    good, refused = validate_answer(with_context(found.rows, sessions, currencies, LISTING, NOBODY))
    assert refused.is_empty()
    assert good.select(list(ANSWER_SCHEMA)).height == through
    kept = good.filter(pl.col("close").is_not_null())
    truth = rows[:through].filter(pl.col("date") != DAYS[EX])
    assert kept["close"].round(2).to_list() == truth["close"].to_list()


def test_what_is_made_of_an_answer_is_no_other_answers() -> None:
    """Frames of no rows come from one that is kept: whoever adds to them adds to his own."""
    answer = served(traded())
    result = FetchResult(
        "A", Outcome.OK, splits=answer.splits, dividends=answer.dividends.clear(), currency="USD",
        bars=answer.bars.select(pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items()),
    )  # fmt: skip
    first, second = (judged(result, datetime(2024, 9, 2, tzinfo=UTC), None, DAYS, NOBODY) for _ in range(2))
    assert first.held.is_empty()
    first.held.extend(first.held.clear(1))
    assert first.held.height == 1
    assert second.held.is_empty()
    assert judged(result, datetime(2024, 9, 2, tzinfo=UTC), None, DAYS, NOBODY).held.is_empty()


def fetched(answer: Answer, **more: Any) -> FetchResult:
    fields: dict[str, Any] = {
        "splits": answer.splits,
        "dividends": answer.dividends,
        "currency": "USD",
        **more,
    }
    bars = answer.bars.select(pl.col(name).cast(dtype) for name, dtype in SERVED_SCHEMA.items())
    return FetchResult("A", Outcome.OK, bars=bars, **fields)


NOW = datetime(2024, 9, 2, 22, 0, 1, 5, tzinfo=UTC)


def test_a_dividend_in_doubt_of_a_day_without_a_bar_is_a_claim_by_itself() -> None:
    """Listed twice, and as declared before a split of two for one."""
    answer = served(traded(splits={90: 2.0}))
    without = replace(answer, bars=answer.bars.filter(pl.col("date") != DAYS[EX]))
    twice = listed([(DAYS[EX], 0.7), (DAYS[EX], 0.7)])
    found = judged(fetched(without, dividends=twice), NOW, None, DAYS, NOBODY)
    (claim,) = found.held.rows(named=True)
    prices = {name: claim[name] for name in ("open", "high", "low", "close")}
    assert set(prices.values()) == {None}
    assert {name: claim[name] for name in claim if name not in prices} == {
        "symbol": "A", "date": DAYS[EX], "volume": 0, "dividend": 2.8, "split_ratio": 1.0, "currency": "USD",
        "flags": "", "fetched_at": NOW, "scale": 2.0, "rule": f"the dividend of 0.7 twice on {DAYS[EX]}",
        "scope": "action", "kind": "dividend_repeated", "witnesses": "",
    }  # fmt: skip
    assert DAYS[EX] not in found.rows["date"].to_list()
    assert (set(found.rows["fetched_at"]), set(found.rows["symbol"])) == ({NOW}, {"A"})
    assert (set(found.rows["currency"]), set(found.rows["flags"])) == ({"USD"}, {""})


def test_a_dividend_in_doubt_leaves_its_bar_without_it() -> None:
    answer = served(traded(dividends={EX: 30.0}))
    result = fetched(answer, dividends=listed([(DAYS[EX], 10.0)]))
    found = judged(result, NOW, None, DAYS, NOBODY)
    here = found.rows.filter(pl.col("date") == DAYS[EX])
    assert here.select("dividend", "flags").rows() == [(None, "dividend_held")]
    assert here["close"].item() > 0
    assert found.rows.height == len(DAYS)
    assert found.held.select("date", "scope", "dividend").rows() == [(DAYS[EX], "action", 10.0)]
    # Stored with that amount it is no claim, nor where a person has accepted the row.
    stored = traded(dividends={EX: 10.0}).filter(pl.col("date") == DAYS[EX])
    decided = found.held.select("symbol", "date", "close")
    kept = judged(result, NOW, None, DAYS, decided)
    assert kept.held.is_empty()
    assert kept.rows.filter(pl.col("date") == DAYS[EX])["dividend"].to_list() == [None]
    assert judged(result, NOW, stored, DAYS, NOBODY).held.is_empty()


@pytest.mark.parametrize(("amount", "is_stored"), [(1e-4, True), (1.1e-4, False)])
def test_a_dividend_in_doubt_of_a_ten_thousandth_is_none_where_none_is_stored(
    amount: float, is_stored: bool
) -> None:
    rows = traded(start=2.0)
    result = fetched(served(rows), dividends=listed([(DAYS[EX], amount)]))
    assert judged(result, NOW, None, DAYS, NOBODY).held["dividend"].to_list() == [amount]
    assert judged(result, NOW, rows, DAYS, NOBODY).held.is_empty() is is_stored


def test_what_was_undone_is_flagged_on_its_day_and_noted() -> None:
    answer = served(traded(dividends={EX: 0.7}))
    twice = listed([(DAYS[EX], 0.7), (DAYS[EX], 0.7)])
    lost = UnreadableEvent(None, "dividend", "soon")
    found = judged(fetched(answer, dividends=twice, unreadable=[lost]), NOW, None, DAYS, NOBODY)
    flagged = found.rows.filter(pl.col("flags") != "")
    assert flagged.select("date", "dividend", "flags").rows() == [
        (DAYS[EX], 0.7, explained("dividend_repeated"))
    ]
    assert found.notes == (
        f"A: 0.7 is listed twice on {DAYS[EX]}",
        "A: not stored: a dividend that cannot be read (without a date: soon)",
    )
    assert (found.held.height, found.real_moves) == (0, frozenset())
