"""What the commands that fetch print of what came, and the exit code that says it in a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from quant_assets.words import number_of

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.local_runs import RunFailed
    from quant_assets.tables.manifest import Entry

_MOST_LINES = 20


def told(
    asked: Sequence[tuple[str, Entry]],
    problems: Sequence[RunFailed],
    held: Sequence[pl.DataFrame],
    absent: Mapping[str, list[date]],
    restated: int,
) -> int:
    """Prints what came of the cells that were asked for; answers the exit code: 0, 2, or 1: nothing is usable."""
    import polars as pl

    from quant_assets.cli.console import print_error

    symbols_held = _print_held(pl.concat(held)) if held else 0
    _print_absent(absent)
    states = _print(asked, restated)
    failed = [f"{entry.partition}|{code}: {entry.reason}" for code, entry in asked if entry.state == "failed"]
    if failed and not problems:
        # Nothing was asked this time: the source has stated it before, on the same day.
        more = "asked again on another day, or with --force"
        print_error(f"{number_of(len(failed), 'cell')} failed: {'; '.join(failed[:5])} ({more})")
    for problem in problems:
        print_error(str(problem))
    usable = states["complete"] + states["partial"]
    if any(not problem.partial for problem in problems) or (failed and not usable and not symbols_held):
        return 1
    return 2 if problems or failed or states["partial"] or symbols_held else 0


def _print_held(waiting: pl.DataFrame) -> int:
    """Prints a line for each symbol of which something is held; answers how many there are."""
    from quant_assets.cli.console import console
    from quant_assets.market.claims import named
    from quant_assets.tables.quarantine import items

    by_symbol = items(waiting).partition_by("symbol", maintain_order=True)
    for some in by_symbol[:_MOST_LINES]:
        one = some.row(0, named=True)
        what = named(one["scope"], one["first"], one["last"], one["sessions"])
        more = f" (and {some.height - 1} more)" if some.height > 1 else ""
        console.print(
            f"held: {one['symbol']}: {what}{more}, since {one['since']}: {one['rule']}; "
            f"see `quant-assets quarantine show {one['item']}`",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    if len(by_symbol) > _MOST_LINES:
        console.print(
            f"held: and {len(by_symbol) - _MOST_LINES} symbols more; `quant-assets quarantine list` lists them"
        )
    return len(by_symbol)


def _print_absent(absent: Mapping[str, list[date]]) -> None:
    """Prints a line for each exchange with sessions that have no cell."""
    from quant_assets.cli.console import console

    for code, days in absent.items():
        if days:
            console.print(
                f"absent: {number_of(len(days), 'session')} of {code} never asked for, the first {days[0]} "
                f"(`quant-assets backfill --missing --exchange {code}` fills them)",
                markup=False, soft_wrap=True,
            )  # fmt: skip


def _print(asked: Sequence[tuple[str, Entry]], restated: int) -> Counter[str]:
    """Prints what is missing and the counts; answers the cells by state."""
    from quant_assets.cli.console import console
    from quant_assets.maintenance.inventory import worst_holes
    from quant_assets.market.coverage import in_words
    from quant_assets.resources.counters import DATA_REQUESTS, WRITES, counted

    states = Counter(entry.state.value for _, entry in asked)
    holes = worst_holes(entry for _, entry in asked)
    for symbol, outcome, reason, cells in holes[:_MOST_LINES]:
        console.print(
            f"missing: {symbol} in {number_of(cells, 'cell')}: {in_words(outcome, reason)}",
            markup=False,
            soft_wrap=True,
        )
    if len(holes) > _MOST_LINES:
        console.print(f"missing: and {len(holes) - _MOST_LINES} more; `quant-assets gaps` lists them")
    short = [code for code, entry in asked if entry.state == "failed" and entry.received]
    if short:
        console.print(
            f"too few: {number_of(len(short), 'cell')} failed, below the minimum coverage; what came is stored (a "
            "symbol that trades no more: `delisted_on` in the universe file; another minimum: "
            "QUANT_ASSETS_MIN_COVERAGE)",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    if restated:
        console.print(
            f"restated: {number_of(restated, 'change')}; `quant-assets restatements` lists them, "
            "with the rows of each"
        )
    counts = " ".join(f"{state}={states[state]}" for state in ("complete", "partial", "closed", "failed"))
    print(f"{counts} requests={counted(DATA_REQUESTS)} writes={counted(WRITES)}")
    return states
