"""What a run over one exchange has at hand: made once, and handed to everything that the run does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from quant_assets.exchanges import Exchange
from quant_assets.ingest.plan import LOOK_BACK_SESSIONS, Plan
from quant_assets.ingest.report import FillReport
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.source import FetchResult, PriceSource
from quant_assets.resources.turns import Turns
from quant_assets.tables.manifest import Entry


@dataclass(frozen=True, slots=True)
class FillRules:
    """What the settings demand of every fill of an exchange."""

    spill_folder: Path
    """Where fetched rows wait on disk until they are written."""
    look_back: int = LOOK_BACK_SESSIONS
    """Sessions before the last one asked for that are reconciled with the same answers."""
    min_coverage: float = 0.0
    """The share (0 to 1) of expected symbols below which a cell is `failed`."""
    answers_folder: Path | None = None
    """Where answers are kept until their cells are written (`ingest.kept`); None keeps none."""
    turns: Turns | None = None
    """Who fills an exchange, one at a time; None: among the processes beside `spill_folder`."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is informed how far a fill has got."""

    plan: Callable[[Plan], None] = lambda _: None
    symbol: Callable[[FetchResult], None] = lambda _: None
    cell: Callable[[date], None] = lambda _: None
    cells: Callable[[FillReport, Mapping[date, Entry]], None] = lambda _, __: None
    """A batch of cells is written and in the manifest: those asked for, and others that were put."""


def _new_run() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class FillContext:
    """One run over one exchange. `clock` answers the moment (aware datetime); `run` is the id under which the ledger,
    the quarantine and the fetch report know the run."""

    exchange: Exchange
    store: ObjectStore
    source: PriceSource
    clock: Callable[[], datetime]
    rules: FillRules
    run: str = field(default_factory=_new_run)
    listeners: Listeners = Listeners()
    scheduled_by: str = ""
    """The schedule or sensor that has asked for the run, for the audit record; empty where somebody else has."""

    @property
    def code(self) -> str:
        """The exchange's code."""
        return self.exchange.code
