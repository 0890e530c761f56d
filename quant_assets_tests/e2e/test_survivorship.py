"""The backtest of docs/survivorship.md over a made-up exchange, beside the simulator's truth."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_listings.drawing import Shape, draw_world
from benchmarks.simulated_listings.platform import Platform
from benchmarks.simulated_listings.world import INDEX, LISTED, World
from quant_assets.replay.launch import ReplayConfig, start

DOCS = Path(__file__).parents[2] / "docs" / "survivorship.md"
SHAPE = Shape(
    date(2019, 1, 2), date(2021, 12, 31), companies=8, listings=4, delistings=4, suspensions=1, index=6,
    forgotten=(66, 90), yearly=True,
)  # fmt: skip
SEED = 9


def quarter_ends(world: World) -> list[date]:
    days = world.sessions
    return [
        day
        for day, after in zip(days, [*days[1:], None], strict=True)
        if after is None or (day.year, (day.month - 1) // 3) != (after.year, (after.month - 1) // 3)
    ]


def refresh(platform: Platform, world: World, at: int) -> None:
    """The lists that are published on a session, and the history of the symbols that are new in them."""
    known = platform.symbols()
    for name in (LISTED, INDEX):
        platform.publish(world, name, at)
    assert platform.refresh() == 0
    platform.make_catalog()
    if known and (new := platform.symbols() - known):
        # They were listed in the quarter that is over.
        platform.fill(world.sessions[max(0, at - 60) : at + 1], new)


@pytest.mark.slow
def test_the_backtest_of_the_docs_earns_what_the_simulator_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = draw_world(SEED, SHAPE)
    world.history().write_csv(tmp_path / "history.csv")
    turns = [publication.at for publication in world.published[INDEX]]
    config = ReplayConfig(
        history_files=[(tmp_path / "history.csv", "as_traded")], spells=list(world.spells()), now="2019-01-01"
    )
    with start(config) as server:
        platform = Platform(tmp_path / "home", server, [LISTED, INDEX], monkeypatch.setenv)
        # Two of eight are more than a refresh believes to be gone.
        monkeypatch.setenv("QUANT_ASSETS_UNIVERSE_SHRINK", "50")
        filled = -1
        for day in sorted({*(world.sessions[at] for at in turns), *quarter_ends(world)}):
            at = world.at(day)
            platform.set_clock(platform.evening(day))
            if filled >= 0:
                platform.make_catalog()
                platform.fill(world.sessions[filled + 1 : at + 1])
            if at in turns:
                refresh(platform, world, at)
                if filled < 0:
                    platform.fill(world.sessions[: at + 1])
            filled = at
        platform.make_history(world.sessions[0], world.sessions[-1])
    text = DOCS.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), found)
    assert found["days"] == [str(world.sessions[at]) for at in turns]
    then = world.equal_weighted(INDEX, turns)
    todays = world.equal_weighted(INDEX, turns, world.in_force(INDEX, turns[-1]).members)
    assert found["then"] == pytest.approx(then, abs=1e-9)
    assert found["today"] == pytest.approx(todays, abs=1e-9)
    assert todays > then + 0.1
    # Both stand in the docs as they are.
    assert f"members of each day: {then:+.1%}   today's members: {todays:+.1%}\n" in text
    assert f"has {then:+.1%} and {todays:+.1%}:" in text
