"""A plan that the command line has made is the run's own only if no other fill has begun or ended since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.defs.fill_run import fill_turn, one_fill_at_a_time
from quant_assets.defs.handover import Handover
from quant_assets.ingest.context import FillRules
from quant_assets.ingest.plan import Days, Plan
from quant_assets.ingest.wanted import Wanted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.turns import FileTurns

DAY = date(2013, 2, 13)


def fill(home: Path, during: Callable[[], object] = lambda: None) -> str:
    """A fill of US: what it finds as its turn."""
    with one_fill_at_a_time(dg.build_op_context().log, FillRules(home / "spill"), "US") as turn:
        during()
    return turn


def killed(home: Path) -> None:
    """A fill that did not get as far as to say that it has ended."""
    left: list[str] = []
    fill(home, lambda: left.append(fill_turn(FileTurns(home / "locks"), "US")))
    (home / "locks" / "fill-US.turn").write_text(left[0])


@pytest.mark.parametrize(
    "before", [None, fill, killed], ids=["the first", "after another", "after a killed one"]
)
def test_plan_for_takes_a_plan_only_if_no_other_fill_came_between(
    tmp_path: Path, before: Callable[[Path], object] | None
) -> None:
    if before:
        before(tmp_path)
    plan = Plan(Days([DAY], [], []), Wanted.of({DAY: {"IBM"}}))
    store = LocalObjectStore(tmp_path / "store")

    def taken(between: Callable[[Path], object] | None = None) -> bool:
        handover = Handover(plan, fill_turn(FileTurns(tmp_path / "locks"), "US"))
        if between:
            between(tmp_path)
        return handover.plan_for([DAY], fill(tmp_path), store) is not None

    # One that was made while a fill ran that was killed then knows only part of what that one has written.
    assert taken() is (before is not killed)
    assert taken()
    assert not taken(fill)
    assert not taken(killed)
    with one_fill_at_a_time(dg.build_op_context().log, FillRules(tmp_path / "spill"), "US"):
        handover = Handover(plan, fill_turn(FileTurns(tmp_path / "locks"), "US"))
    assert handover.plan_for([DAY], fill(tmp_path), store) is None


def test_one_fill_at_a_time_lets_the_error_of_a_full_disk_through(tmp_path: Path) -> None:
    def no_room() -> None:
        turn = tmp_path / "locks" / "fill-US.turn"
        turn.unlink()
        # Nothing can be written there any more.
        turn.mkdir()
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        fill(tmp_path, no_room)
