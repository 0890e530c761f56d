"""An alert, and what is kept of alerts between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self, cast


class Kind(StrEnum):
    """What an alert is about."""

    FAILED = "run failed"
    PARTIAL = "run partial"
    LONG = "run takes long"
    BACKLOG = "runs wait"
    STALE = "data stale"
    COVERAGE = "coverage low"
    QUARANTINE = "quarantine grows"
    CHANNEL = "channel dead"
    UNREADABLE = "store unreadable"


EVENTS = frozenset({Kind.FAILED, Kind.PARTIAL})
"""Kinds that happen at a moment; the others last until they are found no more."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know. Two alerts of one `subject` are the same one."""

    kind: Kind
    subject: str
    """What it is about, e.g. `US 2024-03-15`."""
    text: str
    """In a line or two: what is wrong, and what to do."""
    exchange: str = ""
    """The exchange whose quiet hours count; empty: those of all (`*`)."""

    @property
    def key(self) -> str:
        """By which an alert is known again."""
        return f"{self.kind.value}|{self.subject}"

    @property
    def title(self) -> str:
        """The message's title."""
        return f"quant-assets: {self.kind.value}: {self.subject}"


@dataclass(slots=True)
class Kept:
    """What is known of an alert that was found. Moments are ISO 8601, UTC."""

    alert: Alert
    since: str
    told: str = ""
    """When it was handed to the channels; empty: it waits for the end of quiet hours."""
    over: str = ""
    """When it was found no more; empty: it lasts."""


@dataclass(slots=True)
class Memory:
    """All that is kept between two looks. `to_json` and `from_json` are inverses."""

    alerts: dict[str, Kept] = field(default_factory=dict[str, Kept])
    runs_after: float = 0.0
    """The moment (seconds since 1970, real clock) up to which runs that ended have been seen; 0: never looked."""
    watched_since: float = 0.0
    """The moment (as `runs_after`) of the first look."""
    seen: list[str] = field(default_factory=list[str])
    """The ids of runs that the last look has seen to have ended."""
    digest: str = ""
    """The day (UTC) of the last digest."""
    undelivered: dict[str, list[tuple[str, str]]] = field(default_factory=dict[str, list[tuple[str, str]]])
    """By channel: messages (title, body) that it has not taken, oldest first."""
    dead: dict[str, str] = field(default_factory=dict[str, str])
    """By channel that took nothing the last time: why."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """What was kept; nothing of what another version has kept otherwise."""
        try:
            known = cast("Mapping[str, Any]", value)
            alerts = {
                str(key): Kept(
                    Alert(
                        Kind(one["alert"]["kind"]),
                        *(str(one["alert"][n]) for n in ("subject", "text", "exchange")),
                    ),
                    *(str(one[name]) for name in ("since", "told", "over")),
                )
                for key, one in known["alerts"].items()
            }
            undelivered = {
                str(name): [(str(title), str(body)) for title, body in some]
                for name, some in known["undelivered"].items()
            }
            dead = {str(name): str(why) for name, why in known["dead"].items()}
            after = float(known["runs_after"])
            since = float(known.get("watched_since", after))
            seen = [str(run) for run in known.get("seen", [])]
            return cls(alerts, after, since, seen, str(known["digest"]), undelivered, dead)
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls()


def iso(moment: datetime) -> str:
    """A moment as it is kept."""
    return moment.isoformat(timespec="seconds")
