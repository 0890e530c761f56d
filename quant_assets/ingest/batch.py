"""Answers put together in batches: what the rules have to know of their rows is found for many symbols at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.answers import Answer, OpenDays
from quant_assets.ingest.plan import Plan
from quant_assets.market.bars import DayTable, day_numbers

_ROWS = 200_000


class Batch:
    """The rows of answers that are wanted or compared, until they are validated.

    `listings` (symbol, listed_on, delisted_on, currency where the catalog names one) as stated.
    """

    def __init__(self, exchange: Exchange, plan: Plan, listings: pl.DataFrame, days: OpenDays) -> None:
        self._currencies, self._listings = pl.Series(exchange.currencies), listings
        self._wanted, self._known = plan.wanted, days.known
        self._sessions = DayTable(day_numbers(days.known))
        self._look_back = day_numbers(pl.Series(plan.look_back, dtype=pl.Date))
        bounds = listings.select("symbol", *(pl.col(n).cast(pl.Int32) for n in ("listed_on", "delisted_on")))
        self._listed = {symbol: (first, last) for symbol, first, last in bounds.iter_rows()}
        self._asked_days = self._look_back
        self._asked = DayTable(self._look_back)
        self._ready: list[pl.DataFrame] = []
        self._waiting: list[tuple[Answer, npt.NDArray[np.bool_]]] = []
        self._rows = self._whole = 0

    def add(self, answer: Answer) -> None:
        """Takes an answer in."""
        relevant = self._relevant(answer)
        self._rows += int(relevant.sum())
        self._waiting.append((answer, relevant))
        self._whole += answer.rows.height
        if self._whole >= _ROWS:
            # A whole answer may be much longer than what is wanted of it.
            self._settle()

    @property
    def full(self) -> bool:
        """Whether it holds as many rows as are validated at once."""
        return self._rows >= _ROWS

    def validated(self) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Takes everything out, as `validate_answer` tells good rows from others; None where there is nothing."""
        from quant_assets.market.validation import validate_answer

        self._settle()
        rows, self._ready, self._rows = self._ready, [], 0
        return validate_answer(pl.concat(rows)) if rows else None

    def _settle(self) -> None:
        """Finds what the rules have to know of the rows (`validation.CONTEXT`); what is not relevant goes then."""
        from quant_assets.market.validation import with_context

        if self._waiting:
            answers, relevant = zip(*self._waiting, strict=True)
            rows, accepted, rejected = (
                pl.concat([frames[0], *(frame for frame in frames[1:] if frame.height)], rechunk=True)
                for frames in zip(*((a.rows, a.accepted, a.rejected) for a in answers), strict=True)
            )
            known = with_context(rows, self._known, self._currencies, self._listings, accepted, rejected)
            of_use = np.concatenate(relevant)
            self._ready.append(known if of_use.all() else known.filter(of_use))
            self._waiting, self._whole = [], 0

    def _relevant(self, answer: Answer) -> npt.NDArray[np.bool_]:
        """Which rows are of wanted and compared sessions, or on days that should have none."""
        symbol, days = answer.result.symbol, day_numbers(answer.rows["date"])
        asked = self._asked_of(symbol)
        relevant = asked.holds(days)
        if relevant.all():
            return relevant
        relevant |= ~self._sessions.holds(days) & (days >= asked.first) & (days <= asked.last)
        first, last = self._listed.get(symbol, (None, None))
        if first is not None:
            relevant |= days < first
        if last is not None:
            relevant |= days > last
        return relevant

    def _asked_of(self, symbol: str) -> DayTable:
        """The days that a symbol is asked about: one table for all symbols that are wanted in all sessions."""
        wanted = self._wanted.days_of(symbol)
        if wanted is not self._asked_days:
            self._asked_days = wanted
            self._asked = DayTable(np.concatenate([wanted, self._look_back]))
        return self._asked
