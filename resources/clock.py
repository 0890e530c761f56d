"""The present moment as a Dagster resource, so that a run can be replayed in the past."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg


class ClockResource(dg.ConfigurableResource["ClockResource"]):
    """`fixed`: an instant in ISO 8601 with its zone, or None for the real clock."""

    fixed: str | None = None

    def now(self) -> datetime:
        """The present moment, UTC."""
        return datetime.fromisoformat(self.fixed).astimezone(UTC) if self.fixed else datetime.now(UTC)
