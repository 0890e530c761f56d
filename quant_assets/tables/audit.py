"""Who did what to a store, and what came of it: one small JSON object an operation, added and never changed.

Jobs that were asked for (`tables.jobs`) and fills that Dagster's schedules and sensors start (`tables.fetch_reports`)
have a record of their own already, and are not written down twice.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import orjson

from quant_assets.resources.object_store import (
    ABSENT,
    FORMAT,
    MARKER,
    ObjectDamaged,
    ObjectStore,
    ObjectStoreError,
    get_many,
    refuse_newer,
)
from quant_assets.tables.layout import AUDIT, CATALOG, audit_key, audit_prefix, object_key, table_of

_AT_ONCE = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. Moments are ISO texts, UTC."""

    at: str
    """When it began."""
    who: str
    """The name of an API's key, `user@machine`, or the schedule or sensor."""
    via: str
    """`api`, `cli` or `dagster`."""
    what: str
    """The command, the route, the job."""
    result: str
    """`ok`, `partial`, `failed`, `refused`, `interrupted`; of a job its status."""
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    ended_at: str = ""
    detail: str = ""
    """Why it was refused or failed, in one line."""
    ref: str = ""
    """The id of the job or run."""


def record(store: ObjectStore, operation: Operation) -> str:
    """Writes an operation down; answers its key. Raises StoreUnavailable."""
    key = audit_key(datetime.fromisoformat(operation.at), secrets.token_hex(4))
    store.put(key, orjson.dumps({"format": FORMAT, "operation": operation}, default=str), if_version=ABSENT)
    return key


def write_down(store: ObjectStore, operation: Operation) -> bool:
    """Keeps an operation that is over. Where the store takes none the log has it: what was done has been done."""
    try:
        # A folder or bucket that is no store of ours does not become one by this.
        if store.head(MARKER) or store.head(object_key(CATALOG)):
            record(store, operation)
            return True
    except (ObjectStoreError, OSError) as error:
        _log.warning("audit record not written (%s): %s", error, operation)
    return False


def operations(store: ObjectStore, since: date) -> Iterator[Operation]:
    """The operations that were written down since a day (UTC), the latest first. Damaged ones are left out.

    Reads as it goes: whoever has enough stops. Raises StoreUnavailable.
    """
    for month in reversed(store.groups(f"{AUDIT}/", "/")):
        if month < audit_prefix(since.year, since.month):
            return
        keys = [info.key for info in store.list(month) if table_of(info.key) == AUDIT]
        keys = [key for key in reversed(keys) if key.rpartition("/")[2][:8] >= f"{since:%Y%m%d}"]
        for at in range(0, len(keys), _AT_ONCE):
            for key, blob in get_many(store, keys[at : at + _AT_ONCE]):
                if isinstance(blob, ObjectStoreError):
                    continue
                try:
                    yield _loaded(blob.data, store.uri(key))
                except ObjectStoreError:
                    continue


def now() -> str:
    """The real moment, whatever clock the platform was given: operations are no part of a replayed past."""
    return datetime.now(UTC).isoformat()


def _loaded(data: bytes, uri: str) -> Operation:
    try:
        facts: Any = orjson.loads(data)
        refuse_newer(facts.get("format"), uri)
        return Operation(**facts["operation"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ObjectDamaged(f"{uri}: no record of an operation ({error}); remove it") from error
