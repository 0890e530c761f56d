"""Dagster's queue of runs, told whose cells each run fills: the instance lets one run of an exchange go at a time.

Jobs bring the tag `quant_assets/exchange`; the runs of a backfill that Dagster's pages ask for have none. Imports
nothing heavy: whoever opens the instance loads it, and workers fork.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from quant_assets.defs.jobs import EXCHANGE_TAG
from quant_assets.defs.under_way import filled_exchange


class ExchangeRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's own; what fills the daily cells of one exchange has that exchange's tag before it is queued."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        exchange = filled_exchange(run)
        if exchange is not None and EXCHANGE_TAG not in run.tags:
            self._instance.add_run_tags(run.run_id, {EXCHANGE_TAG: exchange})
        return super().submit_run(context)
