"""The audit record: what was done to a store over the API, by the command line and by Dagster, in one list.

It is put together from the operations that were written down, the jobs that were asked for, and the reports of fills
that Dagster's schedules and sensors started.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.object_store import ObjectStore, StoreUnavailable
from quant_assets.tables.audit import Operation, now, operations, write_down
from quant_assets.tables.fetch_reports import reports_since
from quant_assets.tables.jobs import JobRecord, latest_jobs
from quant_assets.tables.layout import FETCH_REPORTS

_RESULTS = {"SUCCESS": "ok", "COMPLETE": "ok", "PARTIAL": "partial", "FAILED": "failed"}


def audit_trail(
    store: ObjectStore, since: date, *, who: str | None = None, via: str | None = None, limit: int = 100
) -> list[Operation]:
    """What was done since a day (UTC), the latest first, `limit` at most. Raises StoreUnavailable."""
    everything = heapq.merge(
        operations(store, since),
        _jobs(store, since),
        _fills(store, since),
        key=lambda one: datetime.fromisoformat(one.at).timestamp(),
        reverse=True,
    )
    chosen = (one for one in everything if who in (None, one.who) and via in (None, one.via))
    return list(islice(chosen, limit))


@dataclass
class Attempt:
    """An operation under way. Whoever performs it may say what came of it."""

    result: str | None = None
    """None: how the context ends tells."""
    kept: bool = True
    """Whether it is written down."""


@contextmanager
def operation(
    store: ObjectStore, who: str, via: str, what: str, parameters: dict[str, Any]
) -> Iterator[Attempt]:
    """Writes down what is done while the context lasts, whatever comes of it."""
    began, attempt, result, detail = now(), Attempt(), "ok", ""
    try:
        yield attempt
    except KeyboardInterrupt:
        result = "interrupted"
        raise
    except SystemExit as left:
        result = word_of(left.code)
        raise
    except (StoreUnavailable, OSError):
        # A store that takes nothing takes no record either, and to find out once more may take a minute.
        attempt.kept = False
        raise
    except QuantAssetsError as error:
        result, detail = "failed", _line(str(error))
        raise
    except BaseException as error:
        # A fault of the program, or an end by force, is on record as well, and goes on as it is.
        result, detail = "failed", _line(f"{type(error).__name__}: {error}")
        raise
    finally:
        if attempt.kept:
            result = attempt.result or result
            write_down(store, Operation(began, who, via, what, result, parameters, now(), detail))


def word_of(code: object) -> str:
    """What an exit code of the command line says of an operation."""
    return {None: "ok", 0: "ok", 2: "partial", 130: "interrupted"}.get(code, "failed")  # pyright: ignore[reportCallIssue, reportArgumentType]


def _jobs(store: ObjectStore, since: date) -> Iterator[Operation]:
    for job in latest_jobs(store):
        if job.id[:8] < f"{since:%Y%m%d}":
            return
        yield _of_job(job)


def _of_job(job: JobRecord) -> Operation:
    end = job.end
    return Operation(
        at=job.requested_at,
        who=job.requested_by,
        via=job.via,
        what=f"job {job.kind}",
        result=end.status if end else "under way" if job.taken_by else "pending",
        parameters=job.parameters,
        ended_at=end.at if end else "",
        detail=end.reason if end else "",
        ref=job.id,
    )


def _fills(store: ObjectStore, since: date) -> Iterator[Operation]:
    codes = [one.partition("=")[2].rstrip("/") for one in store.groups(f"{FETCH_REPORTS}/exchange=", "/")]
    yield from heapq.merge(
        *(_fills_of(store, code, since) for code in codes), key=lambda one: one.at, reverse=True
    )


def _fills_of(store: ObjectStore, exchange: str, since: date) -> Iterator[Operation]:
    for report in reports_since(store, exchange, since):
        # What a person or a client has asked for is on record by itself.
        if by := report.get("scheduled_by"):
            yield Operation(
                at=str(report["started"]),
                who=str(by),
                via="dagster",
                what=f"fill {exchange} ({report.get('mode', '')})",
                result=_RESULTS.get(str(report.get("result")), str(report.get("result"))),
                parameters={name: report[name] for name in ("requests", "cells_written") if name in report},
                detail=str(report.get("error", "")),
                ref=str(report.get("run", "")),
            )


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
