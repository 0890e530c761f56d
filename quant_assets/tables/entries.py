"""What is known of one partition of a table: its state, its object, and who is missing in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from quant_assets.market.coverage import CellState, Missing
from quant_assets.resources.object_store import ObjectInfo
from quant_assets.tables.holes import from_text, to_text

_FOOTER_FIELDS = (
    "rows",
    "content_sha256",
    "inputs_sha256",
    "expected",
    "received",
    "expected_sha256",
    "source",
    "code_version",
    "reason",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition of a table. `version` is empty where the cell has no object (closed, failed)."""

    partition: str
    state: CellState
    rows: int = 0
    size: int = 0
    version: str = ""
    content_sha256: str = ""
    inputs_sha256: str = ""
    """Hash over the cells a derived table was made from."""
    expected: int = 0
    received: int = 0
    expected_sha256: str = ""
    """Hash over the symbols that were expected."""
    missing: Sequence[Missing] = ()
    """Whoever reads it pays for it: of an entry that the manifest gave it may be unpacked only then."""
    source: str = ""
    code_version: str = ""
    reason: str = ""
    recorded_at: str = ""

    def facts(self) -> dict[str, Any]:
        """What rides in the footer of the entry's object: all but what only the store knows."""
        return {name: getattr(self, name) for name in _FOOTER_FIELDS} | {
            "partition": self.partition,
            "state": self.state.value,
            "missing": to_text(self.missing),
            "recorded_at": self.recorded_at,
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any], info: ObjectInfo | None) -> Self:
        """The entry that `facts` and the object's own facts make. Raises KeyError, ValueError on anything else."""
        return cls(
            partition=facts["partition"],
            missing=_holes(facts.get("missing", ())),
            size=info.size if info else facts.get("size", 0),
            version=info.version if info else facts.get("version", ""),
            recorded_at=facts.get("recorded_at", ""),
            state=CellState(facts["state"]),
            **{name: facts[name] for name in _FOOTER_FIELDS if name in facts},
        )

    def with_later_answers(self, recorded: Entry | None) -> Self:
        """This entry of an object, with what was `recorded` of the same content since: the day of the last question
        and the count of answers move on in the manifest alone."""
        if (
            recorded is None
            or recorded.recorded_at <= self.recorded_at
            or (recorded.content_sha256, recorded.state, recorded.expected_sha256)
            != (self.content_sha256, self.state, self.expected_sha256)
        ):
            return self
        return replace(self, missing=recorded.missing, recorded_at=recorded.recorded_at)

    def beats(self, other: Entry) -> bool:
        """Whether this entry is the newer knowledge of the two: the later object, then the later record."""
        return (self.version, self.recorded_at) > (other.version, other.recorded_at)


def _holes(found: str | Sequence[Mapping[str, Any]]) -> tuple[Missing, ...]:
    """The holes in an object's facts; in format 1 they are an object each."""
    return from_text(found) if isinstance(found, str) else tuple(Missing.from_json(hole) for hole in found)


def stamped(entry: Entry, now: datetime) -> Entry:
    """`entry`, recorded at `now` (UTC)."""
    return replace(entry, recorded_at=now.astimezone(UTC).isoformat(timespec="microseconds"))
