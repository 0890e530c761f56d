"""What a served number vouches for: the decimals it stands for, and when two of them are the same.

A source serves a price as a float32 on today's share basis. With S the product of the split ratios since, the price
that was traded lies in an interval of one float32 step around the served price, times S, and nothing more is known
of it. What is stored is the shortest decimal in there: prices are quoted in few decimals, so that the shortest one is
the one that was traded wherever the interval is narrower than a unit of the quote's last decimal (five decimals below
83, one fewer for each further digit).

Of several decimals that are equally short a multiple of 1/8, 1/16, 1/32, … is taken before the one nearest to the
middle: until 2001 prices were quoted in such fractions, and no other quote has so many decimals. A tick of a cent
decides nothing here: of two equally short decimals both are whole cents, or neither is.

Yahoo has been seen to serve rescaled prices that it had rounded to six decimals before (AAPL's 28.75 of 1980, with
S = 224, as the float32 of 0.128348), and others exactly (0.12834821). An answer's prices tell which: where its closes
lie on that grid far more often than chance would have it, each price on it stands for half a millionth more, times S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_STEP = 2.0**-24
"""Half the step between two float32 values, relative to them: at most this, at least half of it."""
_TEXT = 1e-14
"""Relative error up to which a double is a float32 that was written with fifteen digits."""
_GRID = 6
"""The decimals that rescaled prices may have been rounded to before they were served."""
_SURE, _MOST_OF_ONE = 14.0, 5.0
"""Natural logarithm of the odds against it that the closes of an answer lie on the grid by chance, and the most that
one of them counts."""
_CHANGED = 3
"""Prices that must be shorter if rounded, where nothing else can show it."""
_SLACK = 1e-6
"""What an interval is widened by, relative to itself: the division by S was rounded as well."""
_MOST_DECIMALS = 22
"""10**22 is the last power of ten that a float64 holds exactly: then a decimal is the float64 nearest to it."""
_FEWEST_FOR_FRACTIONS = 3
_FEWEST_SHARES, _LOT = 10, 100
_SURELY_SIX = 1e5
"""Amounts below it are known to more than six decimals, if given with fifteen digits."""
_QUICK_DECIMALS = (4, 2)
"""The decimals that nearly all prices have at most, tried before the shortest are looked for."""


def recovered(served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What was traded, of prices as served: the shortest decimals that they vouch for.

    Args:
        served: k x n served prices of one symbol's answer, the closes last; NaN where there is none.
        scale: n, the S of each bar: 1.0 where no split has rescaled it.

    Returns:
        k x n. A price that was not rescaled and is no float32 was served with more digits, and is kept as it is.
    """
    import numpy as np  # numpy is slow to import, and loading the definitions must not pay for it

    rescaled = scale != 1.0
    if not rescaled.any():
        return shortest_float32(served)
    # What is sure of prices that may have been rounded is so of others, too.
    found, sure = _of_few_decimals(served, scale, rounded=True)
    if not sure.all():
        was_rounded = _was_rounded(served, scale, rescaled)
        if not was_rounded:
            found, sure = _of_few_decimals(served, scale, rounded=False)
        rest = ~sure & ~rescaled
        found[rest] = _searched_float32(served[rest])
        rest = ~sure & rescaled
        scales = np.broadcast_to(scale, served.shape)[rest]
        found[rest] = _searched(served[rest], scales, rounded=was_rounded)
    return found


def shortest_float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The shortest decimals whose float32 is each value, as float64: 189.3300018310547 becomes 189.33.

    Yahoo serves float32 prices widened to double, so this takes back the widening and loses nothing. Some come with
    fifteen digits. A value that is no float32 is kept as it is. Shape and nulls (NaN) are kept.
    """
    import numpy as np

    found, sure = _of_few_decimals(values, np.float64(1.0), rounded=False)
    if not sure.all():
        rest = ~sure
        found[rest] = _searched_float32(values[rest])
    return found


def _searched_float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The same, looked for price by price."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        narrow = values.astype(np.float32)
        wide = narrow.astype(np.float64)
        is_float32 = np.abs(values - wide) <= _TEXT * np.abs(values)
        cleaned = _searched(wide, np.float64(1.0), rounded=False)
        lost = is_float32 & (cleaned.astype(np.float32) != narrow)
    # Those that need more decimals than a power of ten can be exact for, and the two that lie on an interval's end.
    if lost.any():
        cleaned[lost] = narrow[lost].astype(np.str_).astype(np.float64)
    return np.where(is_float32, cleaned, values)


def recovered_dividends(
    amounts: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What was declared, of dividends as served (n) and the S of their ex-dates (n): the shortest decimals.

    Yahoo rounds a rescaled amount to six decimals: one with no more stands for half a millionth to either side, times
    S. A longer one is a float32, or exact.
    """
    import numpy as np

    size = np.abs(amounts)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.round(amounts, _GRID)
        if ((np.abs(amounts - near) <= 0.5e-12 * size) & (size < _SURELY_SIX) & (scale == 1.0)).all():
            return near
        short = np.abs(amounts - near) <= 1e-12
        narrow = amounts.astype(np.float32)
        is_float32 = np.abs(amounts - narrow.astype(np.float64)) <= _TEXT * size
        half = np.where(
            is_float32 & ~short, 0.5 * np.spacing(np.abs(narrow)).astype(np.float64), 1e-12 * size
        )
        half = np.where(short & (scale != 1.0), 0.5 * 10.0**-_GRID, half)
    return _shortest_within(amounts, scale, half, half)


def recovered_volume(served: pl.DataFrame, scale: npt.NDArray[np.float64]) -> pl.Series:
    """The shares traded, Int64, of bars with `volume` (served), `high` and `low`, and the S of each bar.

    A reverse split counts volumes in fewer shares: 279,293 can come as 0. What was traded is null, unknown, where
    fewer than ten of today's shares came (so that it may be off by more than 5 %) and each stands for more than two.
    A zero of a bar that did not move stays one while it hides less than a lot of 100.
    """
    import numpy as np

    volume = served["volume"]
    volumes = (volume.fill_null(0) if volume.null_count() else volume).to_numpy()
    with np.errstate(invalid="ignore"):
        # Halves are rounded away from zero.
        shares = volumes / scale
        whole = np.trunc(shares)
        whole += np.copysign(np.abs(shares - whole) >= 0.5, shares)
        recovered = pl.Series("volume", whole.astype(np.int64))
    unknown = volumes < _FEWEST_SHARES
    if unknown.any():
        flat = served["high"].to_numpy() == served["low"].to_numpy()
        unknown &= (0.5 / scale > 1.0) & ~((volumes == 0) & flat & (0.5 / scale < _LOT))
        recovered = recovered.set(pl.Series(unknown), None)
    return recovered


def _hides_shares(scale: pl.Expr) -> pl.Expr:
    """Whether a served volume of 0 says nothing of the shares traded (`recovered_volume`)."""
    lost = 0.5 / scale
    quiet = (pl.col("high") == pl.col("low")) & (lost < _LOT)
    return (lost > 1.0) & ~quiet.fill_null(False)


def _shortest(
    served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64] | np.float64, *, rounded: bool
) -> npt.NDArray[np.float64]:
    """The shortest decimals that served float32 prices times S may stand for; `rounded` to six decimals before."""
    import numpy as np

    found, sure = _of_few_decimals(served, scale, rounded=rounded)
    if not sure.all():
        rest = ~sure
        found[rest] = _searched(served[rest], np.broadcast_to(scale, sure.shape)[rest], rounded=rounded)
    return found


def _of_few_decimals(
    served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64] | np.float64, *, rounded: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Decimals near to served float32 prices times S, and which of them are surely the shortest (`_searched`).

    One that lies in an interval narrower than a unit of its last decimal is the only one there, so that none is
    shorter.
    """
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        rescaled = isinstance(scale, np.ndarray) or scale != 1.0
        middle = served * scale if rescaled else served
        widest = 2 * _STEP * np.abs(middle).max(initial=0.0)
        if rounded:
            widest += 10.0**-_GRID * np.max(scale, initial=0.0)
        for decimals in _QUICK_DECIMALS:
            if widest < 0.99 * 10.0**-decimals:
                power = 10.0**decimals
                near = np.rint(middle * power) / power
                narrow = (near / scale if rescaled else near).astype(np.float32)
                # That of a value that is no float32 itself is never equal.
                return near, narrow == served
    return np.empty_like(middle), np.zeros(middle.shape, dtype=bool)


def _searched(
    served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64] | np.float64, *, rounded: bool
) -> npt.NDArray[np.float64]:
    """The same as `_shortest`, looked for price by price."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        narrow = np.abs(served).astype(np.float32)
        above = 0.5 * np.spacing(narrow).astype(np.float64)
        # Below a power of two the float32 values lie twice as close.
        below = np.where(narrow.view(np.int32) & 0x7FFFFF == 0, 0.5 * above, above)
        if rounded:
            more = np.where(_on_grid(narrow), 0.5 * 10.0**-_GRID, 0.0)
            above, below = above + more, below + more
        return _shortest_within(served, scale, below, above)


def _shortest_within(
    served: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64] | np.float64,
    below: npt.NDArray[np.float64],
    above: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The shortest decimals in the intervals of `served` minus `below` to plus `above`, each times `scale`.

    Of several the multiple of the binary fraction with as many decimals, else the one nearest to the middle.
    """
    import numpy as np

    powers = 10.0 ** np.arange(_MOST_DECIMALS + 1)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        middle = np.abs(served) * scale
        low, high = middle - below * scale * (1 + _SLACK), middle + above * scale * (1 + _SLACK)
        # The most decimals of which two can never lie in the interval: shorter ones are among them.
        decimals = np.ceil(-np.log10(high - low)) - 1
        # No number (NaN) has none.
        decimals = np.fmin(np.fmax(decimals, 0), _MOST_DECIMALS - 1).astype(np.intp)
        power = powers[decimals]
        near = np.rint(middle * power)
        # Above a power of two an interval reaches further up than down.
        shortest = np.where(near / power < low, (near + 1) / power, near / power)
        longer = ~((low <= shortest) & (shortest <= high))
        if longer.any():
            middle, low, high, decimals = middle[longer], low[longer], high[longer], decimals[longer] + 1
            power = powers[decimals]
            near = np.rint(middle * power)
            one = near / power
            one = np.where(one < low, (near + 1) / power, one)
            fraction = 2.0**decimals
            other = np.rint(middle * fraction) / fraction
            fits = (decimals >= _FEWEST_FOR_FRACTIONS) & (low <= other) & (other <= high)
            one = np.where(fits, other, one)
            shortest[longer] = np.where((one < low) | (one > high), middle, one)
    return np.copysign(shortest, served)


def _was_rounded(
    served: npt.NDArray[np.float64], scale: npt.NDArray[np.float64], rescaled: npt.NDArray[np.bool_]
) -> bool:
    """Whether the source rounded rescaled prices (k x n, the closes last) to six decimals before they became float32.

    One bar's prices may all be the same, so that the closes alone are taken for evidence of their own.
    """
    import numpy as np

    closes = served[-1][rescaled]
    # The same price again is no further evidence, and one price alone is none.
    narrow = np.unique(closes[np.isfinite(closes) & (closes > 0.0)].astype(np.float32))
    chance = np.minimum(np.spacing(narrow).astype(np.float64) * 10.0**_GRID, 1.0)
    on = _on_grid(narrow)
    if (on - chance).sum() < 0.8 * (1.0 - chance).sum():
        return False
    if np.minimum(-np.log(chance[on]), _MOST_OF_ONE).sum() >= _SURE:
        return True
    # From 8 on every float32 lies on the grid: then it shows only in decimals that are too many here and there.
    served, scale = served[:, rescaled], scale[rescaled]
    exact = _shortest(served, scale, rounded=False)
    rounded = _shortest(served, scale, rounded=True)
    changed = exact != rounded
    short = (np.round(rounded, 3) == rounded) & (np.round(exact, 3) != exact)
    return bool(changed.sum() >= _CHANGED and short.sum() >= 0.9 * changed.sum())


def _on_grid(narrow: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    import numpy as np

    unit = 10.0**_GRID
    on: npt.NDArray[np.bool_] = (np.rint(narrow.astype(np.float64) * unit) / unit).astype(
        np.float32
    ) == narrow
    return on


# When two values are the same. Joined rows, as `reconcile.compare` makes them: `scale` is the S that the new value
# was served at; the old one was served at one of `scale_old` to `scale_most`, on some day since: at `scale_seen`, if
# the source has listed every split in time.


def other_price(name: str) -> pl.Expr:
    """Whether no price can lie in what both looks at it vouch for: the new value's interval and any of the old one's.

    Prices that no split has ever rescaled are the same up to one float32 step: a source's own fields of one bar have
    been seen to be that far apart.
    """
    old, new, scale = pl.col(name), pl.col(f"{name}_new"), pl.col("scale")
    served = (new / scale).cast(pl.Float32)
    unit = 10.0**_GRID
    on_grid = ((served.cast(pl.Float64) * unit).round() / unit).cast(pl.Float32) == served
    # The new interval has its half; of the old one only some decimal in it is known, and so it counts whole.
    size = pl.max_horizontal(old.abs(), new.abs())
    # Whether an answer was rounded is judged by all of its prices: another look may have judged otherwise.
    half = 0.5 * scale / unit
    rounded = (scale != 1.0) & (on_grid | (half <= _FAINT * size))
    within = 3 * _STEP * size + pl.when(rounded).then(half).otherwise(0.0)
    never_rescaled = pl.all_horizontal(pl.col("scale", "scale_old", "scale_most") == 1.0)
    far = (old - served.cast(pl.Float64) * scale).abs() > within * (1 + _SLACK)
    return pl.when(never_rescaled).then((old - new).abs() > 2 * _STEP * size * (1 + _SLACK)).otherwise(far)


def other_volume() -> pl.Expr:
    """Whether two volumes differ by more than what is lost where they are counted in today's, fewer shares."""
    old, new = pl.col("volume"), pl.col("volume_new")
    lost = [
        pl.when(pl.col(s) < 1.0).then(0.5 / pl.col(s) + 0.5).otherwise(0.0) for s in ("scale", "scale_old")
    ]
    return (old - new).abs() > pl.max_horizontal(lost[0] + lost[1], 0.5)


def rounded_to_zero() -> pl.Expr:
    """Whether the zero of a bar whose volume is unknown now was no more than that when it was stored.

    Earlier versions took what a reverse split had rounded to nothing for a day without a trade. `scale_seen` is the S
    that the old value was served at.
    """
    zero = (pl.col("volume") == 0) & pl.col("close").is_not_null()
    return (zero & _hides_shares(pl.col("scale_seen"))).fill_null(False)


def other_dividend() -> pl.Expr:
    """Whether two dividends differ at the six decimals that they are served with, at either look."""
    old, new = pl.col("dividend"), pl.col("dividend_new")
    return (old - new).abs() > 10.0**-_GRID * pl.max_horizontal("scale", 1.0) + 4 * _STEP * new.abs()


CLOSE_TO = 1e-4
"""Relative error up to which two prices have a given ratio: ratios are listed with few digits."""
_COARSE = 0.01
_FAINT = 2e-5
"""Share of a price that rounding to six decimals may hide unnoticed."""


def price_times(ratio: float, name: str = "close") -> pl.Expr:
    """Whether the new price of joined rows is the old one times `ratio`, as far as either look can tell.

    Either may be from quotes, or from a store of an earlier version, of four decimals: what that makes is no other
    ratio, as long as it is less than a hundredth of the price.
    """
    old, new = pl.col(name), pl.col(f"{name}_new")
    coarse = 0.5 * former_tick(new) + 0.5 * former_tick(old) * ratio
    return (new - old * ratio).abs() <= pl.min_horizontal(coarse, _COARSE * new) + CLOSE_TO * new


# What stores of earlier versions hold of prices that a split had rescaled.

_FORMER_DECIMALS = ((800, 3), (8_000, 2), (80_000, 1), (800_000, 0))


def former_tick(price: pl.Expr) -> pl.Expr:
    """The unit of the last decimal that earlier versions kept of a rescaled price: 0.0001, more for dear ones."""
    unit = pl.lit(1e-4)
    for floor, decimals in _FORMER_DECIMALS:
        unit = pl.when(price >= floor).then(10.0**-decimals).otherwise(unit)
    return unit


def formerly_rounded(name: str) -> pl.Expr:
    """Whether the old price of joined rows is the new one, rounded as earlier versions rounded it."""
    old, new = pl.col(name), pl.col(f"{name}_new")
    unit = former_tick(old)
    on_unit = (old / unit - (old / unit).round()).abs() < 1e-6
    return (pl.col("scale") != 1.0) & on_unit & ((old - new).abs() <= 0.5 * unit + 3 * _STEP * new.abs())
