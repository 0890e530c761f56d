"""The bars of the command line say how far the work got."""

from __future__ import annotations

import pytest

from quant_assets.cli.console import ProgressWatcher


@pytest.mark.parametrize(("success", "shown"), [(True, "30/30 done"), (False, "29/30 failed")])
def test_a_bar_reaches_its_end_only_for_work_that_succeeded(success: bool, shown: str) -> None:
    with ProgressWatcher() as watcher:
        watcher.run_started("daily_prices US", 10)
        watcher.planned("US", 10, 10)
        for _ in range(30):
            watcher.symbol_done()
        watcher.run_ended(success=success)
    assert _text(watcher) == shown


def test_a_bar_that_was_made_for_less_grows_with_the_work() -> None:
    with ProgressWatcher() as watcher:
        watcher.run_started("rebuild instance", 0)
        for _ in range(1000):
            watcher.event()
        assert _text(watcher) == "1000/1000 recording in Dagster"
        watcher.run_ended(success=True)
    assert _text(watcher) == "1000/1000 done"


def _text(watcher: ProgressWatcher) -> str:
    (task,) = watcher._progress.tasks
    return f"{task.completed:.0f}/{task.total:.0f} {task.fields['phase']}"
