"""The listed dividends, beside the served Adj Close, the price's fall on the ex-date, and each other.

Adj Close is the source's own account of its dividends: from the session before an ex-date to the ex-date the ratio
of Adj Close to Close grows by `1 / (1 - D / C_prev)`, D and C_prev as served (Yahoo's convention; exact to 5e-7 on
genuine answers). So it confirms an amount, contradicts it, or reveals one that is not listed. Where it contradicts,
either side may be right: where what is stored does not tell, the dividend is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import log
from statistics import median

import numpy as np
import polars as pl

from quant_assets.market.moves import looks_like_a_unit
from quant_assets.market.verdicts.answer import (
    DIVIDENDS_SCHEMA,
    FEW_SESSIONS,
    Answer,
    Explained,
    Floats,
    HeldDividend,
    Kind,
    Series,
)

_EXACT = 2e-6
"""Share of the price up to which Adj Close and a listed amount agree: Adj Close and Close are float32 each."""
_RELATIVE = 1e-3
"""The same as a share of the amount."""
_REVEALED = 2e-5
"""Share of the price from which a step of Adj Close is a dividend that is not listed."""
_ROUNDED = 2.5e-6
"""What an implied amount may be off because Yahoo rounds low prices to six decimals, a few times over."""
ORDINARY = 0.1
"""Yield from which the price has to show that the dividend was paid."""
_UNIT_NEAR = 0.4
"""Dividends grow and shrink: how near to a hundredfold one looks like another unit, as a difference of logarithms."""
_MANY = 6
"""Dividends of a symbol of which each counts little in the median."""
_UNITS = {("GBP", "GBp"): 100.0, ("GBp", "GBP"): 0.01, ("ILS", "ILA"): 100.0, ("ILA", "ILS"): 0.01,
          ("ZAR", "ZAc"): 100.0, ("ZAc", "ZAR"): 0.01}  # fmt: skip
"""Per currency of the amount and of the prices the factor between them, where it is known for good."""
_HUNDREDTHS = frozenset(prices for (_, prices), factor in _UNITS.items() if factor > 1)
_NOTHING = 2e-4
"""Yield below which the first dividend of a listing in pence is one in pounds, called pence."""


@dataclass(slots=True)
class Paid:
    """The dividends (date, amount) that hold, those that are held, and what was explained."""

    dividends: pl.DataFrame
    held: list[HeldDividend] = field(default_factory=list[HeldDividend])
    explained: list[Explained] = field(default_factory=list[Explained])


def weigh_dividends(
    answer: Answer, series: Series, doubtful: Collection[date] = (), known: Mapping[date, float] | None = None
) -> Paid:
    """Weighs every dividend of an answer.

    Args:
        doubtful: days whose bars are held: their prices witness nothing.
        known: per day the dividend that is stored, on today's share basis, where it is an ordinary one (less than a
            tenth of the close).
    """
    return _Weighing(answer, series, doubtful, known or {}).run()


class _Weighing:
    def __init__(
        self, answer: Answer, series: Series, doubtful: Collection[date], known: Mapping[date, float]
    ) -> None:
        self._answer, self._series, self._known = answer, series, known
        self._gaps = series.gaps
        self._doubtful = {at for day in doubtful if (at := self._position(day)) is not None}
        self._implied, self._slack = implied_dividends(series), _slack(series)
        self._paid = Paid(pl.DataFrame(schema=DIVIDENDS_SCHEMA))
        self._kept: dict[date, float] = {}
        self._ordinary: dict[date, float] = {}
        self._median: float | None = None

    def run(self) -> Paid:
        listed = self._readable()
        self._ordinary = self._ordinary_ones(
            {day: sum(amount for amount, _ in parts) for day, parts in listed.items()}
        )
        for day in sorted(listed):
            self._weigh(day, listed[day])
        self._repeated()
        self._left_out(listed.keys())
        self._paid.dividends = pl.DataFrame(sorted(self._kept.items()), schema=DIVIDENDS_SCHEMA, orient="row")
        return self._paid

    def _position(self, day: date) -> int | None:
        """Where the series has a day's bar."""
        days = self._series.days
        at = int(np.searchsorted(days, np.datetime64(day, "D")))
        return at if at < days.size and days[at] == np.datetime64(day, "D") else None

    def _hold(self, kind: Kind, day: date, amount: float | None, reason: str, witnesses: str = "") -> None:
        self._kept.pop(day, None)
        self._paid.held.append(HeldDividend(kind, day, amount, reason, witnesses))

    def _explain(self, kind: Kind, day: date, amount: float, what: str) -> None:
        self._kept[day] = amount
        self._paid.explained.append(Explained(kind, frozenset({day}), what))

    def _readable(self) -> dict[date, list[tuple[float, str]]]:
        """Per day the listed amounts in the currency of the prices, each with its kind."""
        for event in self._answer.unreadable:
            if event.what != "split" and event.day is not None:
                self._hold(
                    Kind.UNREADABLE_DIVIDEND, event.day, None, f"a dividend that cannot be read: {event.text}"
                )
        unreadable = {one.day for one in self._paid.held}
        listed: dict[date, list[tuple[float, str]]] = {}
        columns = self._answer.dividends.select("date", "amount", "kind", "currency")
        for day, amount, kind, currency in columns.iter_rows():
            if day in unreadable:
                continue
            if currency not in (None, "", self._answer.currency):
                factor = _UNITS.get((currency, self._answer.currency or ""))
                if factor is None:
                    self._hold(
                        Kind.DIVIDEND_IN_ANOTHER_CURRENCY, day, amount,
                        f"a dividend in {currency}, prices in {self._answer.currency}",
                    )  # fmt: skip
                    unreadable.add(day)
                    listed.pop(day, None)
                    continue
                what = f"{amount:g} {currency} as {amount * factor:g} {self._answer.currency}"
                self._paid.explained.append(
                    Explained(Kind.DIVIDEND_IN_ANOTHER_CURRENCY, frozenset({day}), what)
                )
                amount *= factor
            listed.setdefault(day, []).append((amount, kind))
        return listed

    def _weigh(self, day: date, parts: Sequence[tuple[float, str]]) -> None:
        total = sum(amount for amount, _ in parts)
        at = self._position(day)
        if at is None or at == 0:
            self._unwitnessed(day, parts, total)
            return
        before = float(self._series.closes[at - 1])
        implied = self._implied_at(at)
        if implied is None:
            self._plausible(day, total, at, before)
            return
        if self._twice(parts):
            # Equal amounts of one day are one, until shown otherwise: Adj Close may follow the error.
            single = parts[0][0]
            if self._agree(single, implied, at):
                self._explain(Kind.DIVIDEND_REPEATED, day, single, f"{single:g} is listed twice on {day}")
            else:
                self._hold(Kind.DIVIDEND_REPEATED, day, total, f"the dividend of {single:g} twice on {day}")
            return
        # Several of one day are adjusted for one after the other, each by the same price before.
        steps = float(np.prod([1.0 - amount / before for amount, _ in parts]))
        if self._agree(total, implied, at) or self._agree(before * (1.0 - steps), implied, at):
            self._plausible(day, total, at, before)
            return
        for amount, kind, what in _other_readings(parts):
            if self._agree(amount, implied, at):
                self._explain(kind, day, amount, f"{what}: Adj Close is adjusted by {amount:g}")
                return
        self._contradicted(day, total, implied, at)

    def _implied_at(self, at: int) -> float | None:
        """What Adj Close was adjusted by, where the bars on both sides can be believed."""
        if {at, at - 1} & self._doubtful or not np.isfinite(self._implied[at]):
            return None
        return float(self._implied[at])

    def _agree(self, amount: float, implied: float, at: int) -> bool:
        exact = _EXACT * float(self._series.closes[at - 1]) + float(self._slack[at])
        return abs(amount - implied) <= exact + _RELATIVE * abs(amount)

    def _unwitnessed(self, day: date, parts: Sequence[tuple[float, str]], total: float) -> None:
        if self._twice(parts):
            self._hold(Kind.DIVIDEND_REPEATED, day, total, f"the dividend of {parts[0][0]:g} twice on {day}")
        else:
            self._kept[day] = total

    @staticmethod
    def _twice(parts: Sequence[tuple[float, str]]) -> bool:
        """Whether a day's amounts are all equal, and of one kind."""
        return len(parts) > 1 and len({(round(amount, 6), kind) for amount, kind in parts}) == 1

    def _plausible(self, day: date, total: float, at: int, before: float) -> None:
        """Takes a dividend that Adj Close does not contradict, unless the price or the others do."""
        share = total / before
        fall, usual = float(self._gaps[at]), self._series.usual
        if share >= 1.0 or (share > ORDINARY and {at, at - 1}.isdisjoint(self._doubtful)):
            expected = log(1.0 - share) if share < 1.0 else None
            if expected is None or abs(fall - expected) > max(5 * usual, 0.5 * abs(expected)):
                reason = (
                    f"a dividend of {total:g} on a price of {before:g} that moved by {np.expm1(fall):+.1%}"
                )
                self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "the price on the ex-date")
                return
        usual_amount = self._usual_amount(day)
        if usual_amount and 0 < share < ORDINARY and looks_like_a_unit(total / usual_amount, _UNIT_NEAR):
            reason = f"a dividend of {total:g}, the symbol's others are around {usual_amount:g}"
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "the symbol's other dividends")
            return
        if usual_amount is None and 0 < share < _NOTHING and self._answer.currency in _HUNDREDTHS:
            reason = f"a dividend of {total:g} on a price of {before:g} looks like one in the whole unit"
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "its yield; no other dividend is known")
            return
        self._kept[day] = total

    def _usual_amount(self, day: date) -> float | None:
        """The median of the symbol's other ordinary dividends, stored and listed, on today's share basis."""
        if len(self._ordinary) > _MANY:
            # One more or less moves it no more.
            if self._median is None:
                self._median = median(self._ordinary.values())
            return self._median
        others = [amount for other, amount in self._ordinary.items() if other != day]
        return median(others) if others else None

    def _ordinary_ones(self, listed: Mapping[date, float]) -> dict[date, float]:
        """By day the dividends of less than a tenth of the price."""
        found = {day: amount for day, amount in self._known.items() if amount > 0}
        for day, amount in listed.items():
            at = self._position(day)
            if at and 0 < amount < ORDINARY * float(self._series.closes[at - 1]):
                found[day] = amount
        return found

    def _contradicted(self, day: date, total: float, implied: float, at: int) -> None:
        stored = self._known.get(day)
        witnesses = f"Adj Close is adjusted by {implied:g}"
        for amount in (total, implied):
            if stored is not None and stored > 0 and self._agree(amount, stored, at):
                self._explain(
                    Kind.DIVIDEND_CONTRADICTED, day, stored,
                    f"{total:g} listed, {implied:g} in Adj Close, {stored:g} as stored",
                )  # fmt: skip
                return
        reason = f"a dividend of {total:g} is listed, and Adj Close is adjusted by {max(implied, 0.0):g}"
        self._hold(Kind.DIVIDEND_CONTRADICTED, day, total, reason, witnesses)

    def _repeated(self) -> None:
        """Equal dividends within a few sessions: one of them is a repeat, and the list cannot tell which."""
        days = sorted(self._kept)
        for first, second in itertools.pairwise(days):
            if second - first > FEW_SESSIONS or first not in self._kept or second not in self._kept:
                continue
            a, b = self._kept[first], self._kept[second]
            if a <= 0 or abs(a - b) > 0.2 * max(a, b):
                continue
            reason = f"dividends of {a:g} on {first} and {b:g} on {second}"
            known = [day for day in (first, second) if (self._known.get(day) or 0.0) > 0]
            for day, amount in ((first, a), (second, b)):
                if known == [day]:
                    continue
                self._hold(
                    Kind.DIVIDEND_REPEATED, day, amount, reason, "no symbol pays twice in a few sessions"
                )

    def _left_out(self, listed: Collection[date]) -> None:
        held = {one.day for one in self._paid.held}
        with np.errstate(invalid="ignore"):
            before = np.concatenate([self._series.closes[:1], self._series.closes[:-1]])
            revealed = np.flatnonzero(self._implied > _REVEALED * before + 4 * self._slack)
        for at in revealed.tolist():
            day: date = self._series.days[at].item()
            if day in listed or day in held or {at, at - 1} & self._doubtful:
                continue
            implied = float(self._implied[at])
            stored = self._known.get(day)
            if stored is not None and self._agree(stored, implied, at):
                self._explain(
                    Kind.DIVIDEND_LEFT_OUT, day, stored,
                    f"not listed; Adj Close is adjusted by the {stored:g} that are stored",
                )  # fmt: skip
            else:
                reason = f"no dividend is listed, and Adj Close is adjusted by {implied:g}"
                self._hold(Kind.DIVIDEND_LEFT_OUT, day, implied, reason, "Adj Close")


def implied_dividends(series: Series) -> Floats:
    """Per bar the dividend that Adj Close was adjusted by since the bar before it; nan where it cannot be seen."""
    factor = series.adjusted / series.closes
    implied = np.full(series.closes.size, np.nan)
    if series.closes.size > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            implied[1:] = series.closes[:-1] * (1.0 - factor[:-1] / factor[1:])
    return implied


def _slack(series: Series) -> Floats:
    """How far the implied amounts may be off because the source has rounded the prices they come from."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(_ROUNDED * (1.0 + series.closes / series.adjusted), nan=0.0, posinf=0.0)


def _other_readings(parts: Sequence[tuple[float, str]]) -> list[tuple[float, Kind, str]]:
    """The ways to read several amounts of one day, besides their sum."""
    ways: list[tuple[float, Kind, str]] = []
    dividends = [amount for amount, kind in parts if kind == "dividend"]
    gains = [amount for amount, kind in parts if kind != "dividend"]
    if dividends and gains:
        ways.append((sum(dividends), Kind.GAINS_COUNTED_TWICE, "the gain is inside the dividend"))
    if gains and len(dividends) > 1 and len({round(amount, 6) for amount in dividends}) == 1:
        ways.append((dividends[0] + sum(gains), Kind.DIVIDEND_REPEATED, "listed twice on one day"))
    return ways
