"""Automation conditions that several tables share."""

from __future__ import annotations

from typing import Any

import dagster as dg


def no_error_upstream() -> dg.AutomationCondition[Any]:
    """True where no cell that a partition rests on has an ERROR.

    Not `all_deps_blocking_checks_passed`, which also stops what rests on cells whose passing was not recorded.
    """
    failed = dg.AutomationCondition.any_checks_match(
        dg.AutomationCondition.check_failed(), blocking_only=True
    )
    return (~dg.AutomationCondition.any_deps_match(failed)).with_label("no_error_upstream")
