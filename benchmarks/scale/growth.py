"""Whether time and memory grow with the work and no faster: exponents fitted over years and over symbols.

    python -m benchmarks.scale.growth [--store FOLDER] [--only WORK] [--most-years 20] [--most-symbols 10000]

Over years the symbols stay the same, over symbols the years. The exponent `e` of `c · n^e` is the slope of a line
through the logarithms. A line a work and dimension: `growth: work=… over=years sizes=… cpu=… seconds=… mb=…
time_exponent=… memory_exponent=… goal=met|missed`; the exponent is that of processor time.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale.measuring import Measured, measure
from benchmarks.scale.shape import Shape
from benchmarks.scale.work import OURS

WORKS = (
    "finished_range",
    "plan",
    "update_daily",
    "one_symbol",
    "symbols_100",
    "one_year",
    "gaps",
    "weekly",
    "profiles_all",
)
MOST = 1.1
"""The exponent that is wanted at most."""
_OVER_SYMBOLS_ALONE = ("one_year",)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a least-squares line through the logarithms. Sizes and values are positive."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def main(arguments: list[str] | None = None) -> int:
    """Lays the stores that are not there, measures, prints; 1 where something grows too fast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--only", action="append")
    parser.add_argument("--most-years", type=int, default=20)
    parser.add_argument("--most-symbols", type=int, default=10_000)
    parser.add_argument("--over", choices=("years", "symbols"), action="append")
    asked = parser.parse_args(arguments)
    from benchmarks.scale.laying import lay

    symbols = [asked.most_symbols // share for share in (10, 2, 1)]
    years = [asked.most_years // share for share in (4, 2, 1)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="growth-") as temporary:
        folder = (asked.store or Path(temporary)).absolute()
        for over, shapes in (
            ("years", [Shape(symbols[0], some) for some in years]),
            ("symbols", [Shape(some, years[0]) for some in symbols]),
        ):
            if asked.over and over not in asked.over:
                continue
            laid = [lay(folder / f"{shape.symbols}x{shape.years}", shape) for shape in shapes]
            sizes = years if over == "years" else symbols
            for name in asked.only or WORKS:
                if over == "years" and name in _OVER_SYMBOLS_ALONE:
                    continue
                found = [measure(name, OURS, one.folder) for one in laid]
                sound = [one for one in found if isinstance(one, Measured)]
                if len(sound) < len(found):
                    print(f"growth: work={name} over={over} failed", flush=True)
                    missed += 1
                    continue
                print(told := _line(name, over, sizes, sound), flush=True)
                missed += "goal=missed" in told
    return int(missed > 0)


def _line(name: str, over: str, sizes: Sequence[int], found: Sequence[Measured]) -> str:
    memory = [one.peak_mb - one.before_mb for one in found]
    # Processor time: that of the clock tells what else the machine had to do.
    time_exponent = exponent(sizes, [one.cpu for one in found])
    memory_exponent = exponent(sizes, memory)
    met = time_exponent <= MOST and memory_exponent <= MOST
    return (
        f"growth: work={name} over={over} sizes={_joined(sizes, 'd')} cpu={_joined([o.cpu for o in found], '.3g')} "
        f"seconds={_joined([o.seconds for o in found], '.3g')} mb={_joined(memory, '.0f')} "
        f"time_exponent={time_exponent:.2f} memory_exponent={memory_exponent:.2f} goal={'met' if met else 'missed'}"
    )


def _joined(values: Sequence[float], how: str) -> str:
    return "/".join(format(value, how) for value in values)


if __name__ == "__main__":
    sys.exit(main())
