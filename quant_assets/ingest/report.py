"""What became of a run over one exchange."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import FINAL, HELD, SETTLED, CellState
from quant_assets.tables.manifest import Entry
from quant_assets.tables.quarantine import QUARANTINE_SCHEMA, items
from quant_assets.tables.restatements import LEDGER_SCHEMA
from quant_assets.words import number_of

_FEW = 5


@dataclass(slots=True)
class FillReport:
    """What became of a run over one exchange."""

    exchange: str
    mode: Mode = Mode.INCREMENTAL
    cells: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """Every day asked for that has a cell now, closed days included."""
    changed: dict[date, Entry] = field(default_factory=dict[date, Entry])
    """The cells that were put."""
    too_early: list[date] = field(default_factory=list[date])
    requests: int = 0
    requested: int = 0
    """Symbols asked for."""
    skipped: int = 0
    """Symbols expected that had nothing missing."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Symbols asked, by outcome."""
    restatements: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEDGER_SCHEMA))
    """What the source gives differently from what stands; recorded and taken, but in mode `verify`."""
    quarantined: int = 0
    """Claims newly held back."""
    claimed: int = 0
    """Claims that wait in quarantine and were made in this run."""
    waiting: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUARANTINE_SCHEMA))
    """All claims (QUARANTINE_SCHEMA) of the symbols asked about that wait in quarantine after the run."""
    warnings: list[str] = field(default_factory=list[str])
    not_verified: dict[str, str] = field(default_factory=dict[str, str])
    """Symbols that were to be asked again and could not be, with the reason; their rows stand as they were."""
    facts_learned: bool = False
    """Whether something became known of a symbol by which its company is told."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    error: str = ""
    """What ended the run before it was through, in one line."""

    @property
    def states(self) -> Counter[str]:
        """The number of cells by state."""
        return Counter(entry.state.value for entry in self.cells.values())

    @property
    def written(self) -> int:
        """How many cells were put."""
        return len(self.changed)

    @property
    def also_changed(self) -> dict[date, Entry]:
        """The cells that were put outside the days asked for: holes filled and values restated."""
        return {day: entry for day, entry in self.changed.items() if day not in self.cells}

    @property
    def restated_days(self) -> list[date]:
        """The sessions whose rows were restated, in order."""
        return sorted(set(self.restatements["date"]) | set(self.restatements["first_date"]))

    @property
    def held(self) -> pl.DataFrame:
        """What waits in quarantine (ITEMS_SCHEMA): an answer, a stretch, a bar or an action a row."""
        return items(self.waiting)

    @property
    def result(self) -> str:
        """SUCCESS, PARTIAL (something usable came, something is missing or held), FAILED (nothing usable is there).

        What came and is held may be usable yet, whatever the state of its cells.
        """
        states = {entry.state for entry in self.cells.values()}
        if self.error:
            return "PARTIAL" if self.changed else "FAILED"
        if self.claimed:
            return "PARTIAL"
        if self.not_verified or CellState.FAILED in states or CellState.PARTIAL in states:
            return "PARTIAL" if states - {CellState.FAILED, CellState.CLOSED} else "FAILED"
        return "SUCCESS" if self.waiting.is_empty() else "PARTIAL"

    @property
    def verified(self) -> str:
        """What a verification comes to: DIFFERS; SUCCESS where nothing does, whatever the cells lack; `result` where
        not all could be asked."""
        if not self.restatements.is_empty():
            return "DIFFERS"
        return self.result if self.error or self.not_verified or self.claimed else "SUCCESS"

    @property
    def differences(self) -> str:
        """The first values that differ from those stored, in a line; "" where there are none."""
        rows = self.restatements.sort("symbol", "date")
        few = [
            f"{row['symbol']} {row['date']} {row['field']} {row['old']} → {row['new']}"
            for row in rows.head(_FEW).iter_rows(named=True)
        ]
        more = [f"and {rows.height - _FEW} more"] if rows.height > _FEW else []
        return "; ".join([*few, *more])

    @property
    def missing(self) -> Counter[str]:
        """How many rows the cells lack (a symbol and session each), by outcome."""
        return Counter(hole.outcome for entry in self.cells.values() for hole in entry.missing)

    def add(self, more: FillReport) -> None:
        """Takes what a second pass of the same run did into this report."""
        self.cells |= {day: entry for day, entry in more.cells.items() if day in self.cells}
        self.changed |= more.changed
        self.requests += more.requests
        self.outcomes += more.outcomes
        self.restatements = pl.concat([self.restatements, more.restatements])
        self.quarantined += more.quarantined
        self.claimed += more.claimed
        self.warnings += more.warnings
        self.not_verified |= more.not_verified

    def facts(self) -> dict[str, Any]:
        """The report as JSON values."""
        succeeded, missing = self.outcomes["ok"], self.missing
        return {
            "exchange": self.exchange,
            "mode": self.mode.value,
            "result": self.result,
            "requested": self.requested,
            "succeeded": succeeded,
            "skipped": self.skipped,
            "failed": {outcome: n for outcome, n in sorted(self.outcomes.items()) if outcome != "ok"},
            "requests": self.requests,
            "cells": {state.value: self.states[state.value] for state in CellState},
            "missing": dict(sorted(missing.items())),
            "cells_written": self.written,
            "changed": [day.isoformat() for day in sorted(self.changed)],
            "restatements": dict(Counter(self.restatements["class"].to_list())),
            "quarantined": self.quarantined,
            "held": [{name: _plain(value) for name, value in row.items()} for row in self.held.to_dicts()],
            "not_verified": self.not_verified,
            "warnings": self.warnings,
            "next": self._next_steps(missing),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            **({"error": self.error} if self.error else {}),
        }

    def _next_steps(self, missing: Counter[str]) -> list[str]:
        """What to do about what is missing, held or restated; nothing after a run that came to all it should."""
        code = self.exchange
        steps: list[str] = []
        if self.error:
            steps.append(
                "run the same command again once the cause is gone: it asks only for what is missing"
            )
        if self.too_early:
            steps.append(f"ask for {self.too_early[0]} again after its close")
        if passing := sum(n for outcome, n in missing.items() if outcome not in SETTLED | FINAL | {HELD}):
            steps.append(
                f"{passing} row(s) are asked for again by the next run; `quant-assets backfill --missing "
                f"--exchange {code}` asks now"
            )
        if any(missing[outcome] for outcome in SETTLED):
            steps.append(
                f"`quant-assets gaps --exchange {code}` tells since when the source has no bar, and why"
            )
        if self.not_verified:
            steps.append(
                f"ask again for {number_of(len(self.not_verified), 'symbol')}: their rows stand as they were"
            )
        if not self.waiting.is_empty():
            steps.append(
                f"`quant-assets quarantine list --exchange {code}` shows what is held; every run asks about it again"
            )
        if not self.restatements.is_empty():
            steps.append(f"`quant-assets restatements --exchange {code}` lists every value that changed")
        return steps


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
