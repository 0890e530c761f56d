"""Fetch reports: what a run asked for and what came of it, one small JSON object a run and exchange."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from quant_assets.resources.object_store import ABSENT, ObjectStore


def report_key(exchange: str, started: datetime, run: str) -> str:
    """Where a run's report is kept; keys sort by the moment the run started."""
    moment = started.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    return f"fetch_reports/exchange={exchange}/{moment}-{run[:8]}.json"


def write_report(
    store: ObjectStore, exchange: str, started: datetime, run: str, facts: dict[str, Any]
) -> str:
    """Keeps a run's report; answers its key. Raises StoreUnavailable, ObjectChanged when there is one already."""
    key = report_key(exchange, started, run)
    store.put(key, orjson.dumps(facts, option=orjson.OPT_INDENT_2, default=str), if_version=ABSENT)
    return key


def read_reports(store: ObjectStore, exchange: str, last: int = 1) -> list[dict[str, Any]]:
    """The last reports of an exchange, oldest first."""
    keys = [info.key for info in store.list(f"fetch_reports/exchange={exchange}/")]
    return [orjson.loads(store.get(key).data) for key in keys[-last:]]
