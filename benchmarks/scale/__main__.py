"""Runs the table: every work with its limit and its peers.

    python -m benchmarks.scale [--symbols 10000 --years 20 --suspended 0.03] [--only WORK] [--store FOLDER]

`--store` keeps the laid stores, or takes those that are there. A line a work:
`scale: work=… limit=… ours=… ratio=… peak_mb=… goal=met|missed`, times in seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.scale.measuring import Measured, measure
from benchmarks.scale.shape import Laid, Shape
from benchmarks.scale.work import LIMIT, OURS, Work, numbers


def line(work: Work, measured: Mapping[str, Measured | str]) -> str:
    """What is printed of a work."""
    sides = {name: one for name, one in measured.items() if isinstance(one, Measured)}
    words = [f"scale: work={work.name}"]
    ours = measured[OURS]
    if isinstance(ours, str):
        return f"{words[0]} ours={ours} goal=missed"
    found = numbers(sides)
    limit = sides.get(LIMIT)
    words += [
        f"limit={_seconds(limit.seconds) if limit else '-'}",
        f"ours={_seconds(ours.seconds)}",
        f"ratio={found['ratio']:.2f}" if limit else "ratio=-",
        f"peak_mb={ours.peak_mb:.0f}",
    ]
    results = [goal.met(found) for goal in work.goals]
    words.append(f"goal={'missed' if False in results else 'met' if True in results else '-'}")
    words.append("wanted=" + ",".join(f"{goal}{_mark(goal.met(found))}" for goal in work.goals))
    words += [f"cpu={_seconds(ours.cpu)}", f"runs={ours.runs}"]
    if limit:
        words.append(f"limit_cpu={_seconds(limit.cpu)}")
    if "answers" in found:
        words.append(f"answers={found['answers']:.1f}")
    words += [f"more_mb={found['more_mb']:.0f}"]
    words += [
        f"{name}={_seconds(one.seconds) if isinstance(one, Measured) else one.replace(' ', '_')}"
        for name, one in measured.items()
        if name not in (OURS, LIMIT)
    ]
    words += [f"{name}={value:.4g}" for name, value in ours.facts.items() if isinstance(value, int | float)]
    return " ".join(words)


def _mark(met: bool | None) -> str:
    return {True: "", False: "!", None: "?"}[met]


def _seconds(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.2f}"


def run(work: Work, laid: Laid) -> str:
    """Measures the sides of a work one after the other, each in a process of its own."""
    return line(work, {side: measure(work.name, side, laid.folder) for side in work.sides})


def main(arguments: list[str] | None = None) -> int:
    """Lays what is not there and prints a line a work; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--symbols", type=int, default=10_000)
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument(
        "--suspended", type=float, default=0.03, help="share suspended daily in the second store"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="a work; may be given again")
    parser.add_argument("--store", type=Path, help="a folder to keep the stores in")
    parser.add_argument("--lay-only", action="store_true")
    parser.add_argument(
        "--growth", action="store_true", help="how time and memory grow (see benchmarks.scale.growth)"
    )
    parser.add_argument("--list", action="store_true", help="only name the works")
    asked = parser.parse_args(arguments)
    from benchmarks.scale.works import SUSPENDED, WORKS

    if asked.growth:
        from benchmarks.scale import growth

        sizes = ["--most-symbols", str(asked.symbols), "--most-years", str(asked.years)]
        works = [word for name in asked.only or () for word in ("--only", name)]
        return growth.main([*sizes, *works, *(["--store", str(asked.store)] if asked.store else [])])
    if asked.list:
        print("\n".join(WORKS))
        return 0
    chosen = [WORKS[name] for name in asked.only] if asked.only else list(WORKS.values())
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        from benchmarks.scale.laying import lay

        folder = (asked.store or Path(temporary)).absolute()
        plain = Shape(asked.symbols, asked.years, 0.0, asked.seed)
        holed = Shape(max(2, asked.symbols // 5), asked.years, asked.suspended, asked.seed)
        missed = 0
        for shape, name, works in (
            (plain, "plain", [work for work in chosen if work.name not in SUSPENDED]),
            (holed, "suspended", [work for work in chosen if work.name in SUSPENDED]),
        ):
            if not works:
                continue
            laid = lay(folder / name, shape)
            for work in [] if asked.lay_only else works:
                print(told := run(work, laid), flush=True)
                missed += "goal=missed" in told
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
