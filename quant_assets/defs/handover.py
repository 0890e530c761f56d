"""What a command line and a run that it executes in its own process hand each other, so that nothing is found twice.

A run that Dagster's daemon starts has none of it: it plans for itself, and its report is read from the store.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from quant_assets.ingest.plan import Plan
from quant_assets.ingest.report import FillReport
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.run_view import RunView


@dataclass(slots=True)
class Handover:
    """`plan`: what the command line has found to be missing at a `turn` (see `fill_run.fill_turn`). `reports`: what
    the run's fills came to."""

    plan: Plan | None = None
    turn: str = ""
    reports: list[FillReport] = field(default_factory=list[FillReport])

    def plan_for(self, days: Collection[date], turn: str, store: ObjectStore) -> Plan | None:
        """The plan for some of its days, if no other fill of the exchange has begun or ended since it was made.

        Without one what `store` has kept of the time before the run's turn came is forgotten.
        """
        if self.plan is not None and turn == self.turn:
            return self.plan.of_days(days)
        if isinstance(store, RunView):
            store.forget()
        return None


_by_run: dict[str, Handover] = {}


@contextmanager
def handing_over(run_id: str, handover: Handover) -> Generator[None]:
    """Has the run find `handover` while the context lasts."""
    _by_run[run_id] = handover
    try:
        yield
    finally:
        del _by_run[run_id]


def handed_over(run_id: str) -> Handover:
    """What was handed to a run; an empty one where nobody did."""
    return _by_run.get(run_id, Handover())
