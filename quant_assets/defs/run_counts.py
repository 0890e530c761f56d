"""The runs that an instance knows, counted by job and outcome; only what has changed since the last look is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from quant_assets.defs.rebuilding import REBUILT_TAG
from quant_assets.defs.run_outcomes import DIED, QUEUED, RUNNING, RunOutcome, told

_AT_ONCE = 1000
_OVERLAP = timedelta(seconds=2)


@dataclass(slots=True)
class RunCounts:
    """An instance at one moment."""

    runs: Counter[tuple[str, str]] = field(default_factory=Counter["tuple[str, str]"])
    """By job and outcome; those that tell a rebuilt instance what the store holds are left out."""
    died: int = 0
    """Runs whose process has ended without a word, and which Dagster still takes for running."""
    longest: dict[tuple[str, str], float] = field(default_factory=dict["tuple[str, str]", float])
    """By job, and whether it is over a `range` of partitions or `one`: for how many seconds the longest of its runs
    under way is going on."""
    waits: float = 0.0
    """For how many seconds the first run in the queue waits."""
    last_ended: dict[tuple[str, str], datetime] = field(default_factory=dict["tuple[str, str]", datetime])
    """By job and outcome: when the last run ended."""


class RunWatch:
    """Looks at the runs of an instance. Not for several threads at once."""

    def __init__(self, instance: dg.DagsterInstance, locks: Path) -> None:
        self._instance, self._locks = instance, locks
        self._known: dict[str, dg.RunRecord] = {}
        self._seen: datetime | None = None

    def look(self, now: datetime) -> RunCounts:
        """The runs as they are `now` (the real clock, UTC)."""
        if self._seen is not None:
            # Some are stamped to the second: what was changed in the last moments of a look is taken in once more.
            self._take(self._instance.get_run_records(dg.RunsFilter(updated_after=self._seen - _OVERLAP)))
        if len(self._known) != self._instance.get_runs_count():
            self._take_all()
        counts = RunCounts()
        for record in self._known.values():
            if REBUILT_TAG not in record.dagster_run.tags:
                _count(counts, told(record, self._locks, now), now)
        return counts

    def _take_all(self) -> None:
        self._known = {}
        cursor: str | None = None
        while records := self._instance.get_run_records(limit=_AT_ONCE, cursor=cursor):
            self._take(records)
            cursor = records[-1].dagster_run.run_id

    def _take(self, records: Iterable[dg.RunRecord]) -> None:
        for record in records:
            self._known[record.dagster_run.run_id] = record
            changed = record.update_timestamp.replace(tzinfo=UTC)
            self._seen = changed if self._seen is None else max(self._seen, changed)


def _count(counts: RunCounts, run: RunOutcome, now: datetime) -> None:
    job = run.job
    counts.runs[job, run.outcome] += 1
    if run.error == DIED:
        counts.died += 1
    elif run.outcome == RUNNING:
        key = job, "range" if "..." in run.partitions else "one"
        counts.longest[key] = max(counts.longest.get(key, 0.0), run.seconds or 0.0)
    elif run.outcome == QUEUED and run.queued is not None:
        counts.waits = max(counts.waits, (now - run.queued).total_seconds())
    if run.ended is not None:
        key = job, run.outcome
        counts.last_ended[key] = max(counts.last_ended.get(key, run.ended), run.ended)
