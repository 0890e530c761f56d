"""Which of the listed splits the served numbers rest on.

As-traded prices are the served ones times S(t), the product of the ratios of the splits after t. A split that the
source lists and has not applied yet, or lists twice, makes every price before it wrong by its ratio. The ways to read
the list are few; each is laid beside what is stored, and where nothing stored can tell them apart, what they differ
in is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from math import isclose

import numpy as np
import polars as pl

from quant_assets.market.corporate_actions import split_factor_after
from quant_assets.market.verdicts.answer import (
    FEW_SESSIONS,
    SPLITS_SCHEMA,
    Answer,
    Explained,
    Floats,
    Held,
    Kind,
    Series,
    as_listed,
    events,
    no_splits,
)

_Split = tuple[date, float]

_SAME = 1e-3
"""Relative difference up to which a price counted back is the one that is stored."""
_MOST = 0.8
"""Share of the stored rows that a reading of the list must give back."""


@dataclass(slots=True)
class Basis:
    """The splits (date, ratio) to count back by, with what is in doubt because of others."""

    splits: pl.DataFrame
    held: list[Held] = field(default_factory=list[Held])
    explained: list[Explained] = field(default_factory=list[Explained])


def share_basis(answer: Answer, series: Series) -> Basis:
    """Finds the one reading of the listed splits that the witnesses carry."""
    if answer.splits.is_empty():
        return Basis(no_splits().clone(), _unreadable(answer, series))
    listed, repeated_on = _once_a_day(answer.splits)
    explained = [
        Explained(Kind.REPEATED_SPLIT, frozenset({day}), f"the split of {day} is listed twice on that day")
        for day in repeated_on
    ]
    last_bar = series.days[-1].item() if series.days.size else date.min
    groups = _groups(listed)
    options = [_options(group, last_bar) for group in groups]
    readings = [tuple(sorted(split for part in parts for split in part)) for parts in product(*options)]
    held = _unreadable(answer, series)
    if len(readings) == 1 and len(readings[0]) == answer.splits.height:
        return Basis(as_listed(SPLITS_SCHEMA, answer.splits), held, explained)
    if len(readings) == 1 or not series.days.size:
        return Basis(_frame(readings[0]), held, explained)
    fits = [_fit(reading, answer, series) for reading in readings]
    most = max((fit for fit in fits if fit is not None), default=0.0)
    best = [reading for reading, fit in zip(readings, fits, strict=True) if fit == most >= _MOST]
    told_apart = bool(best)
    possible = best or _without_repeats(readings, groups)
    disputed = [group for group, ways in zip(groups, options, strict=True) if len(ways) > 1]
    kind = Kind.REPEATED_SPLIT if any(len(group) > 1 for group in disputed) else Kind.UNSETTLED_SPLIT
    which = ", ".join(f"{ratio:g} on {day}" for group in disputed for day, ratio in group)
    chosen = possible[0]
    doubtful = _differ(possible, series, told_apart)
    if doubtful:
        held.append(
            Held(
                kind,
                series.dates(doubtful),
                f"split {which}: {_WORDS[kind]}",
                "stored rows fit several readings" if told_apart else "no stored row to tell by",
            )
        )
    else:
        days = frozenset(day for group in disputed for day, _ in group)
        explained.append(Explained(kind, days, f"split {which}: read as stored rows show"))
    return Basis(_frame(chosen), held, explained)


_WORDS = {
    Kind.UNSETTLED_SPLIT: "the ex-date is after the last bar, and prices may have been rescaled or not",
    Kind.REPEATED_SPLIT: "the same ratio twice within a few sessions is one split until shown otherwise",
}


def _once_a_day(splits: pl.DataFrame) -> tuple[list[_Split], list[date]]:
    """The listed splits in order, equal ones of one day once; and the days that had equal ones."""
    seen: list[_Split] = []
    twice: list[date] = []
    ordered = splits if splits["date"].is_sorted() else splits.sort("date")
    for day, ratio in zip(ordered["date"].to_list(), ordered["ratio"].to_list(), strict=True):
        if any(day == other and isclose(ratio, known, rel_tol=1e-6) for other, known in seen):
            twice.append(day)
        else:
            seen.append((day, ratio))
    return seen, twice


def _groups(listed: Sequence[_Split]) -> list[list[_Split]]:
    """Splits of equal ratio within a few sessions of each other, together; every other by itself."""
    groups: list[list[_Split]] = []
    for day, ratio in listed:
        group = next(
            (
                g
                for g in groups
                if isclose(g[-1][1], ratio, rel_tol=1e-6) and g[-1][0] < day <= g[-1][0] + FEW_SESSIONS
            ),
            None,
        )
        if group is None:
            groups.append([(day, ratio)])
        else:
            group.append((day, ratio))
    return groups


def _options(group: list[_Split], last_bar: date) -> list[list[_Split]]:
    """The ways to read a group, the likeliest first."""
    settled = [split for split in group if split[0] <= last_bar]
    ways = [[split] for split in group]
    if len(settled) < len(group):
        ways.append([])
    if len(group) > 1:
        ways.append(group)
    return ways


def _without_repeats(
    readings: Sequence[tuple[_Split, ...]], groups: list[list[_Split]]
) -> list[tuple[_Split, ...]]:
    """The readings that count no group twice."""
    return [reading for reading in readings if all(len(set(group) & set(reading)) < 2 for group in groups)]


def _factors(reading: Sequence[_Split], series: Series) -> Floats:
    return split_factor_after(pl.Series("date", series.days), _frame(reading)).to_numpy()


def _fit(reading: Sequence[_Split], answer: Answer, series: Series) -> float | None:
    """The share of stored closes that a reading gives back; None where none is stored of these days."""
    stored = answer.stored.filter(pl.col("close").is_not_null()).select("date", "close")
    if stored.is_empty():
        return None
    counted = pl.DataFrame({"date": series.days, "counted": series.closes * _factors(reading, series)})
    both = stored.join(counted.with_columns(pl.col("date").cast(pl.Date)), on="date")
    if both.is_empty():
        return None
    # A price of few decimals may be off by half of its last one.
    near = (both["counted"] - both["close"]).abs() <= _SAME * both["close"] + 5e-5
    return int(near.sum()) / near.len()


def _differ(readings: Sequence[tuple[_Split, ...]], series: Series, told_apart: bool) -> list[int]:
    """The positions at which the readings give different rows."""
    if len(readings) < 2:
        return []
    factors = np.array([_factors(reading, series) for reading in readings])
    apart = (np.abs(factors / factors[0] - 1.0) > 1e-9).any(axis=0)
    all_days = {day for reading in readings for day, _ in reading}
    disputed = {day for day in all_days if any(day not in dict(reading) for reading in readings)}
    on_the_day = np.isin(series.days, np.array(sorted(disputed), dtype="datetime64[D]"))
    wrong = apart | on_the_day
    if not told_apart and wrong.any():
        # Without a stored row, what comes before a split that is in doubt has no basis either.
        wrong[: int(np.flatnonzero(wrong)[-1]) + 1] = True
    return np.flatnonzero(wrong).tolist()


def _unreadable(answer: Answer, series: Series) -> list[Held]:
    held: list[Held] = []
    for event in answer.unreadable:
        if event.what != "split":
            continue
        days = frozenset(day for day in series.days.tolist() if event.day is None or day <= event.day)
        when = f" of {event.day}" if event.day else ""
        held.append(Held(Kind.UNREADABLE_SPLIT, days, f"a split{when} that cannot be read: {event.text}"))
    return held


def _frame(splits: Sequence[_Split]) -> pl.DataFrame:
    return events(SPLITS_SCHEMA, [day for day, _ in splits], [ratio for _, ratio in splits])
