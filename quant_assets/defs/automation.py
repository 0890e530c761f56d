"""Automation conditions that several tables share."""

from __future__ import annotations

from typing import Any, cast

import dagster as dg

from quant_assets.defs.asset_checks import BLOCKING, check_key
from quant_assets.defs.dagster_internals import failed_partitions
from quant_assets.tables.layout import DAILY


class CellHasError(dg.AutomationCondition[dg.AssetKey]):
    """True of the daily cells whose latest result of the blocking check is an ERROR; of other assets, never.

    Not `AutomationCondition.check_failed`: the check has no partitions, its results have. Being no condition of
    Dagster's own, it has to be evaluated in the code location (`use_user_code_server` of its sensor).
    """

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "cell_has_error"

    def evaluate(self, context: dg.AutomationContext[Any]) -> dg.AutomationResult[Any]:
        """The candidates among the cells with an error."""
        view = context.asset_graph_view
        grid = view.asset_graph.get(context.key).partitions_def
        if context.key != dg.AssetKey(DAILY) or grid is None:
            return dg.AutomationResult(context, context.get_empty_subset())
        key = check_key(BLOCKING)
        known = failed_partitions(view.instance, [key])[key]
        failed = view.get_subset_from_partition_keys(context.key, grid, known)
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(failed))


def no_error_upstream() -> dg.AutomationCondition[Any]:
    """True where no cell that a partition rests on has an ERROR.

    Not `all_deps_blocking_checks_passed`, which also stops what rests on cells whose passing was not recorded.
    """
    failed = cast("dg.AutomationCondition[Any]", CellHasError())
    return (~dg.AutomationCondition.any_deps_match(failed)).with_label("no_error_upstream")
