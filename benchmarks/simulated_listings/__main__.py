"""Years of an exchange whose listings come and go, lived through session by session against a replay server.

    python -m benchmarks.simulated_listings --seed 1 --years 5 --symbols 40

Every evening the catalog is made and the session filled; on the first session of each week the lists of both
universes are published and `refresh-universe` takes them. Symbols that are new get their history, and every tenth
evening what is missing is asked for again. At the end membership, delistings, companies and prices are compared
with the truth. One line at the end; exit code 1 unless all is as it should be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from benchmarks.simulated_listings.drawing import Shape, draw_world
from benchmarks.simulated_listings.judge import judge
from benchmarks.simulated_listings.platform import Platform
from benchmarks.simulated_listings.world import INDEX, LISTED, World
from quant_assets.replay.launch import ReplayConfig, start

HEAL_EVERY, HEALED = 10, 40
"""Every how many sessions what is missing is asked for again, and of how many last sessions."""
_END_HEALS = 3


def make_shape(years: int, symbols: int) -> Shape:
    """A shape with its events in proportion."""
    some = max(2, symbols * years // 40)
    return Shape(
        date(2018, 1, 2), date(2017 + years, 12, 28), companies=symbols, listings=2 * some, delistings=2 * some,
        renames=some, suspensions=some, reuses=some, decoys=max(1, some // 2), mistakes=max(1, some // 2),
        index=max(4, symbols // 3),
    )  # fmt: skip


def live(world: World, platform: Platform) -> None:
    """All sessions, one after the other."""
    turns = {publication.at for publication in world.published[LISTED]}
    known: set[str] = set()
    started = time.process_time()
    for at, day in enumerate(world.sessions):
        platform.set_clock(platform.evening(day) + timedelta(minutes=5))
        if at in world.broken_lists:
            for name in (LISTED, INDEX):
                platform.publish(world, name, at, broken=True)
            expect(platform.refresh() == 2, f"a broken list was taken on {day}")
        if at in turns:
            for name in (LISTED, INDEX):
                platform.publish(world, name, at)
            expect(platform.refresh() == 0, f"a list was refused on {day}")
        platform.make_catalog()
        new = platform.symbols() - known
        if known and new:
            platform.fill(world.sessions[:at], new)
        known |= new
        platform.fill([day])
        if at % HEAL_EVERY == HEAL_EVERY - 1:
            platform.fill(world.sessions[max(0, at - HEALED) : at + 1])
        if at % 50 == 49:
            spent = time.process_time() - started
            print(f"listings: {day} requests={platform.requests} cpu={spent:.0f}", flush=True)
    for later in range(_END_HEALS):
        platform.set_clock(platform.evening(world.sessions[-1]) + timedelta(days=later, minutes=30))
        platform.make_catalog()
        platform.fill(world.sessions)
    platform.make_history(world.sessions[0], world.sessions[-1])


def expect(right: bool, otherwise: str) -> None:
    """Ends the simulation where it cannot go on."""
    if not right:
        raise SystemExit(f"listings: FAILED {otherwise}")


def main(arguments: list[str] | None = None) -> int:
    """Lives through the years; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--symbols", type=int, default=40, help="companies listed at the start")
    parser.add_argument("--keep", type=Path, help="a folder in which the store is left")
    parser.add_argument("--judge", action="store_true", help="only judge what was kept")
    asked = parser.parse_args(arguments)
    world = draw_world(asked.seed, make_shape(asked.years, asked.symbols))
    started = time.process_time()
    with tempfile.TemporaryDirectory(prefix="simulated-listings-") as folder:
        root = asked.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        world.history().write_csv(root / "history.csv")
        config = ReplayConfig(
            history_files=[(root / "history.csv", "as_traded")], spells=list(world.spells()),
            faults=list(world.faults), now=str(world.sessions[0]),
        )  # fmt: skip
        with start(config) as server:
            platform = Platform(root / "home", server, [LISTED, INDEX], os.environ.__setitem__)
            # Of a short list one company is more than the tenth that is believed to be gone.
            os.environ["QUANT_ASSETS_UNIVERSE_SHRINK"] = "35"
            if asked.judge:
                platform.set_clock(platform.evening(world.sessions[-1]) + timedelta(days=_END_HEALS))
            else:
                live(world, platform)
            judged = judge(world, asked.seed)
            requests = platform.requests
    for text in judged.wrong[:40]:
        print(f"listings: wrong: {text}")
    word = "ok" if judged.ok else "FAILED"
    print(f"listings: requests={requests} cpu={time.process_time() - started:.0f}")
    print(f"listings: {word} seed={asked.seed} {judged.line()}")
    return 0 if judged.ok else 1


if __name__ == "__main__":
    sys.exit(main())
