"""What sensors have in common: a cursor of JSON that another version may have written, and requests over a range."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import dagster as dg
import orjson

from quant_assets.defs.dagster_internals import RANGE_END_TAG, RANGE_START_TAG


def read_cursor(context: dg.SensorEvaluationContext) -> dict[str, Any]:
    """What the sensor has kept; nothing where it has kept nothing, or another version has."""
    try:
        value: object = orjson.loads(context.cursor or "{}")
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def read_list(context: dg.SensorEvaluationContext) -> set[str] | None:
    """The texts that the sensor has kept as a list; None where it has kept none, or something else."""
    try:
        return texts(orjson.loads(context.cursor or "null"))
    except orjson.JSONDecodeError:
        return None


def part(cursor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a sensor has kept of one exchange; nothing where another version has kept something else."""
    value: object = cursor.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def texts(value: object) -> set[str] | None:
    """A kept list of texts; None where another version has kept something else."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in cast("list[object]", value)):
        return None
    return set(cast("list[str]", value))


def is_later(moment: object, now: datetime) -> bool:
    """Whether a moment that a sensor has kept lies ahead; None is never, and what is no moment has passed."""
    if moment is None:
        return True
    try:
        return datetime.fromisoformat(str(moment)) > now
    except (TypeError, ValueError):
        return False


def dumped(cursor: object) -> str:
    """A cursor as text."""
    return orjson.dumps(cursor).decode()


def skipped(reason: str, cursor: object) -> dg.SensorResult:
    """No run, for a reason that the UI shows."""
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=dumped(cursor))


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags of a run over a range of partition keys."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}
