"""What the Dagster runs of a job that somebody asked for are doing, and what they came to.

A job is in one of these states, in this order: `pending` (nothing runs), `downloading_data` (the source is being
asked), `running` (cells are written and recorded), and then one of `completed`, `partial`, `failed`, `cancelled`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import orjson

from quant_assets.defs.fill_run import DIFFERS_TAG, RESULT_TAG
from quant_assets.defs.run_audit import failure_of, one_line
from quant_assets.defs.run_progress import JOB_TAG, PROGRESS_TAG
from quant_assets.resources.object_store import ObjectDamaged, ObjectStore
from quant_assets.resources.source import Outcome
from quant_assets.tables.fetch_reports import reports_of
from quant_assets.tables.jobs import End, JobRecord, Part, moment
from quant_assets.words import number_of

PART_TAG = "quant_assets/part"
"""The tag of a run that says which part of its job it is (`Part.name`)."""

PENDING, DOWNLOADING, RUNNING = "pending", "downloading_data", "running"
COMPLETED, PARTIAL, FAILED, CANCELLED = "completed", "partial", "failed", "cancelled"
_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
_TOLD = (
    "requested", "succeeded", "failed", "requests", "cells", "missing", "restatements", "quarantined", "next",
    "error",
)  # fmt: skip
"""What of a fetch report is a part of a job's result."""
_NOT_ASKED = "the source limited the rate: {n} not asked; the next run asks for what is missing"


@dataclass
class Phase:
    """What a job that has not ended is doing. `note`: words on what it waits for."""

    status: str
    note: str = ""
    progress: dict[str, int] = field(default_factory=dict[str, int])
    """symbols, symbols_done, cells, cells_done: of the parts that have been planned."""


def runs_of(instance: dg.DagsterInstance, jobs: Sequence[str]) -> dict[str, dict[str, dg.DagsterRun]]:
    """By job and part the latest run."""
    found: dict[str, dict[str, dg.DagsterRun]] = {job: {} for job in jobs}
    if not jobs:
        return found
    # The latest first.
    for run in instance.get_runs(dg.RunsFilter(tags={JOB_TAG: list(jobs)})):
        found[run.tags[JOB_TAG]].setdefault(run.tags.get(PART_TAG, ""), run)
    return found


def phase_of(record: JobRecord, runs: Mapping[str, dg.DagsterRun]) -> Phase:
    """What a job is doing that has not ended."""
    going = {name: run for name, run in runs.items() if not run.is_finished}
    begun = {name: run for name, run in going.items() if run.status not in _WAITING}
    progress: dict[str, int] = {}
    downloading = False
    for run in runs.values():
        counts = _counts(run)
        for name, count in counts.items():
            progress[name] = progress.get(name, 0) + count
        if run.run_id in {one.run_id for one in begun.values()}:
            settled = counts.get("cells_done", 0)
            asking = not counts or counts.get("symbols_done", 0) < counts.get("symbols", 0)
            downloading |= asking and not settled
    if begun:
        note = "asked to stop: what is under way is finished and kept" if record.cancelled_at else ""
        return Phase(DOWNLOADING if downloading else RUNNING, note, progress)
    if going:
        names = ", ".join(sorted(f"{name} (run {run.run_id[:8]})" for name, run in going.items()))
        return Phase(RUNNING if len(runs) > len(going) else PENDING, f"queued: {names}", progress)
    return Phase(RUNNING if runs else PENDING, "", progress)


def end_of(
    record: JobRecord, runs: Mapping[str, dg.DagsterRun], instance: dg.DagsterInstance, store: ObjectStore
) -> End | None:
    """How a job ended; None while a run of it is still to come, or under way. Raises StoreUnavailable."""
    lacking = [part for part in record.parts if part.name not in runs]
    if any(not run.is_finished for run in runs.values()) or (lacking and not record.cancelled_at):
        return None
    ended = [_outcome(part, runs[part.name], instance, store) for part in record.parts if part.name in runs]
    words = {word for word, _, _, _ in ended} | ({CANCELLED} if lacking else set())
    reasons = [reason for _, reason, _, _ in ended if reason]
    if CANCELLED in words:
        reasons.append(f"cancelled by {record.cancelled_by or 'somebody in Dagster'}")
    return End(
        status=_together(words),
        at=moment(),
        warnings=[warning for _, _, warnings, _ in ended for warning in warnings],
        result={"parts": [facts for _, _, _, facts in ended]},
        runs=[runs[part.name].run_id for part in record.parts if part.name in runs],
        reason="; ".join(reasons),
    )


def _together(words: set[str]) -> str:
    if CANCELLED in words:
        return CANCELLED
    return words.pop() if len(words) == 1 else PARTIAL


def _outcome(
    part: Part, run: dg.DagsterRun, instance: dg.DagsterInstance, store: ObjectStore
) -> tuple[str, str, list[str], dict[str, Any]]:
    """What one run came to: its word, the reason where there is one, warnings, and the facts of the report."""
    facts: dict[str, Any] = {"run": run.run_id, "exchange": part.exchange}
    try:
        reports = reports_of(store, part.exchange, run.run_id) if part.exchange else []
        # None where the run asked for nothing, or was killed.
        report = reports[-1] if reports else None
    except ObjectDamaged as error:
        report, damaged = None, [str(error)]
    else:
        damaged = []
    result = run.tags.get(RESULT_TAG)
    warnings = [*damaged, *(report["warnings"] if report else [])]
    if report:
        facts |= {name: report[name] for name in _TOLD if name in report}
    elif cells := run.tags.get("quant_assets/cells"):
        counts = (pair.split("=") for pair in cells.split() if "=" in pair)
        facts |= {"cells": {state: int(count) for state, count in counts}}
    if result:
        facts["result"] = result
    reason = "" if run.is_success else _reason(instance, run)
    if run.status is dg.DagsterRunStatus.CANCELED:
        # What the run itself says of it is how it was interrupted.
        return CANCELLED, "", warnings, facts
    limited = report["failed"].get(Outcome.RATE_LIMITED.value, 0) if report else 0
    if limited:
        warnings.append(_NOT_ASKED.format(n=number_of(limited, "symbol")))
    if result == "DIFFERS":
        few = run.tags.get(DIFFERS_TAG, "")
        warnings.append(
            f"values differ from the source ({few}); nothing was changed, and the run's log lists them"
        )
    if limited and report and report["cells"]["complete"] and result != "FAILED":
        # Some sessions could be completed; the others say what is missing, and are asked for again.
        return COMPLETED, "", [*warnings, *([reason] if reason else [])], facts
    if result in ("SUCCESS", "DIFFERS", None):
        if run.is_success:
            return COMPLETED, "", warnings, facts
        return (PARTIAL if result else FAILED), reason, warnings, facts
    return (PARTIAL if result == "PARTIAL" else FAILED), reason, warnings, facts


def _reason(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why a run did not succeed, in one line: what the first step that failed said."""
    kinds = {
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterEventType.RUN_CANCELED,
    }
    fallback = ""
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            if event.step_failure_data.user_failure_data:
                return failure_of(event)
            fallback = fallback or failure_of(event)
        else:
            fallback = fallback or one_line(event.message or "")
    return fallback or f"run {run.run_id[:8]}: {run.status.value.lower()}; its log says why"


def _counts(run: dg.DagsterRun) -> dict[str, int]:
    try:
        return orjson.loads(run.tags.get(PROGRESS_TAG, "{}"))
    except orjson.JSONDecodeError:
        return {}
