"""Symbols over time: which listing of a history a symbol stands for, from one day to another.

Without any, each listing is served under its own symbol for ever. A delisted symbol is forgotten some days after its
last session, a renamed one is served under the new symbol with its whole history, and a symbol that is free again may
stand for another company later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import pairwise
from typing import Any

from quant_assets.replay.errors import ReplayError
from quant_assets.replay.history import History
from quant_assets.replay.venues import venue_of_symbol


@dataclass(frozen=True)
class Spell:
    """`symbol` stands for the listing `of` from `since` to the day before `until`; None: no bound.

    name: what the company is called then; None: as its listing says.
    """

    symbol: str
    of: str
    since: date | None = None
    until: date | None = None
    name: str | None = None

    @classmethod
    def from_dict(cls, raw: Any) -> Spell:
        """From its JSON form (dates as YYYY-MM-DD; no `of` means the symbol itself). Raises ReplayError."""
        known = {one.name for one in fields(cls)}
        if not isinstance(raw, dict):
            raise ReplayError("spells are a list of objects")
        strange = set(raw) - known
        if "symbol" not in raw or strange:
            wrong = f"unknown {', '.join(sorted(strange))}" if "symbol" in raw else "no symbol"
            raise ReplayError(f"spell {raw!r}: {wrong}: a spell has {', '.join(sorted(known))}")
        days: dict[str, date | None] = {}
        for name in ("since", "until"):
            value = raw.get(name)
            try:
                days[name] = None if value is None else date.fromisoformat(str(value))
            except ValueError:
                raise ReplayError(
                    f"spell of {raw['symbol']}: {name} {value!r} is no date: write YYYY-MM-DD"
                ) from None
        symbol = str(raw["symbol"]).upper()
        name = raw.get("name")
        return cls(symbol, str(raw.get("of") or symbol), name=None if name is None else str(name), **days)

    def holds(self, day: date) -> bool:
        """Whether it is in force on a day."""
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)


class Spells:
    """What each symbol of a history stands for, by day. Raises ReplayError for spells that cannot all be."""

    def __init__(self, history: History, spells: Iterable[Spell] = ()) -> None:
        self._by_symbol: dict[str, list[Spell]] = {}
        moved: set[str] = set()
        for spell in spells:
            if spell.of not in history.infos:
                raise ReplayError(f"spell of {spell.symbol}: no history holds {spell.of}")
            if venue_of_symbol(spell.symbol).suffix != history.infos[spell.of].venue.suffix:
                raise ReplayError(f"spell of {spell.symbol}: {spell.of} is of another exchange")
            self._by_symbol.setdefault(spell.symbol, []).append(spell)
            moved.add(spell.of)
        for symbol, some in self._by_symbol.items():
            some.sort(key=lambda one: one.since or date.min)
            for one, after in pairwise(some):
                if one.until is None or (after.since or date.min) < one.until:
                    raise ReplayError(f"two spells of {symbol} overlap: let one end before the other begins")
        # A listing with spells is served under no other symbol.
        for symbol in history.symbols:
            if symbol not in moved and symbol not in self._by_symbol:
                self._by_symbol[symbol] = [Spell(symbol, symbol)]
        self.symbols: Sequence[str] = sorted(self._by_symbol)
        """Every symbol that stands for something at some time."""

    def of(self, symbol: str) -> Sequence[Spell]:
        """The spells of a symbol, in order of time."""
        return self._by_symbol.get(symbol, ())
