"""Who is listed when, asked session after session: `coverage.listed` of one set of listings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import compress

import numpy as np
import numpy.typing as npt
import polars as pl

_EPOCH = date(1970, 1, 1).toordinal()
_EVER = 2**31 - 1


class Listed:
    """The symbols of `listings` (symbol, listed_on, delisted_on) by session.

    A null date is unknown and bounds nothing; both bounds are inclusive (`delisted_on` is the last trading day).
    """

    def __init__(self, listings: pl.DataFrame) -> None:
        rows = listings.select("symbol", "listed_on", "delisted_on").sort("symbol")
        self.names: list[str] = rows["symbol"].to_list()
        """All symbols, sorted."""
        self._first = _days(rows["listed_on"], -_EVER)
        self._last = _days(rows["delisted_on"], _EVER)

    def which(self, session: date) -> npt.NDArray[np.bool_]:
        """Which of `names` are active in a session."""
        day = session.toordinal() - _EPOCH
        return (self._first <= day) & (self._last >= day)

    def at(self, session: date) -> list[str]:
        """The symbols active in a session, sorted."""
        return list(compress(self.names, self.which(session).tolist()))

    def ever(self, sessions: Sequence[date]) -> set[str]:
        """The symbols active in some of the sessions, which are in order."""
        days = np.array([session.toordinal() - _EPOCH for session in sessions] + [_EVER + 1])
        # Active in one: the first session since the listing is not after the last day.
        there = days[np.searchsorted(days[:-1], self._first)] <= self._last
        return set(compress(self.names, there.tolist()))


def _days(dates: pl.Series, unknown: int) -> npt.NDArray[np.int64]:
    """Days since the epoch, and `unknown` for a null."""
    return dates.cast(pl.Int32).cast(pl.Int64).fill_null(unknown).to_numpy()
