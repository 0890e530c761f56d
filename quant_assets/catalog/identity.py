"""Whether two symbols are one company, and whether one symbol has become another company: decided from evidence.

Pure. Nothing is guessed: a verdict other than OPEN and NOTHING rests on strong evidence with nothing against it.

- *Renamed*: the old symbol has ended. Strong are the same ISIN, and the same history (closes as traded equal in at
  least 20 sessions, in 10 of which they moved) with the same first trade date. Against it are other prices, another
  ISIN, another currency without the same ISIN, another kind of instrument, and a second candidate.
- *Reused*: the source states another first trade date than before, months after the last bar stored, and another
  name, ISIN, currency or kind; against it the same ISIN or the same name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.market.bars import day_numbers
from quant_assets.tables.symbol_facts import SymbolFacts, name_words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FEWEST_SESSIONS = 20
"""Sessions in which two histories are the same before they are one."""
_FEWEST_MOVES = 10
"""Of these, sessions in which the close moved: two thin stocks stay at one price for weeks."""
_SAME, _OTHER = 0.99, 0.5
"""Share of sessions with equal closes from which histories are the same, and up to which they are others'."""
_SOON = 10
"""Days after an old symbol's last bar in which the first one of the new is to come, if it goes on."""
_GAP = 30
"""Days without a bar before a new first trade date, which a company that goes on trading does not have."""
_CONTINUES = math.log(1.5)
"""The logarithm of a step between two closes up to which prices go on."""
_STEP, _GRID = 2.0**-22, 1e-6
"""Up to which two closes are one price: two steps of a float32, and the six decimals of rescaled prices."""


class Finding(StrEnum):
    """What a pair, or a symbol, has been found to be."""

    NOTHING = "nothing"
    RENAMED = "renamed"
    REUSED = "reused"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has been found, and what shows it, in words."""

    finding: Finding
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """The stored rows of an old symbol beside those of a new one."""

    sessions: int = 0
    """How many both have a close of."""
    equal: int = 0
    moved: int = 0
    """In how many of the equal ones the close was not that of the session before."""
    old_last: date | None = None
    """The last bar under the old symbol."""
    new_first: date | None = None
    """The first one under the new."""
    new_after: date | None = None
    """The first one under the new after the last one under the old."""
    step: float | None = None
    """The close of that one by the last close under the old symbol, on one share basis."""

    @property
    def same_history(self) -> bool:
        """Whether both have the history of one security."""
        enough = self.sessions >= _FEWEST_SESSIONS and self.moved >= _FEWEST_MOVES
        return enough and self.equal >= _SAME * self.sessions

    @property
    def other_history(self) -> bool:
        """Whether they have those of two."""
        return self.sessions >= _FEWEST_SESSIONS and self.equal <= _OTHER * self.sessions

    @property
    def goes_on(self) -> bool:
        """Whether the new symbol's bars begin where those of the old one end, at about its price."""
        if self.old_last is None or self.new_after is None or self.step is None:
            return False
        soon = (self.new_after - self.old_last).days <= _SOON
        return soon and self.step > 0 and abs(math.log(self.step)) <= _CONTINUES


@dataclass(frozen=True, slots=True)
class Closes:
    """One symbol's closes as traded, ready to be compared with those of many."""

    days: npt.NDArray[np.int32]
    """Days since 1970, in order."""
    closes: npt.NDArray[np.float64]
    ex_days: npt.NDArray[np.int32]
    splits_from: npt.NDArray[np.float64]
    """The product of the splits from each of the ex-dates on, and 1 at the end."""

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Closes:
        """Those of rows (date, close, split_ratio), any order, through now."""
        import numpy as np  # numpy is slow to import, and loading the definitions must not pay for it

        rows = rows.sort("date")
        bars = rows.filter(pl.col("close").is_not_null())
        splits = rows.filter(pl.col("split_ratio") != 1.0)
        after = np.append(np.cumprod(splits["split_ratio"].to_numpy()[::-1])[::-1], 1.0)
        return cls(day_numbers(bars["date"]), bars["close"].to_numpy(), day_numbers(splits["date"]), after)

    def splits_after(self, days: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """By how much the splits after some days divide their prices."""
        import numpy as np

        return self.splits_from[np.searchsorted(self.ex_days, days, side="right")]


def beside(old: Closes, new: Closes) -> Beside:
    """The closes of two symbols, compared."""
    import numpy as np

    if not old.days.size or not new.days.size:
        return Beside(
            old_last=_day(old.days[-1]) if old.days.size else None,
            new_first=_day(new.days[0]) if new.days.size else None,
        )
    at = np.flatnonzero(np.isin(old.days, new.days, assume_unique=True))
    at_new = np.searchsorted(new.days, old.days[at])
    was, is_now = old.closes[at], new.closes[at_new]
    near = _STEP * was + _GRID * np.maximum(new.splits_after(new.days[at_new]), 1.0)
    same = np.abs(was - is_now) <= near
    moved = np.append(False, was[1:] != was[:-1]) if was.size else same
    after = int(np.count_nonzero(new.days <= old.days[-1]))
    goes_on = after < new.days.size
    step = None
    if goes_on:
        # On the share basis of the old symbol's last session.
        before, since = new.splits_after(np.array([old.days[-1], new.days[after]]))
        step = float(new.closes[after] * (before / since) / old.closes[-1])
    return Beside(
        sessions=int(at.size),
        equal=int(np.count_nonzero(same)),
        moved=int(np.count_nonzero(same & moved)),
        old_last=_day(old.days[-1]),
        new_first=_day(new.days[0]),
        new_after=_day(new.days[after]) if goes_on else None,
        step=step,
    )


def _day(number: np.int32) -> date:
    return date(1970, 1, 1) + timedelta(days=int(number))


def judge_renamed(old: SymbolFacts, new: SymbolFacts, prices: Beside, *, mixed: bool = False) -> Verdict:
    """Whether a symbol is what an old one, which has ended, is called now.

    `mixed`: whether the rows of the new symbol may be those of two companies.
    """
    strong, weak, against = list[str](), list[str](), list[str]()
    same_isin = old.isin is not None and old.isin == new.isin
    if same_isin:
        strong.append(f"the same ISIN {old.isin}")
    elif old.isin and new.isin:
        against.append(f"another ISIN ({old.isin}, {new.isin})")
    same_first = old.first_trade is not None and old.first_trade == new.first_trade
    compared = f"{prices.equal} of {prices.sessions} common sessions with equal closes"
    if mixed:
        against.append("the rows under the new symbol may be of two companies")
    elif prices.same_history and same_first:
        strong.append(f"{compared} and the same first trade date {old.first_trade}")
    elif prices.same_history:
        weak.append(compared)
    elif prices.other_history and not same_isin:
        return Verdict(Finding.NOTHING)
    elif prices.sessions >= _FEWEST_SESSIONS and prices.equal < _SAME * prices.sessions:
        against.append(compared)
    if not same_isin and old.currency and new.currency and old.currency != new.currency:
        against.append(f"another currency ({old.currency}, {new.currency})")
    if old.instrument and new.instrument and old.instrument != new.instrument:
        against.append(f"another kind of instrument ({old.instrument}, {new.instrument})")
    same_name = prices.goes_on and same_names(old.name, new.name) is True
    if prices.goes_on and (same_first or same_name):
        what = [f"the same first trade date {old.first_trade}"] * (same_first and not strong)
        named = [f"the same name {new.name!r}"] * same_name
        bars = f"bars that go on at about the same price ({prices.old_last}, {prices.new_after})"
        weak += [*what, *named, bars]
    elif mixed and same_first:
        weak.append(f"the same first trade date {old.first_trade}")
    if not strong and not weak:
        return Verdict(Finding.NOTHING)
    finding = Finding.RENAMED if strong and not against else Finding.OPEN
    return Verdict(finding, _told([*strong, *weak], against))


def without_rivals(verdicts: Mapping[tuple[str, str], Verdict]) -> dict[tuple[str, str], Verdict]:
    """The verdicts by old and new that say something; of several about one old or one new none is believed."""
    found = {pair: verdict for pair, verdict in verdicts.items() if verdict.finding is not Finding.NOTHING}
    olds, news = Counter(old for old, _ in found), Counter(new for _, new in found)
    judged: dict[tuple[str, str], Verdict] = {}
    for (old, new), verdict in found.items():
        rivals = sorted(
            {n for o, n in found if o == old and n != new} | {o for o, n in found if n == new and o != old}
        )
        if olds[old] > 1 or news[new] > 1:
            evidence = f"{verdict.evidence}; another candidate: {', '.join(rivals)}"
            verdict = replace(verdict, finding=Finding.OPEN, evidence=evidence)
        judged[old, new] = verdict
    return judged


def judge_reused(
    before: SymbolFacts, now: SymbolFacts, last_before: date | None, *, left: bool = False
) -> Verdict:
    """Whether a symbol stands for another company than before, from its new first trade date on.

    Args:
        last_before: the last stored bar before that date; None where there is none.
        left: whether the company that had the symbol has another one since.
    """
    if before.first_trade is None or now.first_trade is None or before.first_trade == now.first_trade:
        return Verdict(Finding.NOTHING)
    other, same = list[str](), list[str]()
    for fact in ("isin", "currency", "instrument"):
        was, is_now = getattr(before, fact), getattr(now, fact)
        if was and is_now and was != is_now:
            other.append(f"another {_WORDS[fact]} ({was}, {is_now})")
        elif fact == "isin" and was and was == is_now:
            same.append(f"the same ISIN {was}")
    named = same_names(before.name, now.name)
    if named is False:
        other.append(f"another name ({before.name!r}, {now.name!r})")
    elif named is True:
        same.append(f"the same name {now.name!r}")
    later = now.first_trade > before.first_trade
    gap = None if last_before is None else (now.first_trade - last_before).days
    moved = f"first trade date {now.first_trade} instead of {before.first_trade}"
    if gap is not None:
        moved += f", {gap} days after the last bar"
    told = _told([moved, *other], same)
    if later and (left or (gap is not None and gap >= _GAP)):
        return Verdict(Finding.REUSED if other and not same else Finding.OPEN, told)
    # The source has lost part of a history, or found more of it, unless it is another's.
    return Verdict(Finding.OPEN, told) if other else Verdict(Finding.NOTHING)


_WORDS = {"isin": "ISIN", "currency": "currency", "instrument": "kind of instrument"}


def same_names(one: str | None, other: str | None) -> bool | None:
    """Whether two names are those of one company: True when they have the same words, False when they have none in
    common, not even shortened; None when nobody can tell."""
    words, others = name_words(one), name_words(other)
    if not words or not others:
        return None
    if words == others:
        return True
    if _initials(words, others) or _initials(others, words):
        return None
    words, others = words - _COMMON or words, others - _COMMON or others
    return None if _alike(words, others) or _alike(others, words) else False


def _initials(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether a word stands for the initials of another name."""
    initials = sorted(word[0] for word in others)
    return len(initials) > 1 and any(sorted(word) == initials for word in words)


def _alike(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether a word stands in another name, in full or shortened."""
    return any(
        other == word or (len(word) > 2 and other.startswith(word)) for word in words for other in others
    )


_COMMON_WORDS = """
american bank biotech capital energy financial first gas global gold industries international metals mines mining
minerals national new oil pharma pharmaceuticals properties resources services solutions systems technologies
technology therapeutics united
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that many a name has beside those that tell it from others."""


def _told(evidence: Sequence[str], against: Sequence[str]) -> str:
    return ", ".join(evidence) + (f"; but {', '.join(against)}" if against else "")
