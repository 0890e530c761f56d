"""What the audit record holds of Dagster's runs: who has asked for one, and what came of it.

A fill that a schedule or sensor has asked for says so in the fetch report that it writes anyway. A run of a job that
was asked for over the API is told by the job. What is left is written down when the run ends: runs from Dagster's
pages, and those of schedules that fill nothing. Runs by which a sensor refreshes what has become stale are nobody's
request, and Dagster has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from quant_assets.defs.fill_run import RESULT_TAG
from quant_assets.defs.jobs import EXCHANGE_TAG
from quant_assets.defs.run_progress import JOB_TAG
from quant_assets.errors import QuantAssetsError
from quant_assets.resources.open_store import open_store
from quant_assets.tables.audit import Operation, now, write_down

_SCHEDULE, _SENSOR, _BACKFILL = "dagster/schedule_name", "dagster/sensor_name", "dagster/backfill"
_RESULTS = {"SUCCESS": "ok", "PARTIAL": "partial", "FAILED": "failed", "DIFFERS": "partial"}


def scheduled_by(tags: Mapping[str, str]) -> str:
    """The schedule or sensor that has asked for a run with these tags on its own account; empty where none has."""
    if JOB_TAG in tags:
        return ""
    for tag, kind in ((_SCHEDULE, "schedule"), (_SENSOR, "sensor")):
        if tag in tags:
            return f"{kind} {tags[tag]}"
    return ""


def run_audit(location: str) -> Callable[[dg.DagsterInstance, str, str], None]:
    """What writes down the end of a run, where nothing else tells it, in the store at a location."""

    def ended(instance: dg.DagsterInstance, run_id: str, why: str) -> None:
        record = instance.get_run_record_by_id(run_id)
        if record is None or not is_asked_for(record.dagster_run.tags):
            return
        try:
            store = open_store(location)
        except QuantAssetsError:
            # The run itself has failed with it.
            return
        write_down(store, of_run(record, why))

    return ended


def is_asked_for(tags: Mapping[str, str]) -> bool:
    """Whether a run is an operation of its own in the audit record."""
    if JOB_TAG in tags:
        return False
    return _SENSOR not in tags and (_SCHEDULE not in tags or EXCHANGE_TAG not in tags)


def of_run(record: Any, why: str) -> Operation:
    """The operation that a run (its record, at its end) was."""
    run: dg.DagsterRun = record.dagster_run
    tags = run.tags
    word = _RESULTS.get(tags.get(RESULT_TAG, ""), "failed" if why else "ok")
    if why and word == "ok":
        word = "partial"
    if run.status is dg.DagsterRunStatus.CANCELING:
        word = "interrupted"
    who = scheduled_by(tags) or (f"backfill {tags[_BACKFILL]}" if _BACKFILL in tags else "Dagster's pages")
    began = record.start_time or record.create_timestamp.timestamp()
    shown = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return Operation(
        at=datetime.fromtimestamp(began, UTC).isoformat(),
        who=tags.get("user", who),
        via="dagster",
        what=run.job_name if not run.asset_selection else _assets(run),
        result=word,
        parameters={tag.partition("/")[2]: tags[tag] for tag in shown if tag in tags},
        ended_at=now(),
        detail=why,
        ref=run.run_id,
    )


def failure_of(event: dg.DagsterEvent) -> str:
    """Why a step failed, in one line: what it said itself, or the innermost error."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return one_line(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return one_line(error.message) if error is not None else "a step failed"


def one_line(text: str) -> str:
    """A text without its line breaks, cut off where it is very long."""
    return " ".join(text.split())[:1000]


def _assets(run: dg.DagsterRun) -> str:
    names = sorted(key.to_user_string() for key in run.asset_selection or ())
    return " ".join(["materialize", *names])
