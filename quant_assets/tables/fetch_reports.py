"""Fetch reports: what a run asked for and what came of it, one small JSON object a run and exchange."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, cast

import orjson

from quant_assets.resources.object_store import (
    ABSENT,
    FORMAT,
    NewerFormat,
    ObjectDamaged,
    ObjectStore,
    refuse_newer,
)
from quant_assets.tables.layout import FETCH_REPORTS, report_key, reports_prefix, run_in, table_of

_KINDS: dict[str, type] = {
    "run": str, "exchange": str, "result": str, "requests": int, "succeeded": int, "failed": dict, "cells": dict,
    "seconds": dict, "error": str,
}  # fmt: skip
"""Of what kind the facts are that are read of reports, where they are there."""


def write_report(
    store: ObjectStore, exchange: str, started: datetime, run: str, facts: dict[str, Any]
) -> str:
    """Keeps a run's report; answers its key. Raises StoreUnavailable, ObjectChanged when there is one already."""
    key = report_key(exchange, started, run)
    data = orjson.dumps({"format": FORMAT, **facts}, option=orjson.OPT_INDENT_2, default=str)
    store.put(key, data, if_version=ABSENT)
    return key


def read_reports(
    store: ObjectStore, exchange: str, last: int = 1, *, damaged: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The last reports of an exchange, oldest first. Raises StoreUnavailable; ObjectDamaged, NewerFormat, unless
    there is a `damaged` that they are put into, why by key."""
    keys = [i.key for i in store.list(reports_prefix(exchange)) if table_of(i.key) == FETCH_REPORTS]
    found: list[dict[str, Any]] = []
    for key in keys[-last:]:
        try:
            found.append(_report(store, key))
        except (ObjectDamaged, NewerFormat) as error:
            if damaged is None:
                raise
            damaged[key] = str(error)
    return found


def reports_of(store: ObjectStore, exchange: str, run: str) -> list[dict[str, Any]]:
    """The reports of the runs of an exchange whose id begins with `run`, oldest first. Raises as `read_reports`."""
    keys = [i.key for i in store.list(reports_prefix(exchange)) if table_of(i.key) == FETCH_REPORTS]
    found = [_report(store, key) for key in keys if run_in(key).startswith(run[:8])]
    return [report for report in found if str(report.get("run", "")).startswith(run)]


def reports_since(store: ObjectStore, exchange: str, since: date) -> Iterator[dict[str, Any]]:
    """The reports of an exchange's runs that were started since a day (UTC), the latest first; damaged ones are left
    out. Reads as it goes. Raises StoreUnavailable."""
    keys = [i.key for i in store.list(reports_prefix(exchange)) if table_of(i.key) == FETCH_REPORTS]
    for key in reversed(keys):
        if key.removeprefix(reports_prefix(exchange)) < since.isoformat():
            return
        with contextlib.suppress(ObjectDamaged, NewerFormat):
            yield _report(store, key)


def parse_report(data: bytes, uri: str) -> dict[str, Any]:
    """A report as it was written; what it does not say is not in it. Raises ObjectDamaged, NewerFormat."""
    try:
        report: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ObjectDamaged(f"{uri}: no valid JSON ({error}); remove it") from error
    if not isinstance(report, dict):
        raise ObjectDamaged(f"{uri}: no report; remove it")
    found = cast("dict[str, Any]", report)
    refuse_newer(found.pop("format", None), uri)
    wrong = [name for name, kind in _KINDS.items() if name in found and not isinstance(found[name], kind)]
    for name in ("failed", "cells", "seconds"):
        # What is counted over all reports: one that cannot be would be in the way of all.
        counts = cast("dict[str, object]", {} if name in wrong else found.get(name, {}))
        wrong += [name] if any(not isinstance(count, int | float) for count in counts.values()) else []
    try:
        datetime.fromisoformat(found.get("started", "2000-01-03"))
    except (TypeError, ValueError):
        wrong.append("started")
    if wrong:
        raise ObjectDamaged(f"{uri}: no report: unusable {', '.join(dict.fromkeys(wrong))}; remove it")
    return found


def _report(store: ObjectStore, key: str) -> dict[str, Any]:
    return parse_report(store.get(key).data, store.uri(key))
