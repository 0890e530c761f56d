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


class Spill:
    """As-traded rows (ANSWER_SCHEMA) on disk, batch by batch and year by year."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Takes a batch."""
        self._batches += 1
        for (year,), part in rows.group_by(pl.col("date").dt.year()):
            _write(part, self._folder / f"{year}-{self._batches:06d}.parquet")

    def years(self) -> list[int]:
        """The years that have rows."""
        return sorted({int(file.name[:4]) for file in self._folder.glob("*.parquet")})

    def year(self, year: int) -> pl.DataFrame:
        """All rows of a year, in no order."""
        return self._read(f"{year}-*.parquet")

    def symbols(self, symbols: Collection[str]) -> pl.DataFrame:
        """All rows of some symbols, in no order."""
        wanted = sorted(symbols)
        parts = [self.year(year).filter(pl.col("symbol").is_in(wanted)) for year in self.years()]
        return pl.concat(parts) if parts else pl.DataFrame(schema=ANSWER_SCHEMA)

    def take(self, symbols: Collection[str]) -> pl.DataFrame:
        """Takes the rows of some symbols out, and answers them."""
        wanted = sorted(symbols)
        taken = [pl.DataFrame(schema=ANSWER_SCHEMA)]
        for file in sorted(self._folder.glob("*.parquet")):
            rows = _read(file)
            of_symbols = pl.col("symbol").is_in(wanted)
            taken.append(rows.filter(of_symbols))
            _write(rows.filter(~of_symbols), file)
        return pl.concat(taken)

    def _read(self, pattern: str) -> pl.DataFrame:
        files = sorted(self._folder.glob(pattern))
        if not files:
            return pl.DataFrame(schema=ANSWER_SCHEMA)
        return pl.concat([_read(file) for file in files])


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
