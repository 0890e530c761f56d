"""Ids by which what a read of prices rests on can be read again, or is told to be gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.market.bars import content_sha256


class SnapshotMismatch(QuantAssetsError, ValueError):
    """The store does not give what a snapshot read; the message names the snapshot and what it was taken of."""


@dataclass(frozen=True, slots=True)
class Used:
    """The as-traded rows that a read rests on."""

    rows: pl.DataFrame
    changes: Mapping[str, Sequence[date]] = field(default_factory=dict[str, list[date]])
    """By symbol that several companies had the days from which on it was another's."""
    companies_known_at: datetime | None = None
    """When the last of what the read knows of companies became known."""

    def id(self, moment: datetime | None) -> str:
        """The moment is that of the last row that became known: a run that is writing now began to know later."""
        known = moment or max(
            (
                at
                for at in (self.rows["fetched_at"].max(), self.companies_known_at)
                if isinstance(at, datetime)
            ),
            default=datetime(1970, 1, 1, tzinfo=UTC),
        )
        digest = content_sha256(self.rows, leave_out=("exchange",))
        return f"{known.astimezone(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}-{digest[:32]}"


def parse_snapshot(text: str) -> datetime:
    """The moment of a snapshot's id. Raises ValueError for what is none."""
    moment, dash, digest = text.partition("-")
    try:
        parsed = datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        parsed = None
    if parsed is None or not dash or len(digest) != 32:
        raise ValueError(f"{text!r} is no snapshot id (snapshot_id(…) makes one)")
    return parsed
