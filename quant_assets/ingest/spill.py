"""Rows on disk between fetching and writing them, so that memory holds one batch or one year."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.flags import FLAGS, NONE

_AT_HAND = 400_000
"""Rows up to which they are kept in memory, 85 bytes each: a daily update, or a few symbols, writes no file."""


class Spill:
    """As-traded rows (ANSWER_SCHEMA), the latest in memory, the others on disk, batch by batch and year by year."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches = 0
        self._at_hand: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Takes a batch."""
        self._at_hand.append(rows)
        if sum(part.height for part in self._at_hand) <= _AT_HAND:
            return
        while self._at_hand:
            self._batches += 1
            for (year,), part in self._at_hand.pop().group_by(pl.col("date").dt.year()):
                _write(part, self._folder / f"{year}-{self._batches:06d}.parquet")

    def years(self) -> list[int]:
        """The years that have rows."""
        written = {int(file.name[:4]) for file in self._folder.glob("*.parquet")}
        return sorted(written.union(*(part["date"].dt.year().unique() for part in self._at_hand)))

    def year(self, year: int) -> pl.DataFrame:
        """All rows of a year, in no order."""
        at_hand = [part.filter(pl.col("date").dt.year() == year) for part in self._at_hand]
        return pl.concat([_none(), *map(_read, sorted(self._folder.glob(f"{year}-*.parquet"))), *at_hand])

    def symbols(self, symbols: Collection[str]) -> pl.DataFrame:
        """All rows of some symbols, in no order."""
        of_symbols = pl.col("symbol").is_in(sorted(symbols))
        return pl.concat([_none(), *(self.year(year).filter(of_symbols) for year in self.years())])

    def take(self, symbols: Collection[str]) -> pl.DataFrame:
        """Takes the rows of some symbols out, and answers them."""
        of_symbols = pl.col("symbol").is_in(sorted(symbols))
        taken = [_none(), *(part.filter(of_symbols) for part in self._at_hand)]
        self._at_hand = [part.filter(~of_symbols) for part in self._at_hand]
        for file in sorted(self._folder.glob("*.parquet")):
            rows = _read(file)
            taken.append(rows.filter(of_symbols))
            _write(rows.filter(~of_symbols), file)
        return pl.concat(taken)


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=ANSWER_SCHEMA)


def _write(rows: pl.DataFrame, file: Path) -> None:
    # Empty texts, which nearly all flags are, take polars as long to write as all prices; nulls take nothing.
    flagged = pl.when(pl.col(FLAGS) != NONE).then(FLAGS)
    rows.with_columns(flagged).write_parquet(file, compression="lz4", statistics=False)


def _read(file: Path) -> pl.DataFrame:
    # It may be written anew while the rows are in use.
    return pl.read_parquet(file, memory_map=False).with_columns(pl.col(FLAGS).fill_null(NONE))


def sweep_spill(parent: Path) -> None:
    """Removes the spill folders of runs that were killed.

    Every run holds a lock on its folder, which ends with the process however that ends: what is not locked
    belongs to nobody.
    """
    if not parent.is_dir():
        return
    with _locked(parent):
        for folder in parent.iterdir():
            taken = (BlockingIOError, FileNotFoundError, NotADirectoryError)
            with contextlib.suppress(*taken), _locked(folder, fcntl.LOCK_NB):
                shutil.rmtree(folder)


@contextmanager
def spill_room(parent: Path) -> Generator[Spill]:
    """A spill in a new folder of `parent`, gone at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    lock = contextlib.ExitStack()
    with _locked(parent):
        mine = Path(tempfile.mkdtemp(prefix="fetch-", dir=parent))
        lock.enter_context(_locked(mine))
    with lock:
        try:
            yield Spill(mine)
        finally:
            shutil.rmtree(mine)


@contextmanager
def _locked(folder: Path, how: int = 0) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)
