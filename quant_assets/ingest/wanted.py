"""Which symbols are wanted in which sessions, a bit each, and the order in which to ask for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cmp_to_key, reduce
from operator import and_

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.market.bars import KEYS, day_numbers

_MANY_SETS = 500


class Symbols:
    """Symbols numbered in order, so that a set of them is an integer: bit n stands for symbol n.

    A set of thousands takes a few hundred bytes, and sets are joined and compared in a step.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))
        self._number = {name: number for number, name in enumerate(self.names)}
        self._bytes = (len(self.names) + 7) // 8

    def __contains__(self, name: str) -> bool:
        return name in self._number

    def number(self, name: str) -> int | None:
        """The number of a symbol; None where it is not one of these."""
        return self._number.get(name)

    def bits(self, names: Iterable[str]) -> int:
        """The set of some of these symbols. Raises KeyError for another one."""
        chosen = np.zeros(len(self.names), dtype=bool)
        chosen[[self._number[name] for name in names]] = True
        return self.packed(chosen)

    @staticmethod
    def packed(chosen: npt.NDArray[np.bool_]) -> int:
        """The set of the symbols whose number is chosen."""
        return int.from_bytes(np.packbits(chosen, bitorder="little").tobytes(), "little")

    def row(self, bits: int) -> npt.NDArray[np.uint8]:
        """A set as bytes, eight symbols each, the first in the lowest bit."""
        return np.frombuffer(bits.to_bytes(self._bytes, "little"), dtype=np.uint8)

    def numbers(self, bits: int) -> npt.NDArray[np.intp]:
        """The numbers of a set's symbols, in order."""
        return np.flatnonzero(np.unpackbits(self.row(bits), bitorder="little"))

    def of(self, bits: int) -> list[str]:
        """A set's symbols, in order."""
        return [self.names[number] for number in self.numbers(bits).tolist()]


class Wanted(Mapping[date, set[str]]):
    """By session the symbols to ask for, in order of time. A session may be there and want none.

    Looked up by session it makes a set anew each time: `asks`, `sessions_of` and `among` do not.
    """

    def __init__(self, symbols: Symbols, cells: Mapping[date, int]) -> None:
        self._symbols = symbols
        self._cells = {session: cells[session] for session in sorted(cells)}
        self._sessions = list(self._cells)
        self._days = day_numbers(pl.Series(self._sessions, dtype=pl.Date))
        self._table: npt.NDArray[np.uint8] | None = None
        self._everywhere = reduce(and_, self._cells.values()) if self._cells else 0
        """The symbols that are wanted in all sessions, as most are of a first backfill."""

    @classmethod
    def of(cls, cells: Mapping[date, Iterable[str]]) -> Wanted:
        """From the symbols wanted in each session."""
        sets = {session: set(names) for session, names in cells.items()}
        symbols = Symbols(name for names in sets.values() for name in names)
        return cls(symbols, {session: symbols.bits(names) for session, names in sets.items()})

    def __getitem__(self, session: date) -> set[str]:
        return set(self._symbols.of(self._cells[session]))

    def __iter__(self) -> Iterator[date]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: object) -> bool:
        return session in self._cells

    def asks(self, symbol: str, session: date) -> bool:
        """Whether a symbol is wanted in a session."""
        number = self._symbols.number(symbol)
        return number is not None and bool(self._cells.get(session, 0) >> number & 1)

    def counts(self) -> dict[date, int]:
        """By session the number of symbols wanted."""
        return {session: bits.bit_count() for session, bits in self._cells.items()}

    def symbols(self) -> set[str]:
        """Everybody who is wanted in some session."""
        anywhere = 0
        for bits in self._cells.values():
            anywhere |= bits
        return set(self._symbols.of(anywhere))

    def table(self) -> tuple[list[str], npt.NDArray[np.bool_]]:
        """The symbols in order, and for each session (a row, in order) which of them (a column) are wanted."""
        names = self._symbols.names
        if not self._sessions:
            return names, np.zeros((0, len(names)), dtype=bool)
        bits = np.unpackbits(self._by_session(), axis=1, count=len(names), bitorder="little")
        return names, bits.astype(bool)

    def sessions_of(self, symbol: str) -> list[date]:
        """The sessions in which a symbol is wanted, in order."""
        if self._is_everywhere(symbol):
            return list(self._sessions)
        return [self._sessions[at] for at in np.flatnonzero(self._where(symbol)).tolist()]

    def days_of(self, symbol: str) -> npt.NDArray[np.int32]:
        """The same as days since 1970; one and the same array for all symbols that are wanted in all sessions."""
        return self._days if self._is_everywhere(symbol) else self._days[self._where(symbol)]

    def _is_everywhere(self, symbol: str) -> bool:
        number = self._symbols.number(symbol)
        return number is not None and bool(self._everywhere >> number & 1)

    def _where(self, symbol: str) -> npt.NDArray[np.bool_]:
        number = self._symbols.number(symbol)
        if number is None or not self._sessions:
            return np.zeros(len(self._sessions), dtype=bool)
        return self._by_session()[:, number >> 3] & np.uint8(1 << (number & 7)) != 0

    def among(self, rows: pl.DataFrame) -> pl.Series:
        """Whether each row (symbol, date) is of a symbol wanted in that session."""
        if rows.is_empty() or not self._sessions or not self._symbols.names:
            return pl.Series("wanted", [False] * rows.height, dtype=pl.Boolean)
        numbers = pl.DataFrame({"symbol": self._symbols.names}, schema={"symbol": pl.String})
        places = pl.DataFrame({"date": self._sessions}, schema={"date": pl.Date})
        at = (
            rows.select(KEYS)
            .join(numbers.with_row_index("_number"), on="symbol", how="left", maintain_order="left")
            .join(places.with_row_index("_place"), on="date", how="left", maintain_order="left")
        )
        known = at["_number"].is_not_null() & at["_place"].is_not_null()
        number, place = (at[name].fill_null(0).to_numpy() for name in ("_number", "_place"))
        bits = self._by_session()[place, number >> 3] >> (number & 7).astype(np.uint8) & 1
        return pl.Series("wanted", bits == 1) & known

    def starts(self) -> dict[str, date]:
        """Per symbol the first session in which it is wanted, in the order in which to ask: see `asking_order`."""
        order = _in_order(self._symbols, self._cells.values())
        first: dict[str, date] = {}
        seen = 0
        for session, bits in self._cells.items():
            if new := bits & ~seen:
                first |= dict.fromkeys(self._symbols.of(new), session)
                seen |= bits
        return {symbol: first[symbol] for symbol in order}

    def _by_session(self) -> npt.NDArray[np.uint8]:
        if self._table is None:
            # Most sessions want the same symbols.
            rows = {bits: self._symbols.row(bits) for bits in set(self._cells.values())}
            self._table = np.stack([rows[bits] for bits in self._cells.values()])
        return self._table


def asking_order(wanted: Iterable[set[str]]) -> list[str]:
    """The symbols in the order that completes the most cells, should the source stop answering on the way.

    Of the cells not complete yet, those come next that take the fewest questions each; of their symbols first those
    that the most of the cells completed on the way need, then by name.
    """
    cells = list(wanted)
    symbols = Symbols(name for names in cells for name in names)
    return _in_order(symbols, map(symbols.bits, cells))


def _in_order(symbols: Symbols, cells: Iterable[int]) -> list[str]:
    left = Counter(bits for bits in cells if bits)
    order: list[str] = []
    asked = 0
    while left:
        questions = {bits: (bits & ~asked).bit_count() / cells for bits, cells in left.items()}
        fewest = min(questions.values())
        best = min((bits for bits in left if questions[bits] == fewest), key=cmp_to_key(_by_names))
        order += _by_need(best, left, symbols, asked)
        asked |= best
        # What is complete by now needs no place of its own.
        left = Counter({bits: cells for bits, cells in left.items() if bits & ~asked})
        if len(left) > _MANY_SETS:
            # Weighing them again after each would take longer than asking; their sizes alone are a good guide.
            by_names = sorted(left, key=cmp_to_key(_by_names))
            for bits in sorted(by_names, key=lambda bits: bits.bit_count() / left[bits]):
                order += symbols.of(bits & ~asked)
                asked |= bits
            return order
    return order


def _by_names(one: int, other: int) -> int:
    """Which of two sets comes first, as their lists of names do: by the first name that only one of them has."""
    if one == other:
        return 0
    apart = one ^ other
    lowest = apart & -apart
    if one & lowest:
        # The other goes on with a later name, or has ended.
        return -1 if other > lowest else 1
    return 1 if one > lowest else -1


def _by_need(best: int, left: Mapping[int, int], symbols: Symbols, asked: int) -> list[str]:
    """Of the next cells the symbols not asked yet, in the order that completes the cells within them on the way."""
    numbers = symbols.numbers(best & ~asked)
    if len(left) <= _MANY_SETS:
        needed = np.zeros(len(symbols.names), dtype=np.int64)
        for bits, cells in left.items():
            if bits != best and not bits & ~best:
                needed[symbols.numbers(bits)] += cells
        numbers = numbers[np.argsort(-needed[numbers], kind="stable")]
    return [symbols.names[number] for number in numbers.tolist()]
