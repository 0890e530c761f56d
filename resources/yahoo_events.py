"""The events of a chart answer of Yahoo's: splits, dividends and capital gains, each read on its own. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, cast

import orjson
import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.source import DIVIDENDS_SCHEMA, SPLITS_SCHEMA, ActionKind, UnreadableEvent

NO_MOMENT = (TypeError, ValueError, OverflowError, OSError)
"""What comes of a stamp that is no moment."""

_LONGEST_TEXT = 200


class UnusableAnswer(QuantAssetsError):
    """The body is no answer to the request; the message is the reason."""


def mapping(value: object) -> dict[str, Any]:
    """A JSON object; anything else is an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def optional(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A mapping that may be left out. Something else in its place would be events lost in silence."""
    found = mapping(holder.get(name))
    if holder.get(name) and not found:
        raise UnusableAnswer(f"{name} that cannot be read")
    return found


_KINDS: tuple[tuple[str, ActionKind], ...] = (
    ("splits", "split"),
    ("dividends", "dividend"),
    ("capitalGains", "capital_gain"),
)


def read_events(
    events: Mapping[str, Any], day_of: Callable[[Any], date], currency: str | None
) -> tuple[pl.DataFrame, pl.DataFrame, list[UnreadableEvent]]:
    """What the events of an answer say; one that cannot be read fails nothing but itself.

    Args:
        events: the answer's `events`: blocks of events, each listed under its stamp.
        day_of: the session of a stamp; raises one of NO_MOMENT.
        currency: the listing's own, None where the answer names none.

    Returns:
        Splits (SPLITS_SCHEMA), dividends and capital gains (DIVIDENDS_SCHEMA), and what cannot be read.

    Raises:
        UnusableAnswer: a block is none, so that nobody knows what it held.
    """
    splits: list[tuple[date, float]] = []
    dividends: list[tuple[date, float, str, str | None]] = []
    unreadable: list[UnreadableEvent] = []
    for block, kind in _KINDS:
        for key, served in optional(events, block).items():
            event = mapping(served)
            try:
                day = day_of(event["date"])
                if kind == "split":
                    splits.append((day, _ratio(event)))
                else:
                    dividends.append((day, _amount(event), kind, _other_currency(event, currency)))
            except (KeyError, *NO_MOMENT):
                unreadable.append(UnreadableEvent(_stated_day(event, key, day_of), kind, _text(served, kind)))
    return _frame(splits, SPLITS_SCHEMA), _frame(dividends, DIVIDENDS_SCHEMA), unreadable


def _frame(rows: Sequence[tuple[object, ...]], schema: pl.Schema) -> pl.DataFrame:
    # Column by column: polars takes longer to look at each of a few rows.
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    typed = zip(schema.items(), columns, strict=True)
    return pl.DataFrame([pl.Series(name, list(values), dtype=dtype) for (name, dtype), values in typed])


def _ratio(event: Mapping[str, Any]) -> float:
    """New shares per old. Raises KeyError, TypeError, ValueError, OverflowError."""
    denominator = float(event["denominator"])
    ratio = float(event["numerator"]) / denominator if denominator else math.inf
    if not 0 < ratio < math.inf:
        raise ValueError("a ratio that no shares can have")
    return ratio


def _amount(event: Mapping[str, Any]) -> float:
    """Raises KeyError, TypeError, ValueError, OverflowError."""
    amount = float(event["amount"])
    if not math.isfinite(amount):
        raise ValueError("an amount that nobody can be paid")
    return amount


def _other_currency(event: Mapping[str, Any], currency: str | None) -> str | None:
    """The currency that the event names, None for the listing's own. Raises TypeError."""
    named = event.get("currency")
    if named is not None and not isinstance(named, str):
        raise TypeError("a currency that is no text")
    return named if named and named != currency else None


def _stated_day(event: Mapping[str, Any], key: str, day_of: Callable[[Any], date]) -> date | None:
    """The date of an unreadable event: its own, or the one that Yahoo lists it under."""
    for stamp in (event.get("date"), key):
        try:
            return day_of(int(cast("Any", stamp)))
        except NO_MOMENT:
            continue
    return None


def _text(served: object, kind: ActionKind) -> str:
    """What the source wrote for the ratio or the amount; the whole event where that is not what is wrong."""
    event = mapping(served)
    names = ("numerator", "denominator") if kind == "split" else ("amount",)
    try:
        _ratio(event) if kind == "split" else _amount(event)
    except (KeyError, *NO_MOMENT):
        if all(name in event for name in names):
            if isinstance(ratio := event.get("splitRatio"), str):
                return ratio[:_LONGEST_TEXT]
            return ":".join(str(event[name]) for name in names)[:_LONGEST_TEXT]
    return orjson.dumps(served).decode()[:_LONGEST_TEXT]
