"""What is kept of an answer whose bars are in doubt."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_assets.ingest.judged import judged
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.validation import validate_answer, with_context
from quant_assets.resources.source import SERVED_SCHEMA, FetchResult, Outcome
from quant_assets_tests.market.verdicts.served import DAYS, changed, served, traded

EX = 60
NOBODY = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, "close": pl.Float64})
LISTING = pl.DataFrame(
    {"symbol": ["A"], "listed_on": [None], "delisted_on": [None]},
    schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
)


@pytest.mark.parametrize(("off", "is_stored"), [(0.0, True), (0.5, False)])
def test_a_bar_in_doubt_that_is_stored_just_so_is_no_claim(off: float, is_stored: bool) -> None:
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
