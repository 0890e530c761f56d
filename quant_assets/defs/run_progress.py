"""How far a fill has got, on the page of its run: a line of its log and a tag, every half minute at most; and, in the
run of a job that somebody asked for, a tag for whoever watches the job, every second at most."""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg
import orjson

from quant_assets.resources.source import FetchResult, Outcome

ASKED_TAG = "quant_assets/asked"
"""The tag of a run that says of how many of its symbols the source was asked so far."""
EVERY = 30.0
"""Seconds between two lines; a run that is shorter has none."""
JOB_TAG = "quant_assets/job"
"""The tag of a run that says for which job it was launched."""
PROGRESS_TAG = "quant_assets/progress"
"""The tag of such a run that says how far it has got: JSON with symbols, symbols_done, cells, cells_done."""
WATCHED_EVERY = 1.0


class RunProgress:
    """Counts what a fill of an exchange tells. `tell` writes a line, `tag` sets the run's tags.

    `watched`: whether the run is a job's, whose progress is asked for.
    """

    def __init__(
        self,
        code: str,
        tell: Callable[[str], object],
        tag: Callable[[dict[str, str]], object],
        clock: Callable[[], float] = time.monotonic,
        *,
        watched: bool = False,
    ) -> None:
        self._code, self._tell, self._tag, self._clock = code, tell, tag, clock
        self._symbols = self._cells = self._asked = self._settled = self._answered = 0
        self._tagged = False
        self._next = clock() + EVERY
        self._watched, self._shown = watched, float("-inf")

    @classmethod
    def of_run(cls, context: dg.AssetExecutionContext | dg.OpExecutionContext, code: str) -> RunProgress:
        """On the page of the run that this is."""
        run_id, instance = context.run.run_id, context.instance
        return cls(
            code,
            context.log.info,
            lambda tags: instance.add_run_tags(run_id, tags),
            watched=JOB_TAG in context.run.tags,
        )

    def planned(self, symbols: int, cells: int) -> None:
        """So many symbols will be asked for, and so many cells written."""
        self._symbols, self._cells = symbols, cells
        self._asked = self._settled = self._answered = 0
        self._show(at_once=True)

    def symbol(self, result: FetchResult) -> None:
        """One more symbol is settled; where the source had stopped answering, without having been asked."""
        self._asked += result.outcome is not Outcome.RATE_LIMITED and bool(result.facts.get("attempts"))
        self._answered += 1
        self._show(at_once=self._answered == self._symbols)
        if self._due():
            self._tell(f"{self._code}: asked for {self.asked} symbols")
            self._set_tag()

    def cell(self) -> None:
        """One more cell is settled."""
        if not self._settled and self._tagged:
            self._set_tag()
        self._settled += 1
        self._show(at_once=self._settled in (1, self._cells))
        if self._due():
            self._tell(f"{self._code}: {self._settled:,} of {self._cells:,} cells are settled")

    @property
    def asked(self) -> str:
        """Of how many symbols the source was asked."""
        return f"{self._asked:,} of {self._symbols:,}"

    def _due(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + EVERY
        return True

    def _show(self, *, at_once: bool) -> None:
        if not self._watched or not (at_once or self._clock() >= self._shown + WATCHED_EVERY):
            return
        self._shown = self._clock()
        counts = {
            "symbols": self._symbols, "symbols_done": self._answered,
            "cells": self._cells, "cells_done": self._settled,
        }  # fmt: skip
        self._tag({PROGRESS_TAG: orjson.dumps(counts).decode()})

    def _set_tag(self) -> None:
        self._tagged = True
        self._tag({ASKED_TAG: self.asked})
