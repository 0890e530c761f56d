"""What became of Dagster's runs, in three words: SUCCESS, PARTIAL (something usable came, something is missing or
held) or FAILED; read from the instance, and from the reports in the store where the instance knows a run no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.defs.dagster_internals import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from quant_assets.defs.fill_run import RESULT_TAG
from quant_assets.defs.jobs import EXCHANGE_TAG
from quant_assets.defs.rebuilding import REBUILT_TAG
from quant_assets.defs.run_marks import has_died
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.fetch_reports import read_reports, reports_of

SUCCESS, PARTIAL, FAILED = "SUCCESS", "PARTIAL", "FAILED"
CANCELED, RUNNING, QUEUED = "CANCELED", "RUNNING", "QUEUED"
OUTCOMES = (SUCCESS, PARTIAL, FAILED, CANCELED, RUNNING, QUEUED)

DIED = "the run's process has ended without a word: it was killed"
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_GOING = {dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING}
_IN_WORDS = {"COMPLETE": SUCCESS, "DIFFERS": PARTIAL}
"""What a run's tag or report says otherwise: earlier versions, and verifications."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """One run. Moments are UTC; `partitions` is a key or `first...last`, empty where the job has none."""

    run: str
    job: str
    outcome: str
    partitions: str = ""
    exchange: str = ""
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None
    """How long it ran, or has run so far."""
    requests: int | None = None
    cells: str = ""
    """Cells by state: `complete=18 partial=2`."""
    held: str = ""
    error: str = ""
    """Why it failed, in one line."""
    from_store: bool = False
    """Told by its report alone: the instance does not know the run."""
    reports: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def facts(self) -> dict[str, Any]:
        """As JSON values; what is empty is left out."""
        return {
            name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value not in (None, "", [], False)
        }


def outcome_of(status: dg.DagsterRunStatus, tags: Mapping[str, str], *, died: bool = False) -> str:
    """The outcome of a run by its status and tags; `died`: its process is no more, whatever the status says."""
    said = tags.get(RESULT_TAG, "")
    said = _IN_WORDS.get(said, said)
    if status is dg.DagsterRunStatus.CANCELED:
        return CANCELED
    if died:
        return FAILED
    if status in _GOING:
        return RUNNING
    if status not in _ENDED:
        return QUEUED
    # A run that failed because of some of its cells has usable ones all the same; a failed step is never a success.
    if status is dg.DagsterRunStatus.FAILURE:
        return PARTIAL if said == PARTIAL else FAILED
    return said or SUCCESS


def told(record: dg.RunRecord, locks: Path, now: datetime) -> RunOutcome:
    """What the instance tells of a run; `locks` is the home's folder of run marks, `now` the real clock."""
    run, tags = record.dagster_run, record.dagster_run.tags
    started, ended = _moment(record.start_time), _moment(record.end_time)
    died = run.status in _GOING and has_died(locks, run.run_id)
    return RunOutcome(
        run.run_id,
        run.job_name,
        outcome_of(run.status, tags, died=died),
        tags.get(PARTITION_TAG) or "...".join(tags[t] for t in (RANGE_START_TAG, RANGE_END_TAG) if t in tags),
        tags.get(EXCHANGE_TAG, ""),
        record.create_timestamp.replace(tzinfo=UTC),
        started,
        ended,
        None if started is None else round(((ended or now) - started).total_seconds(), 1),
        int(tags["quant_assets/requests"]) if "quant_assets/requests" in tags else None,
        tags.get("quant_assets/cells", ""),
        tags.get("quant_assets/held", ""),
        DIED if died else "",
    )


@dataclass(frozen=True, slots=True)
class RunsKept:
    """Where runs are told of. `exchanges`: codes; `locks`: the home's folder of run marks; `now`: the real clock."""

    instance: dg.DagsterInstance
    store: ObjectStore
    exchanges: Sequence[str]
    locks: Path
    now: datetime


def recent(kept: RunsKept, last: int = 20, damaged: dict[str, str] | None = None) -> list[RunOutcome]:
    """The last runs, newest first: those of the instance, and those that only a report in the store tells of.

    Runs by which a rebuilt instance shows cells as failed are left out: they stand for others, whose reports are
    told. Reports that cannot be read are left out, too, and put into `damaged`, why by key. Raises StoreUnavailable.
    """
    damaged = {} if damaged is None else damaged
    records = kept.instance.get_run_records(limit=last)
    found = [told(one, kept.locks, kept.now) for one in records if REBUILT_TAG not in one.dagster_run.tags]
    reports = [
        report for code in kept.exchanges for report in read_reports(kept.store, code, last, damaged=damaged)
    ]
    unknown = {str(report.get("run", "")) for report in reports} - {one.run for one in found}
    unknown = {run for run in unknown if run and not kept.instance.has_run(run)}
    by_run = {run: [report for report in reports if report.get("run") == run] for run in unknown}
    found += [of_reports(of_run) for of_run in by_run.values()]
    return sorted(found, key=_begun, reverse=True)[:last]


def of_reports(reports: Sequence[dict[str, Any]]) -> RunOutcome:
    """What the reports of one run tell of it."""
    said = {str(report.get("result", FAILED)) for report in reports}
    results = {_IN_WORDS.get(result, result) for result in said}
    states: dict[str, int] = {}
    for report in reports:
        for state, count in report.get("cells", {}).items():
            states[state] = states.get(state, 0) + count
    return RunOutcome(
        reports[0]["run"],
        "",
        results.pop() if len(results) == 1 else PARTIAL,
        exchange=", ".join(sorted({report.get("exchange", "") for report in reports})),
        started=min(
            (datetime.fromisoformat(report["started"]) for report in reports if "started" in report),
            default=None,
        ),
        requests=sum(report.get("requests", 0) for report in reports),
        cells=" ".join(f"{state}={count}" for state, count in sorted(states.items()) if count),
        error="; ".join(report["error"] for report in reports if report.get("error")),
        from_store=True,
    )


def find(kept: RunsKept, name: str) -> list[RunOutcome]:
    """The runs whose id begins with `name`, with their reports and, of failed ones, the reason.

    Raises ObjectDamaged, NewerFormat, StoreUnavailable.
    """
    ids = [run for run in kept.instance.get_run_ids() if run.startswith(name)]
    found: list[RunOutcome] = []
    for record in kept.instance.get_run_records(dg.RunsFilter(run_ids=ids)) if ids else []:
        one = told(record, kept.locks, kept.now)
        error = one.error
        if one.outcome in (FAILED, PARTIAL):
            error = error or reason(kept.instance, one.run)
        reports = [report for code in kept.exchanges for report in reports_of(kept.store, code, one.run)]
        found.append(replace(one, error=error, reports=reports))
    if not found:
        reports = [report for code in kept.exchanges for report in reports_of(kept.store, code, name)]
        for run in sorted({report["run"] for report in reports}):
            of_run = [report for report in reports if report["run"] == run]
            one = of_reports(of_run)
            one.reports.extend(of_run)
            found.append(one)
    return found


def reason(instance: dg.DagsterInstance, run: str) -> str:
    """Why a run failed, in one line: what its first failed step says, or the run itself; "" where nothing does."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for entry in instance.all_logs(run, of_type=kind):
            event = entry.dagster_event
            if event is None:
                continue
            if event.is_step_failure:
                data = event.step_failure_data
                if data.user_failure_data and data.user_failure_data.description:
                    return _line(data.user_failure_data.description)
                error = data.error
            else:
                # A run that was ended from outside (its process killed, never started) has a message and no data.
                error = getattr(event.event_specific_data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return _line(error.message)
            if event.message:
                return _line(event.message)
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _begun(one: RunOutcome) -> datetime:
    return one.started or one.queued or datetime.min.replace(tzinfo=UTC)
