"""The listed dividends, beside the served Adj Close, the price's fall on the ex-date, and each other.

Adj Close is the source's own account of its dividends: from the session before an ex-date to the ex-date the ratio
of Adj Close to Close grows by `1 / (1 - D / C_prev)`, D and C_prev as served (Yahoo's convention; exact to 5e-7 on
genuine answers). So it confirms an amount, contradicts it, or reveals one that is not listed. Where it contradicts,
either side may be right. What is stored tells which; where the two are one amount in two units, or before and after
a split of the day, so do the price's fall and the symbol's other dividends. Else the dividend is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import prod
from statistics import median

import numpy as np
import polars as pl

from quant_assets.market.flags import SETTLED_BY_PERSON, has
from quant_assets.market.verdicts.amounts import (
    NOTHING,
    ORDINARY,
    by_the_others,
    by_the_price,
    gain_inside,
    hundredth_of,
    not_shown,
    shown,
    unlike_the_others,
)
from quant_assets.market.verdicts.answer import (
    DIVIDENDS_SCHEMA,
    FEW_SESSIONS,
    Answer,
    Explained,
    Floats,
    HeldDividend,
    Kind,
    Series,
    as_listed,
    day_array,
    events,
    no_dividends,
)

_EXACT = 2e-6
"""Share of the price up to which Adj Close and a listed amount agree: Adj Close and Close are float32 each."""
_RELATIVE = 1e-3
"""The same as a share of the amount."""
_REVEALED = 2e-5
"""Share of the price from which a step of Adj Close is a dividend that is not listed."""
_ROUNDED = 2.5e-6
"""What an implied amount may be off because Yahoo rounds low prices to six decimals, a few times over."""
_REPEATED = 0.15
"""Share up to which two amounts are the same one, the other time by another rate of exchange: 0.42 beside 0.375."""
_ALIKE = 30.0
"""Amounts that are all within such a factor of each other are in one unit."""
_MANY = 6
"""Dividends of a symbol of which each counts little in the median."""
_UNITS = {("GBP", "GBp"): 100.0, ("GBp", "GBP"): 0.01, ("ILS", "ILA"): 100.0, ("ILA", "ILS"): 0.01,
          ("ZAR", "ZAc"): 100.0, ("ZAc", "ZAR"): 0.01}  # fmt: skip
"""Per currency of the amount and of the prices the factor between them, where it is known for good."""
_HUNDREDTHS = frozenset(prices for (_, prices), factor in _UNITS.items() if factor > 1)


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
    if answer.dividends.is_empty() and not answer.unreadable and (series.adjusted == series.closes).all():
        # As most that pay none: nothing is listed, and nothing is revealed.
        return Paid(no_dividends().clone())
    return _Weighing(answer, series, doubtful, known or {}).run()


class _Weighing:
    def __init__(
        self, answer: Answer, series: Series, doubtful: Collection[date], known: Mapping[date, float]
    ) -> None:
        self._answer, self._series, self._known = answer, series, known
        self._gaps = series.gaps
        self._positions: dict[date, int | None] = {}
        self._doubtful = {at for day in doubtful if (at := self._position(day)) is not None}
        self._implied, self._slack = implied_dividends(series), _slack(series)
        self._paid = Paid(no_dividends().clone())
        self._kept: dict[date, float] = {}
        self._ordinary: dict[date, float] = {}
        self._median: float | None = None

    def run(self) -> Paid:
        listed = self._readable()
        self._find(listed)
        plain = self._look_over(listed)
        for day in sorted(listed):
            if day in plain:
                self._kept[day] = plain[day]
            else:
                self._weigh(day, listed[day])
        self._repeated()
        self._left_out(listed.keys())
        given = self._answer.dividends
        if not (self._paid.held or self._paid.explained) and len(self._kept) == len(plain) == given.height:
            self._paid.dividends = as_listed(DIVIDENDS_SCHEMA, given)
        elif self._kept:
            days = sorted(self._kept)
            self._paid.dividends = events(DIVIDENDS_SCHEMA, days, [self._kept[day] for day in days])
        return self._paid

    def _position(self, day: date) -> int | None:
        """Where the series has a day's bar."""
        if day not in self._positions:
            self._find([day])
        return self._positions[day]

    def _find(self, wanted: Collection[date]) -> None:
        """Looks up many days at once."""
        days, those = self._series.days, day_array(wanted)
        at = np.searchsorted(days, those)
        there = at < days.size
        there[there] = days[at[there]] == those[there]
        places = zip(wanted, at.tolist(), there.tolist(), strict=True)
        self._positions |= {day: place if known else None for day, place, known in places}

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
        columns = (self._answer.dividends[name].to_list() for name in ("date", "amount", "kind", "currency"))
        for day, amount, kind, currency in zip(*columns, strict=True):
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

    def _look_over(self, listed: Mapping[date, Sequence[tuple[float, str]]]) -> dict[date, float]:
        """Finds the symbol's ordinary dividends: by day those of less than a tenth of the price, of the listed ones
        those Adj Close agrees with.

        Returns:
            Those of them that nothing else can speak against, as next to all: weighed one by one (`_weigh`) they
            would be kept.
        """
        self._ordinary = {day: amount for day, amount in self._known.items() if amount > 0}
        days = [day for day in listed if self._positions[day]]
        if not days:
            return {}
        at = np.array([self._positions[day] for day in days])
        totals = [sum(amount for amount, _ in listed[day]) for day in days]
        amounts, before, implied = np.array(totals), self._series.closes[at - 1], self._implied[at]
        exact = _EXACT * before + self._slack[at]
        witnessed = np.isfinite(implied)
        if self._doubtful:
            doubtful = list(self._doubtful)
            witnessed &= ~(np.isin(at, doubtful) | np.isin(at - 1, doubtful))
        agreed = witnessed & (np.abs(amounts - implied) <= exact + _RELATIVE * np.abs(amounts))
        ordinary = (amounts > 0) & (amounts < ORDINARY * before) & (agreed | ~witnessed)
        self._ordinary |= {days[i]: totals[i] for i in np.flatnonzero(ordinary).tolist()}
        paid = self._ordinary.values()
        if not paid or max(paid) > _ALIKE * min(paid):
            return {}
        plain = agreed & (amounts > 2 * NOTHING * before) & (amounts < 0.9 * ORDINARY * before)
        return {days[i]: totals[i] for i in np.flatnonzero(plain).tolist() if len(listed[days[i]]) == 1}

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
        steps = prod(1.0 - amount / before for amount, _ in parts)
        if self._agree(total, implied, at) or self._agree(before * (1.0 - steps), implied, at):
            if self._gain_inside(day, parts, total, at):
                return
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
        fall = float(self._gaps[at])
        seen = share > ORDINARY and self._believed(at)
        if (seen or share >= 1.0) and not_shown(share, fall, self._series.usual):
            reason = f"a dividend of {total:g} on a price of {before:g} that moved by {np.expm1(fall):+.1%}"
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "the price on the ex-date")
            return
        if (
            0 < share < NOTHING
            and self._answer.currency in _HUNDREDTHS
            and not self._pays_nothing(day, total)
        ):
            reason = f"a dividend of {total:g} on a price of {before:g} looks like one in the whole unit"
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "its yield, and those of the others")
            return
        stored = self._known.get(day, 0.0)
        if hundredth_of(total, stored, before):
            reason = (
                f"a dividend of {total:g}, a hundredth of the {stored:g} that is stored and next to nothing"
            )
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "what is stored, and the yields")
            return
        usual_amount = self._usual_amount(day)
        if (
            usual_amount
            and 0 < share < ORDINARY
            and unlike_the_others(total, usual_amount, self._others(day))
            and not (total > usual_amount and self._believed(at) and shown(share, fall, self._series.usual))
        ):
            reason = f"a dividend of {total:g}, the symbol's others are around {usual_amount:g}"
            self._hold(Kind.DIVIDEND_IMPLAUSIBLE, day, total, reason, "the symbol's other dividends")
            return
        self._kept[day] = total

    def _believed(self, at: int) -> bool:
        """Whether the bars on both sides of an ex-date are believed."""
        return {at, at - 1}.isdisjoint(self._doubtful)

    def _gain_inside(self, day: date, parts: Sequence[tuple[float, str]], total: float, at: int) -> bool:
        """Whether a gain beside a dividend, both of them in Adj Close, is inside the dividend: then it is explained
        as stored, or held as the price on the ex-date says."""
        dividend = sum(amount for amount, kind in parts if kind == "dividend")
        if not 0 < dividend < total:
            return False
        stored = self._known.get(day, 0.0)
        if stored > 0 and self._agree(dividend, stored, at):
            what = f"{total:g} with the gain, {stored:g} as stored"
            self._explain(Kind.GAINS_COUNTED_TWICE, day, stored, what)
            return True
        before, fall = float(self._series.closes[at - 1]), float(self._gaps[at])
        if not gain_inside(total, dividend, before, fall, self._series.usual):
            return False
        reason = (
            f"a dividend of {dividend:g} and a gain of {total - dividend:g} on a price that moved by"
            f" {np.expm1(fall):+.1%} from {before:g}"
        )
        self._hold(Kind.GAINS_COUNTED_TWICE, day, total, reason, "the price on the ex-date")
        return True

    def _pays_nothing(self, day: date, amount: float) -> bool:
        """Whether a like dividend that is stored, or yields more, says that the symbol does pay so little."""
        if any(0.1 < stored / amount < 10 for stored in self._known.values()):
            return True
        closes = self._series.closes
        for other, paid in self._ordinary.items():
            if other != day and other not in self._known and 0.1 < paid / amount < 10:
                at = self._position(other)
                if at and paid >= NOTHING * float(closes[at - 1]):
                    return True
        return False

    def _others(self, day: date) -> list[float]:
        """The symbol's other ordinary dividends."""
        return [amount for other, amount in self._ordinary.items() if other != day]

    def _usual_amount(self, day: date) -> float | None:
        """The median of the symbol's other ordinary dividends, stored and listed, on today's share basis."""
        if len(self._ordinary) > _MANY:
            # One more or less moves it no more.
            if self._median is None:
                self._median = median(self._ordinary.values())
            return self._median
        others = self._others(day)
        return median(others) if others else None

    def _contradicted(self, day: date, total: float, implied: float, at: int) -> None:
        stored = self._known.get(day)
        adjusted = "not adjusted" if self._agree(0.0, implied, at) else f"adjusted by {max(implied, 0.0):g}"
        witnesses = f"Adj Close is {adjusted}"
        for amount in (total, implied):
            if stored is not None and stored > 0 and self._agree(amount, stored, at):
                self._explain(
                    Kind.DIVIDEND_CONTRADICTED, day, stored,
                    f"{total:g} listed, {implied:g} in Adj Close, {stored:g} as stored",
                )  # fmt: skip
                return
        if settled := self._settled(day, total, implied, at):
            amount, by = settled
            what = f"{total:g} listed, {implied:g} in Adj Close, {amount:g} by {by}"
            self._explain(Kind.DIVIDEND_CONTRADICTED, day, amount, what)
            return
        reason = f"a dividend of {total:g} is listed, and {witnesses}"
        self._hold(Kind.DIVIDEND_CONTRADICTED, day, total, reason, witnesses)

    def _settled(self, day: date, total: float, implied: float, at: int) -> tuple[float, str] | None:
        """The right one of two amounts that are the same in two units, or on two sides of a split of the day, and
        what says so; None where the price and the others leave it open, or disagree."""
        before = float(self._series.closes[at - 1])
        other = next((one for one in self._mistaken(day, total) if self._same(one, implied, at)), None)
        if other is None or self._decided(day):
            return None
        small, large = sorted((total, other))
        moved = self._gaps[at] != 0.0 or self._series.moves[at] != 0.0 or self._series.volumes[at] > 0
        price = by_the_price(large, small, before, float(self._gaps[at]), self._series.usual, bool(moved))
        others = by_the_others(large, small, before, self._others(day))
        if price is not None and others in (None, price):
            return price, "the price on the ex-date"
        return (others, "the symbol's other dividends") if price is None and others is not None else None

    def _mistaken(self, day: date, amount: float) -> list[float]:
        """What an amount may be mistaken for: itself in another unit, or on the other side of a split of the day."""
        ratios = self._answer.splits.filter(pl.col("date") == day)["ratio"].to_list()
        return [round(made, 9) for ratio in (100.0, *ratios) for made in (amount / ratio, amount * ratio)]

    def _decided(self, day: date) -> bool:
        """Whether a person has decided what is stored of a day: that stands."""
        return not self._answer.stored.filter(pl.col("date") == day, has(SETTLED_BY_PERSON)).is_empty()

    def _same(self, amount: float, implied: float, at: int) -> bool:
        """Whether Adj Close was adjusted by an amount, and not by none."""
        exact = _EXACT * float(self._series.closes[at - 1]) + float(self._slack[at])
        return self._agree(amount, implied, at) and amount > 4 * exact

    def _repeated(self) -> None:
        """Equal dividends within a few sessions: one of them is a repeat, and the list cannot tell which."""
        doubtful: dict[date, tuple[float, str]] = {}
        for (first, a), (second, b) in itertools.pairwise(sorted(self._kept.items())):
            if second - first > FEW_SESSIONS or a <= 0 or abs(a - b) > _REPEATED * max(a, b):
                continue
            reason = f"dividends of {a:g} on {first} and {b:g} on {second}"
            known = [day for day in (first, second) if (self._known.get(day) or 0.0) > 0]
            for day, amount in ((first, a), (second, b)):
                if known != [day]:
                    doubtful.setdefault(day, (amount, reason))
        for day, (amount, reason) in doubtful.items():
            self._hold(Kind.DIVIDEND_REPEATED, day, amount, reason, "no symbol pays twice in a few sessions")

    def _left_out(self, listed: Collection[date]) -> None:
        held = {one.day for one in self._paid.held}
        with np.errstate(invalid="ignore"):
            before = np.concatenate([self._series.closes[:1], self._series.closes[:-1]])
            revealed = np.flatnonzero(self._implied > _REVEALED * before + 4 * self._slack)
        told = {self._positions[day] for day in listed}
        for at in revealed.tolist():
            if at in told:
                continue
            day: date = self._series.days[at].item()
            if day in held or {at, at - 1} & self._doubtful:
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
        slack = _ROUNDED * (1.0 + series.closes / series.adjusted)
        return np.where(np.isfinite(slack), slack, 0.0)


def _other_readings(parts: Sequence[tuple[float, str]]) -> list[tuple[float, Kind, str]]:
    """The ways to read several amounts of one day, besides their sum."""
    ways: list[tuple[float, Kind, str]] = []
    dividends = [amount for amount, kind in parts if kind == "dividend"]
    gains = [amount for amount, kind in parts if kind != "dividend"]
    if dividends and gains:
        ways.append((sum(dividends), Kind.GAINS_COUNTED_TWICE, "the gain is inside the dividend"))
    # One dividend alone gives the sum again, which has been looked at.
    if len({round(amount, 6) for amount in dividends}) == 1:
        ways.append((dividends[0] + sum(gains), Kind.DIVIDEND_REPEATED, "listed twice on one day"))
    return ways
