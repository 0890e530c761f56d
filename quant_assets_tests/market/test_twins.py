"""Whose a history is that two symbols have."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.market.twins import Twins, owner

DAYS = [date(2024, 3, 1) + timedelta(days=n) for n in range(30)]


def rows(symbol: str, count: int = 30, /, **values: float) -> pl.DataFrame:
    made = {"close": [10.0 + n % 7 for n in range(30)], "volume": [1_000 + n for n in range(30)]}
    frame = pl.DataFrame({"symbol": [symbol] * 30, "date": DAYS, **made})
    return frame.with_columns(**{name: pl.lit(value) for name, value in values.items()}).tail(count)


@pytest.mark.parametrize(("count", "twins"), [(20, [["A", "B"]]), (19, [])])
def test_twins_have_the_same_twenty_traded_bars(count: int, twins: list[list[str]]) -> None:
    found = Twins()
    for symbol in ("B", "A"):
        found.add(symbol, rows(symbol, count))
    found.add("C", rows("C", count, close=11.0))
    # Days without a trade are the same for everybody.
    found.add("D", rows("D", count, volume=0))
    found.add("E", rows("E", count, volume=0))
    assert found.found() == twins


def test_a_history_is_of_the_one_symbol_that_has_it_stored() -> None:
    both = pl.concat([rows("A"), rows("B")])
    assert owner(["A", "B"], both, {"B": rows("B", 5)}) == "B"
    # Four sessions are few, and where both have it, or neither, nobody can tell.
    assert owner(["A", "B"], both, {"B": rows("B", 4)}) is None
    assert owner(["A", "B"], both, {"A": rows("A"), "B": rows("B")}) is None
    assert owner(["A", "B"], both, {}) is None
    for other in ({"close": 10.01}, {"volume": 7}):
        assert owner(["A", "B"], both, {"B": rows("B", **other)}) is None
    one_off = rows("B").with_columns(close=pl.when(pl.col("date") == DAYS[-1]).then(10.5).otherwise("close"))
    assert owner(["A", "B"], both, {"B": one_off}) is None


@pytest.mark.parametrize(
    ("off", "owned"), [(1.00009, True), (1.00011, False), (0.99991, True), (0.99989, False)]
)
def test_a_close_is_the_stored_one_to_a_ten_thousandth(off: float, owned: bool) -> None:
    stored = rows("B").with_columns(pl.col("close") / off)
    assert owner(["A", "B"], pl.concat([rows("A"), rows("B")]), {"B": stored}) == ("B" if owned else None)


def test_days_without_a_trade_say_nothing_of_whose_a_history_is() -> None:
    traded = rows("B").with_columns(volume=pl.when(pl.col("date") < DAYS[5]).then("volume").otherwise(0))
    other = traded.with_columns(close=pl.when(pl.col("volume") > 0).then("close").otherwise(99.0))
    assert owner(["B"], traded, {"B": other}) == "B"
    assert owner(["B"], traded, {"B": other.filter(pl.col("date") > DAYS[0])}) is None
    unknown = rows("B").with_columns(close=pl.lit(None, pl.Float64))
    assert owner(["B"], rows("B"), {"B": unknown}) is None
