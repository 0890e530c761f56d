"""Jobs that somebody has asked for: one JSON record each, written before anything is done, so that none is forgotten.

A record grows by what becomes known, each time in one conditional put: that it is to be cancelled, which Dagster
instance has taken it on, how it ended. What its runs are doing meanwhile is Dagster's to say.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from quant_assets.resources.object_store import (
    ABSENT,
    FORMAT,
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    get_many,
    put_reconciled,
    refuse_newer,
)
from quant_assets.tables.layout import JOBS, is_job, job_claim_key, job_key, job_of


class JobUnknown(ObjectStoreError):
    """No job has that id."""


class JobKeyTaken(ObjectStoreError):
    """The client's key of its own stands for another request already."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one Dagster run of a job works on."""

    task: str
    """`daily`: cells of an exchange; `verify`, `sweep`, `refresh`: Dagster's jobs of these names."""
    exchange: str = ""
    first: str = ""
    """The first day, and `last` the last one; empty where the task is about no days."""
    last: str = ""
    symbols: Sequence[str] = ()
    """Of these at most; of universes where the task is `refresh`. None: of all."""
    mode: str = "incremental"
    valuations: bool = False
    """Whether a snapshot of valuations is wanted after the prices."""

    @property
    def name(self) -> str:
        """What tells it from the other parts of its job."""
        return self.exchange or self.task


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: status, and what came of it."""

    status: str
    at: str
    warnings: Sequence[str] = ()
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    runs: Sequence[str] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is kept. Moments are ISO texts, UTC."""

    id: str
    kind: str
    parameters: dict[str, Any]
    parts: Sequence[Part]
    requested_at: str
    requested_by: str
    via: str
    """`api` or `cli`."""
    cancelled_at: str = ""
    cancelled_by: str = ""
    taken_by: str = ""
    """The Dagster instance whose sensor has taken it on: of several homes on a store one does."""
    taken_at: str = ""
    end: End | None = None

    def dump(self) -> bytes:
        """The record as it is stored."""
        return orjson.dumps({"format": FORMAT, **_plain(self)}, option=orjson.OPT_INDENT_2)


def new_id(now: datetime) -> str:
    """An id for a job that is requested now: the moment, in steps of 16 µs, by which ids sort, and 32 random bits."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{now.microsecond >> 4:04x}{secrets.token_hex(4)}"


def put_job(store: ObjectStore, record: JobRecord, key: str = "") -> tuple[JobRecord, bool]:
    """Keeps a job, unless the client's `key` of its own stands for it already.

    The key counts per requester. It is claimed first, with the whole record, so that a request that was killed in
    between is finished by the next one with the same key.

    Returns:
        The job that the key stands for, and whether it is a new one.

    Raises JobKeyTaken when the key stands for another request, StoreUnavailable.
    """
    if key:
        name = job_claim_key(hashlib.sha256(f"{record.requested_by}\0{key}".encode()).hexdigest())
        try:
            store.put(name, record.dump(), if_version=ABSENT)
        except ObjectChanged:
            claimed = _loaded(store.get(name), store.uri(name))
            if (claimed.kind, claimed.parameters) != (record.kind, record.parameters):
                raise JobKeyTaken(
                    f"Idempotency-Key {key[:80]!r} stands for another request already (job {claimed.id}, "
                    f"{claimed.kind}): use a new key for a new request"
                ) from None
            return _put(store, claimed), False
    return _put(store, record), True


def read_job(store: ObjectStore, job: str) -> JobRecord:
    """A job's record. Raises JobUnknown, ObjectDamaged, NewerFormat, StoreUnavailable."""
    if not is_job(job):
        raise JobUnknown(_unknown(job))
    try:
        return _loaded(store.get(job_key(job)), store.uri(job_key(job)))
    except ObjectNotFound:
        raise JobUnknown(_unknown(job)) from None


def change_job(store: ObjectStore, job: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
    """Replaces a job's record by what `change` makes of it; one that has ended stays. Answers what stands then.

    Raises JobUnknown, StoreUnavailable, ObjectDamaged.
    """
    found: list[JobRecord] = []

    def decide(present: Blob | None) -> bytes | None:
        if present is None:
            raise JobUnknown(_unknown(job))
        before = _loaded(present, store.uri(job_key(job)))
        after = before if before.end else change(before)
        found[:] = [after]
        return None if after == before else after.dump()

    put_reconciled(store, job_key(job), decide)
    return found[0]


def cancelled(by: str) -> Callable[[JobRecord], JobRecord]:
    """The change by which a job is to be cancelled."""

    def change(record: JobRecord) -> JobRecord:
        if record.cancelled_at:
            return record
        asked = replace(record, cancelled_at=moment(), cancelled_by=by)
        if record.taken_by:
            return asked
        # Nobody has begun: there is nothing to stop.
        return replace(asked, end=End("cancelled", asked.cancelled_at, reason=f"cancelled by {by}"))

    return change


def taken(instance: str) -> Callable[[JobRecord], JobRecord]:
    """The change by which an instance takes a job on, unless another has, or it was cancelled."""

    def change(record: JobRecord) -> JobRecord:
        if record.taken_by or record.cancelled_at:
            return record
        return replace(record, taken_by=instance, taken_at=moment())

    return change


def days_with_jobs(store: ObjectStore) -> list[str]:
    """The days (`20261127`) on which jobs were requested, in order."""
    beginnings = store.groups(f"{JOBS}/2", "-")
    return [one.removeprefix(f"{JOBS}/").removesuffix("-") for one in beginnings]


def jobs_of_day(store: ObjectStore, day: str) -> list[str]:
    """The ids of the jobs that were requested on a day, in order."""
    found = (job_of(info.key) for info in store.list(f"{JOBS}/{day}-"))
    return [one for one in found if one is not None]


def read_jobs(store: ObjectStore, ids: Sequence[str]) -> Iterator[JobRecord | ObjectStoreError]:
    """The records of some jobs, in their order; in place of one that cannot be read its error."""
    for key, blob in get_many(store, [job_key(one) for one in ids]):
        if isinstance(blob, ObjectStoreError):
            yield blob
            continue
        try:
            yield _loaded(blob, store.uri(key))
        except ObjectStoreError as error:
            yield error


def latest_jobs(store: ObjectStore, before: str = "") -> Iterator[JobRecord]:
    """The jobs, the latest first; those requested before the job with the id `before`. Damaged records are left out.

    Reads as it goes: whoever has enough stops.
    """
    for day in reversed(days_with_jobs(store)):
        if before and day > before[:8]:
            continue
        ids = [one for one in reversed(jobs_of_day(store, day)) if not before or one < before]
        for at in range(0, len(ids), 50):
            for found in read_jobs(store, ids[at : at + 50]):
                if isinstance(found, JobRecord):
                    yield found


def moment() -> str:
    """Now, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _put(store: ObjectStore, record: JobRecord) -> JobRecord:
    try:
        store.put(job_key(record.id), record.dump(), if_version=ABSENT)
    except ObjectChanged:
        return read_job(store, record.id)
    return record


def _unknown(job: str) -> str:
    return f"there is no job {job[:80]!r} (quant-assets jobs list, or GET /v1/jobs, names those there are)"


def _plain(record: JobRecord) -> dict[str, Any]:
    # orjson writes dataclasses, and an end that has not come as null.
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(record)))


def _loaded(blob: Blob, uri: str) -> JobRecord:
    try:
        facts: Any = orjson.loads(blob.data)
        refuse_newer(facts.pop("format", None), uri)
        parts = [Part(**one) for one in facts.pop("parts")]
        end = facts.pop("end", None)
        return JobRecord(**facts, parts=parts, end=End(**end) if end else None)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ObjectDamaged(f"{uri}: no record of a job ({error}); remove it") from error
