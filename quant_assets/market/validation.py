"""The rules that a daily bar must keep before it is stored, and the rows that break them.

Kept apart from `bars` because dataframely is costly to import and most readers of bars never validate.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from quant_assets.market.bars import ANSWER_SCHEMA, KEYS, DayTable, day_numbers
from quant_assets.market.flags import DIVIDEND_HELD, VOLUME_UNKNOWN
from quant_assets.market.moves import (
    BELIEVABLE,
    exceeds,
    is_explained,
    is_within,
    looks_like_a_unit,
    size_explained,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_COLUMN_RULES = {
    "nullability": "no {}",
    "nan": "{} is not a number",
    "inf": "{} is not a number",
    "min": "{} is negative",
    "min_exclusive": "{} is not positive",
}
_ROW_RULES = {
    "primary_key": "two rows for one session",
    "high_is_not_below_low": "high is below low",
    "whole_bar": "some prices are missing",
    "empty_bar_trades_nothing": "volume without prices",
    "unknown_volume_is_flagged": "no volume",
    "held_dividend_is_flagged": "no dividend",
    "on_a_session": "the exchange was closed that day",
    "in_a_known_currency": "a currency that the exchange or the catalog does not name",
    "while_listed": "outside the dates of the listing",
    "moved_for_a_reason": (
        f"moved by more than a factor of {BELIEVABLE:g} without a split or dividend that explains it"
    ),
    "moved_since_an_accepted_bar": (
        f"moved by more than a factor of {BELIEVABLE:g} from a bar before it that a person has accepted (if both are "
        "right, accept this one as well; if that one was wrong, accept what the source gives for it next)"
    ),
}

_BELIEVED_AFTER = 5
"""Bars after an unexplained move that have to keep to its level: then the move is believed, as a crash is."""
_SURELY_BELIEVABLE = 0.99 * BELIEVABLE
_EVER = 2**31 - 1
"""A day (as `day_numbers`) that is after all others."""
_RECENT_DAYS = 30
"""Calendar days up to which two bars in a row are compared: after a long suspension any price may be right."""


def _words(rule: str) -> str:
    column, of_column, check = rule.partition("|")
    return _COLUMN_RULES[check].format(column.replace("_", " ")) if of_column else _ROW_RULES[rule]


def _price() -> dy.Float64:
    return dy.Float64(nullable=True, min_exclusive=0.0)


def _flagged(code: str) -> pl.Expr:
    # Quicker than `flags.has`, and every row is asked; no code is a part of another one.
    return pl.col("flags").str.contains(code, literal=True)


class DailyBar(dy.Schema):
    """A row of `daily_prices`: as traded, in the listing's currency."""

    symbol = dy.String(primary_key=True)
    date = dy.Date(primary_key=True)
    open = _price()
    high = _price()
    low = _price()
    close = _price()
    volume = dy.Int64(nullable=True, min=0)
    dividend = dy.Float64(nullable=True, min=0.0)
    split_ratio = dy.Float64(min_exclusive=0.0)
    currency = dy.String()
    flags = dy.String()
    fetched_at = dy.Datetime(time_zone="UTC", time_unit="us")

    @dy.rule()
    def high_is_not_below_low(cls) -> pl.Expr:
        # Open and close may lie outside: that is flagged (`market.oddities`). A rule that gives null is kept.
        return pl.col("high") >= pl.col("low")

    @dy.rule()
    def whole_bar(cls) -> pl.Expr:
        prices = [pl.col(name).is_null() for name in ("open", "high", "low", "close")]
        return pl.all_horizontal(prices) | ~pl.any_horizontal(prices)

    @dy.rule()
    def empty_bar_trades_nothing(cls) -> pl.Expr:
        return pl.col("close").is_not_null() | pl.col("volume").eq_missing(0)

    @dy.rule()
    def unknown_volume_is_flagged(cls) -> pl.Expr:
        return pl.col("volume").is_not_null() | _flagged(VOLUME_UNKNOWN)

    @dy.rule()
    def held_dividend_is_flagged(cls) -> pl.Expr:
        return pl.col("dividend").is_not_null() | _flagged(DIVIDEND_HELD)


class AnsweredBar(DailyBar):
    """A daily bar beside what is known about its day and its symbol: the further columns of `with_context`."""

    scale = dy.Float64(nullable=True)
    session = dy.Bool()
    currency_known = dy.Bool()
    listed = dy.Bool()
    explained = dy.Bool()
    since_accepted = dy.Bool()

    @dy.rule()
    def on_a_session(cls) -> pl.Expr:
        return pl.col("session")

    @dy.rule()
    def in_a_known_currency(cls) -> pl.Expr:
        return pl.col("currency_known")

    @dy.rule()
    def while_listed(cls) -> pl.Expr:
        return pl.col("listed")

    @dy.rule()
    def moved_for_a_reason(cls) -> pl.Expr:
        return pl.col("explained") | pl.col("since_accepted")

    @dy.rule()
    def moved_since_an_accepted_bar(cls) -> pl.Expr:
        return pl.col("explained") | ~pl.col("since_accepted")


CONTEXT = ("session", "currency_known", "listed", "explained", "since_accepted")


def with_context(
    rows: pl.DataFrame,
    sessions: pl.Series,
    currencies: pl.Series,
    listings: pl.DataFrame,
    accepted: pl.DataFrame,
    rejected: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """`rows` (ANSWER_SCHEMA, whole answers by date, one after another) with the columns CONTEXT.

    Args:
        sessions: the exchange's sessions over the dates of `rows`.
        currencies: what the exchange quotes in.
        listings: symbol, listed_on, delisted_on, and currency where the catalog names one; null bounds nothing.
        accepted: symbol, date of rows that a person has accepted: nothing has to explain them.
        rejected: symbol, date of rows that a person has rejected: that later bars keep to their level does not.
    """
    # A row without a date breaks that rule, and no other one.
    dates = rows["date"].fill_null(sessions.min()) if rows["date"].null_count() else rows["date"]
    days = day_numbers(dates)
    session = pl.Series("session", DayTable(day_numbers(sessions)).holds(days))
    explained = pl.Series("explained", [True]).new_from_index(0, rows.height)
    since_accepted = pl.Series("since_accepted", [False]).new_from_index(0, rows.height)
    # Looking at bars one by one is slow, so only symbols with a large move are looked at so.
    of_symbol_before = rows.select(_same("symbol")).to_series().to_numpy()
    for symbol in _moving(rows, of_symbol_before):
        of_symbol = rows.with_row_index("at").filter(pl.col("symbol") == symbol)
        marked = of_symbol.with_columns(
            _accepted=_among(of_symbol, accepted),
            _rejected=pl.lit(False) if rejected is None else _among(of_symbol, rejected),
        )
        good, beside_accepted = _explained(marked)
        explained.scatter(of_symbol["at"], good)
        since_accepted.scatter(of_symbol["at"], beside_accepted)
    known, listed = _by_catalog(rows, days, of_symbol_before, currencies, listings)
    return rows.hstack([session, known, listed, explained, since_accepted])


def _same(name: str) -> pl.Expr:
    """Whether a row has the value of the row before."""
    return pl.col(name).eq_missing(pl.col(name).shift(1))


def _by_catalog(
    rows: pl.DataFrame,
    days: npt.NDArray[np.int32],
    of_symbol_before: npt.NDArray[np.bool_],
    currencies: pl.Series,
    listings: pl.DataFrame,
) -> tuple[pl.Series, pl.Series]:
    """`currency_known` and `listed` of each row: looked up once for rows of one symbol and currency in a row."""
    import numpy as np

    new = ~(of_symbol_before & rows.select(_same("currency")).to_series().to_numpy())
    new[:1] = True
    starts = np.flatnonzero(new)
    of_run = np.repeat(np.arange(starts.size, dtype=np.uint32), np.diff(starts, append=rows.height))
    facts = listings.select(
        "symbol",
        _currency=pl.col("currency") if "currency" in listings else pl.lit(None, pl.String),
        _first=pl.col("listed_on").cast(pl.Int32),
        _last=pl.col("delisted_on").cast(pl.Int32),
    )
    runs = rows.select("symbol", "currency")[starts].join(
        facts, on="symbol", how="left", maintain_order="left"
    )
    known = pl.col("currency").is_in(currencies.implode()) & (
        pl.col("_currency").is_null() | (pl.col("_currency") == pl.col("currency"))
    )
    listed = np.ones(days.size, dtype=bool)
    if runs["_first"].null_count() < runs.height:
        listed &= days >= runs["_first"].fill_null(-_EVER).to_numpy()[of_run]
    if runs["_last"].null_count() < runs.height:
        listed &= days <= runs["_last"].fill_null(_EVER).to_numpy()[of_run]
    return (
        runs.select(currency_known=known).to_series().gather(pl.Series(of_run)),
        pl.Series("listed", listed),
    )


def _among(rows: pl.DataFrame, decided: pl.DataFrame) -> pl.Series | pl.Expr:
    """Whether each row is one of those decided about."""
    if decided.is_empty():
        return pl.lit(False)
    found = rows.select(KEYS).join(
        decided.select(KEYS).unique().with_columns(_there=True), on=KEYS, how="left", maintain_order="left"
    )
    return found["_there"].fill_null(False)


def _moving(rows: pl.DataFrame, of_symbol_before: npt.NDArray[np.bool_]) -> pl.Series:
    """The symbols with a close that neither by itself nor by its actions is near to the one before it."""
    import numpy as np

    known = rows["close"].forward_fill() if rows["close"].null_count() else rows["close"]
    close = known.to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        move = close[1:] / close[:-1]
        # Of what is no number neither is so.
        near = (move < _SURELY_BELIEVABLE) & (move * _SURELY_BELIEVABLE > 1.0)
    far = np.flatnonzero(of_symbol_before[1:] & ~near) + 1
    if not far.size:
        return rows["symbol"].clear()
    moved = rows[far].with_columns(_before=known.gather(far - 1))
    return moved.filter(exceeds(size_explained(pl.col("_before")), BELIEVABLE))["symbol"].unique()


def _explained(rows: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Of one symbol's rows, which have a price that the last good one and the actions since then explain, or that the
    bars after it keep to; and for which that last good one is one that a person has accepted."""
    good: list[bool] = []
    beside_accepted: list[bool] = []
    last: float | None = None
    by_person = False
    bars = rows.select("date", "close", "split_ratio", "dividend", "_accepted", "_rejected").rows()
    since, seen = 1.0, None
    for at, (day, close, ratio, dividend, accepted, rejected) in enumerate(bars):
        since *= ratio
        beside_accepted.append(by_person)
        if close is None or not close > 0 or not math.isfinite(close):
            good.append(True)
            continue
        # Bars that were refused are no suspension: waiting must not make them right.
        fine = last is None or accepted or (day - seen).days > _RECENT_DAYS
        seen = day
        believed = fine
        if not fine:
            assert last is not None
            fine = is_explained(close, last, since, dividend or 0.0, BELIEVABLE)
            believed = fine or _believed(bars[at:], since * close / last)
        good.append(fine or (believed and not rejected))
        if believed:
            last, since, by_person = close, 1.0, bool(accepted)
    return pl.Series(good, dtype=pl.Boolean), pl.Series(beside_accepted, dtype=pl.Boolean)


def _believed(bars: list[tuple[object, ...]], move: float) -> bool:
    """Whether the bars from one on keep to its level for long enough. A hundredfold looks like another unit."""
    if looks_like_a_unit(move):
        return False
    closes = [float(str(bar[1])) for bar in bars[: _BELIEVED_AFTER + 1] if bar[1] is not None]
    return len(closes) > _BELIEVED_AFTER and all(
        is_within(close / closes[0], BELIEVABLE) for close in closes if close > 0
    )


def validate(rows: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Splits rows (DAILY_SCHEMA) into those that keep every rule of a daily bar and those that do not.

    Returns:
        (good rows, refused rows with a further column `rule`: in words, what each breaks). Nothing is dropped:
        together they are all the rows.
    """
    return _split(DailyBar, rows)


def validate_answer(rows: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same for rows with context (`with_context`), by all rules; both results are ANSWER_SCHEMA (and `rule`)."""
    rows = rows.lazy().collect()
    doubtful = rows
    if (surely := _surely_good(rows)) is not None:
        # The schema weighs every rule of every row, and next to all rows keep them all.
        if rows.height and surely.all():
            return rows.select(list(ANSWER_SCHEMA)), _no_refusals().clone()
        doubtful = rows.filter(~surely)
    good, refused = _split(AnsweredBar, doubtful)
    if doubtful.height < rows.height:
        good = rows.join(refused, on=KEYS, how="anti", maintain_order="left") if refused.height else rows
    return good.select(list(ANSWER_SCHEMA)), refused.select(*ANSWER_SCHEMA, "rule")


@cache
def _no_refusals() -> pl.DataFrame:
    return pl.DataFrame(schema={**ANSWER_SCHEMA, "rule": pl.String()})


def _surely_good(rows: pl.DataFrame) -> pl.Series | None:
    """Which rows keep every rule of AnsweredBar, as far as a quick look tells; None where one is there twice, or
    perhaps."""
    import numpy as np

    if any(rows[n].null_count() for n in KEYS):
        return None
    goes_on = rows.select(_same("symbol")).to_series().to_numpy()
    days = day_numbers(rows["date"])
    of_runs = rows["symbol"].gather(np.flatnonzero(~goes_on))
    if (goes_on[1:] & (days[1:] <= days[:-1])).any() or of_runs.n_unique() < of_runs.len():
        return None
    # What is no number, and a null, is in none of these bounds.
    opens, high, low, close = (rows[name].to_numpy() for name in ("open", "high", "low", "close"))
    lowest = np.minimum(np.minimum(opens, high), np.minimum(low, close))
    highest = np.maximum(np.maximum(opens, high), np.maximum(low, close))
    volume, dividend, ratio, scale = (
        rows[name].to_numpy() for name in ("volume", "dividend", "split_ratio", "scale")
    )
    fine = (lowest > 0) & (highest < np.inf) & (high >= low)
    fine &= (volume >= 0) & (dividend >= 0) & (dividend < np.inf)
    fine &= (ratio > 0) & (ratio < np.inf) & (scale > -np.inf) & (scale < np.inf)
    for name in ("session", "currency_known", "listed", "explained"):
        fine &= rows[name].fill_null(False).to_numpy() if rows[name].null_count() else rows[name].to_numpy()
    for name in ("currency", "flags", "fetched_at"):
        if rows[name].null_count():
            fine &= rows[name].is_not_null().to_numpy()
    return pl.Series("surely", fine)


def _split(schema: type[DailyBar], rows: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    good, failure = schema.filter(rows.lazy().collect(), cast=False)
    if failure.invalid().is_empty():
        return good, failure.invalid().with_columns(pl.lit("").alias("rule"))
    details = failure.details()
    rule_columns = [name for name in details.columns if name not in rows.lazy().collect_schema().names()]
    words = pl.concat_str(
        [
            pl.when(pl.col(name) == "invalid").then(pl.lit(_words(name))).otherwise(None)
            for name in rule_columns
        ],
        separator="; ",
        ignore_nulls=True,
    )
    refused = details.with_columns(words.alias("rule")).drop(rule_columns).sort(KEYS)
    return good, refused
