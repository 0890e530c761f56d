"""Rows that stand and rows that come, brought together by (symbol, date).

The precedence, in full:

1. A row that only one side has is kept; no row is ever lost, none is there twice.
2. A row with a bar beats one that only carries an action; the action stays with the bar, and so do its flags.
3. Of several bars, the one that became known last says what was traded.
4. Values said again are no news: the row keeps the moment at which they became known, and its flags.

Whether two values are the same is judged at the precision of what was served (`differing`): a float32 price, a volume
counted in today's shares (`market.precision`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES, VALUES
from quant_assets.market.flags import DIVIDEND_HELD, FLAGS, NONE, VOLUME_UNKNOWN, joined, removed
from quant_assets.market.precision import (
    formerly_rounded,
    other_dividend,
    other_price,
    other_volume,
    rounded_to_zero,
)

_NEW = "_new"

_SAME_BASIS = 0.05
"""Relative difference of two closes up to which both are on one share basis and in one unit."""


def merge(*versions: pl.DataFrame) -> pl.DataFrame:
    """One row per (symbol, date) of all versions (DAILY_SCHEMA each), by the precedence above.

    The result is sorted by (symbol, date) and the same in whatever order the versions are named; merged with itself,
    or with the same values said again later, it stays as it is.
    """
    rows = pl.concat(versions)
    if not rows.select(pl.struct(KEYS).is_duplicated().any()).item():
        return rows.sort(KEYS)
    # Ties of the moment are broken by the values, so that the order of the versions never matters.
    ordered = rows.unique().sort(
        *KEYS,
        pl.col("close").is_not_null(),
        "fetched_at",
        # A bar that has been given its action must win over the same one without: a ratio may be less than 1.
        pl.col("split_ratio") != 1.0,
        *VALUES,
        nulls_last=False,
    )
    same_as_before = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(name).shift(1).over(KEYS)) for name in VALUES
    )
    # What only an action row says of its day must not go when the bar comes.
    bare = pl.col("close").is_null()
    runs = ordered.with_columns(
        _run=(~same_as_before).cast(pl.Int64).cum_sum().over(KEYS),
        _dividend=pl.col("dividend").filter(bare).max().over(KEYS),
        _split_ratio=pl.col("split_ratio").filter(bare & (pl.col("split_ratio") != 1.0)).max().over(KEYS),
        _of_action=_all_flags(bare),
    )
    last_run = runs.filter(pl.col("_run") == pl.col("_run").max().over(KEYS))
    # Flags are no values: of a row that came in one moment with several, all are kept.
    known = pl.col("fetched_at") == pl.col("fetched_at").min().over(KEYS)
    first_of_it = last_run.with_columns(flags=_all_flags(known)).unique(
        KEYS, keep="first", maintain_order=True
    )
    return first_of_it.with_columns(
        pl.when(pl.col("close").is_not_null() & (pl.col("dividend") == 0.0))
        .then(pl.col("_dividend").fill_null(0.0))
        .otherwise("dividend")
        .alias("dividend"),
        pl.when(pl.col("close").is_not_null() & (pl.col("split_ratio") == 1.0))
        .then(pl.col("_split_ratio").fill_null(1.0))
        .otherwise("split_ratio")
        .alias("split_ratio"),
        joined(pl.col("flags"), pl.when(pl.col("close").is_not_null()).then("_of_action")),
    ).select(list(DAILY_SCHEMA))


def _all_flags(which: pl.Expr) -> pl.Expr:
    """The flags of some of the rows of a key, in any order and number, for all of its rows."""
    return pl.col("flags").filter(which & (pl.col("flags") != NONE)).str.join(",").over(KEYS)


def differing(name: str) -> pl.Expr:
    """Whether a joined row's new value is another one than the old, at the precision of what was served.

    For rows as `compare` joins them.
    """
    old, new = pl.col(name), pl.col(f"{name}{_NEW}")
    if name == "currency":
        return old.ne_missing(new)
    if name in PRICES:
        far = other_price(name)
    elif name == "volume":
        far = other_volume()
    elif name == "dividend":
        far = other_dividend()
    else:
        far = (old - new).abs() > 1e-6 * old.abs()
    if name in ("volume", "dividend"):
        # What is in doubt or unknown now says nothing against what is known.
        gone = rounded_to_zero() if name == "volume" else pl.lit(False)
        return pl.when(new.is_null()).then(gone).when(old.is_null()).then(True).otherwise(far)
    return pl.when(old.is_null() | new.is_null()).then(old.is_null() != new.is_null()).otherwise(far)


@dataclass(frozen=True, slots=True)
class Compared:
    """An answer beside what stands.

    `fresh` (ANSWER_SCHEMA): rows that do not stand yet. `bare` (joined): a bar comes where an action alone stood.
    `pairs` (joined): all others, with `differs`. `absent` (DAILY_SCHEMA): standing bars that the answer has not.
    Joined rows have DAILY_SCHEMA, the same with the suffix `_new`, and the S(t) by which the served numbers were
    multiplied: of the new row (`scale`), the least and the most that it may have been when the old row was seen
    (`scale_old`, `scale_most`), and what it was then, where that matters (`scale_seen`).
    """

    fresh: pl.DataFrame
    bare: pl.DataFrame
    pairs: pl.DataFrame
    absent: pl.DataFrame


def compare(stored: pl.DataFrame, answer: pl.DataFrame) -> Compared:
    """Lays an answer (ANSWER_SCHEMA) beside what stands (DAILY_SCHEMA); both unique by (symbol, date)."""
    # Seen on an earlier day, a row's S(t) had the splits up to that day alone.
    since = pl.col("scale")
    scaled = answer.sort(KEYS).with_columns(
        scale_old=since / since.cum_max(reverse=True).over("symbol"),
        scale_most=since / since.cum_min(reverse=True).over("symbol"),
    )
    joined = stored.join(scaled, on=KEYS, how="inner", suffix=_NEW).sort(KEYS)
    joined = _with_what_is_known(_with_scale_seen(joined, scaled))
    bar, new_bar = pl.col("close").is_not_null(), pl.col(f"close{_NEW}").is_not_null()
    return Compared(
        fresh=answer.join(stored, on=KEYS, how="anti"),
        bare=joined.filter(~bar & new_bar),
        # A bar that stands beside an answer that only has the action is a bar that is absent from it.
        pairs=joined.filter(bar == new_bar).with_columns(
            differs=pl.any_horizontal(differing(name) for name in VALUES)
        ),
        absent=stored.filter(bar).join(answer.filter(bar), on=KEYS, how="anti"),
    )


def _with_scale_seen(joined: pl.DataFrame, scaled: pl.DataFrame) -> pl.DataFrame:
    """Joined rows with `scale_seen`: the S(t) of the old row at its `fetched_at`, for zeros that are unknown now, the
    only ones that it matters for; else null."""
    zeros = joined.filter(pl.col("volume") == 0, pl.col(f"volume{_NEW}").is_null())
    if zeros.is_empty():
        return joined.with_columns(scale_seen=pl.lit(None, pl.Float64))
    later = scaled.select("symbol", _day="date", _later="scale").sort("symbol", "_day")
    seen = (
        zeros.select(*KEYS, "scale", _day=pl.col("fetched_at").dt.date())
        .sort("symbol", "_day")
        .join_asof(later, on="_day", by="symbol", check_sortedness=False)
        .select(*KEYS, scale_seen=pl.col("scale") / pl.col("_later"))
    )
    return joined.join(seen, on=KEYS, how="left", maintain_order="left")


def _with_what_is_known(joined: pl.DataFrame) -> pl.DataFrame:
    """Joined rows whose new side takes over what stands where it has no volume or dividend itself.

    Not where its prices are on another basis: then what stands is as wrong in the volume as in them.
    """
    same_basis = (pl.col(f"close{_NEW}") - pl.col("close")).abs() <= _SAME_BASIS * pl.col("close")
    same_basis |= formerly_rounded("close")
    for name, code in (("volume", VOLUME_UNKNOWN), ("dividend", DIVIDEND_HELD)):
        if joined[f"{name}{_NEW}"].null_count():
            taken = (
                pl.col(f"{name}{_NEW}").is_null() & pl.col(name).is_not_null() & same_basis.fill_null(True)
            )
            if name == "volume":
                taken &= ~rounded_to_zero()
            joined = joined.with_columns(
                pl.when(taken).then(name).otherwise(f"{name}{_NEW}").alias(f"{name}{_NEW}"),
                removed(pl.col(f"{FLAGS}{_NEW}"), code, taken).alias(f"{FLAGS}{_NEW}"),
            )
    return joined


def new_row(joined: pl.DataFrame) -> pl.DataFrame:
    """The new rows (DAILY_SCHEMA) of joined ones."""
    return joined.select(
        *KEYS, *(pl.col(f"{name}{_NEW}").alias(name) for name in DAILY_SCHEMA if name not in KEYS)
    ).select(list(DAILY_SCHEMA))


def settle(stored: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """A cell's rows after what was decided about it, whatever has been put there meanwhile.

    Each row of `new` takes the place of the row of `old` with its key, if that very row (its moment included) still
    stands; `fresh` rows are added where nothing stands, or only an action. All DAILY_SCHEMA; the result is sorted.
    """
    columns = list(DAILY_SCHEMA)
    still = old.join(stored, on=columns, how="semi", nulls_equal=True)
    taken = new.join(still, on=KEYS, how="semi")
    kept = stored.join(taken, on=KEYS, how="anti")
    beside = fresh.join(pl.concat([kept, taken]).filter(pl.col("close").is_not_null()), on=KEYS, how="anti")
    return merge(kept, taken, beside)
