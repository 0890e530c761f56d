"""What a laid store is like, and where its parts lie."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

CODES = ("ASX", "US")
LAST = date(2024, 3, 1)
"""The last session that is laid."""
NEXT = date(2024, 3, 4)
"""The session after it, of both exchanges."""
END = date(2024, 3, 8)
"""Where the generated histories end: what a source has beyond the last session laid."""
NOW = datetime(2024, 3, 1, 23, 0, tzinfo=UTC)
"""After the last close of the last session, New York's."""


@dataclass(frozen=True)
class Shape:
    """How large a store is: symbols of all exchanges together, years through `LAST`, and the share of all listed
    symbols (0 to 1) that is suspended on a day, besides those that the generator suspends once."""

    symbols: int = 10_000
    years: int = 20
    suspended: float = 0.0
    seed: int = 1

    @property
    def first(self) -> date:
        """The first day."""
        return date(LAST.year - self.years, LAST.month, LAST.day) + timedelta(days=3)

    def symbols_of(self, code: str) -> int:
        """How many of the symbols an exchange has."""
        share, rest = divmod(self.symbols, len(CODES))
        return share + (CODES.index(code) < rest)

    def days(self) -> list[date]:
        """Every day of the grid, Monday to Friday."""
        days = [self.first + timedelta(days=n) for n in range((LAST - self.first).days + 1)]
        return [day for day in days if day.weekday() < 5]


@dataclass(frozen=True)
class Laid:
    """A laid store: a folder with the tables, Dagster's home and the list of symbols."""

    folder: Path

    @property
    def store(self) -> Path:
        """The tables."""
        return self.folder / "store"

    @property
    def universe(self) -> Path:
        """The symbols per exchange, as the settings name them."""
        return self.folder / "universe.yaml"

    @property
    def shape(self) -> Shape:
        """What was laid. Raises FileNotFoundError where laying did not come to its end."""
        return Shape(**json.loads((self.folder / "shape.json").read_text(encoding="utf-8")))

    def finished(self, shape: Shape) -> None:
        """Says that all of it is there."""
        (self.folder / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
