"""What the command line shows: a progress bar for what takes long, tables, and errors in one line."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from quant_assets.defs.progress import Watcher, listening

if TYPE_CHECKING:
    import polars as pl

# A log file or a pipe has no width of its own; tables need some.
console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 110)
errors = Console(stderr=True, highlight=False, emoji=False)


class ProgressWatcher(Watcher):
    """Shows each run as a bar: symbols asked, cells settled, materializations recorded."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[phase]:<22}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._title = ""
        self._plain_shown = time.monotonic()
        self.differences: list[tuple[Any, ...]] = []
        """What fills in this process found to differ: symbol, date, field, old, new, class."""

    def __enter__(self) -> ProgressWatcher:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def run_started(self, title: str, partitions: int) -> None:
        self._title = title
        self._task = self._progress.add_task(title, total=max(1, partitions), phase="starting")

    def planned(self, exchange: str, symbols: int, cells: int) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._task]
            # The bar counts everything that takes time: a request, a cell, and Dagster's record of it.
            self._progress.update(
                self._task, total=(task.total or 0) + symbols + cells, phase=f"asking for {symbols} symbols"
            )

    def waiting(self, exchange: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, phase=f"another run fills {exchange}")
        if not console.is_terminal:
            errors.print(f"{self._title}: another run or command fills {exchange}; waiting for it")

    def symbol_done(self) -> None:
        self._advance(None)

    def cell_done(self) -> None:
        self._advance("writing cells")

    def differ(self, restatements: pl.DataFrame) -> None:
        self.differences += restatements.select("symbol", "date", "field", "old", "new", "class").rows()

    def told(self, trouble: str) -> None:
        print_error(trouble)

    def event(self) -> None:
        self._advance("recording in Dagster")

    def run_ended(self, *, success: bool) -> None:
        if self._task is not None:
            # A bar that stops short of its end says how far the work got.
            task = self._progress.tasks[self._task]
            completed = task.total if success else min(task.completed, (task.total or 1) - 1)
            self._progress.update(self._task, completed=completed, phase="done" if success else "failed")
        self._task = None

    def _advance(self, phase: str | None) -> None:
        if self._task is None:
            return
        if phase:
            self._progress.update(self._task, phase=phase)
        task = self._progress.tasks[self._task]
        if task.completed >= (task.total or 0):
            # More comes than was foreseen: a bar that is full would be taken for done, and its clock would stop.
            self._progress.update(self._task, total=task.completed + 1)
        self._progress.advance(self._task)
        # Without a terminal there is no bar to redraw, so a line now and then says that work goes on.
        if not console.is_terminal and time.monotonic() - self._plain_shown > 5:
            self._plain_shown = time.monotonic()
            errors.print(f"{self._title}: {task.completed:.0f}/{task.total:.0f} {task.fields['phase']}")


@contextmanager
def progress() -> Generator[ProgressWatcher]:
    """A progress bar that hears of runs and fills while the context lasts."""
    with ProgressWatcher() as watcher, listening(watcher):
        yield watcher


def fail(message: str, code: int) -> NoReturn:
    """Prints an error in one line and leaves with an exit code."""
    print_error(message)
    sys.exit(code)


def print_error(message: str) -> None:
    """Prints an error in one line on standard error."""
    errors.print(f"error: {' '.join(message.split())}", style="red", markup=False, soft_wrap=True)


def system_error(error: OSError) -> str:
    """What the operating system refused, with the path and, for a full disk, the remedy."""
    path = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{path}{error.strerror}: free some space, or point QUANT_ASSETS_HOME (and QUANT_ASSETS_STORE) at a disk "
            "that has some; what was written before stays, and the same command goes on from there"
        )
    return f"{path}{error.strerror or error}"
