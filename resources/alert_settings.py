"""The settings of alerts: a part of `Settings`."""

from __future__ import annotations

import math
import re
from datetime import time
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

_HOURS = re.compile(r"(\d\d?:\d\d)-(\d\d?:\d\d)")
RUN_MINUTES = {"*": 20.0, "backfill": 720.0}


class AlertSettings(BaseSettings):
    """What is told to whom, and when. `alert_urls` holds secrets, and is shown nowhere."""

    alert_urls: SecretStr = SecretStr("")
    """Where alerts go: addresses as apprise has them, separated by spaces. Empty: nowhere."""
    alert_quiet: Annotated[dict[str, tuple[time, time]], NoDecode] = Field(default={})
    """Hours in which nothing is told, in the exchange's zone: `22:00-07:00` for all, or by exchange; `*` is for all
    others, and in UTC for what concerns no exchange."""
    alert_digest: time | None = time(6, 0)
    """When the daily digest is told, UTC. None (`off`): never."""
    alert_run_minutes: Annotated[dict[str, float], NoDecode] = Field(default=RUN_MINUTES)
    """How long a run may take, by job; `backfill` is for runs over a range of partitions, `*` for all others."""
    alert_waiting_runs: int = Field(default=20, ge=1)
    """How many runs may wait in the queue before it is told."""
    alert_held: int = Field(default=10, ge=1)
    """How many new claims of an exchange may come into quarantine on a day before it is told."""

    @field_validator("alert_quiet", mode="before")
    @classmethod
    def _split_hours(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        hours: dict[str, tuple[str, str]] = {}
        for part in filter(None, (piece.strip() for piece in value.split(","))):
            code, equals, span = part.rpartition("=")
            if (found := _HOURS.fullmatch(span.strip())) is None:
                raise ValueError(
                    "write hours from-until, for all or by exchange, e.g. 22:00-07:00 or ASX=20:00-08:00"
                )
            first, last = found[1].zfill(5), found[2].zfill(5)
            if first == last:
                raise ValueError("quiet hours that end when they begin are none: leave them out")
            hours[code.strip() if equals else "*"] = (first, last)
        return hours

    @field_validator("alert_digest", mode="before")
    @classmethod
    def _digest_or_off(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        text = value.strip().lower()
        if text in ("", "off"):
            return None
        if not re.fullmatch(r"\d\d?:\d\d", text):
            raise ValueError("write a time of the day in UTC, e.g. 06:00, or off")
        return text.zfill(5)

    @field_validator("alert_run_minutes", mode="before")
    @classmethod
    def _split_minutes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        minutes: dict[str, str] = {}
        for part in filter(None, (piece.strip() for piece in value.split(","))):
            job, equals, number = part.rpartition("=")
            minutes[job.strip() if equals else "*"] = number.strip()
        return {**RUN_MINUTES, **minutes}

    @field_validator("alert_run_minutes")
    @classmethod
    def _positive(cls, value: dict[str, float]) -> dict[str, float]:
        if any(not 0 < minutes < math.inf for minutes in value.values()):
            raise ValueError("write minutes, for all runs or by job, e.g. 20 or 20,sweep_us=240,backfill=720")
        return value
