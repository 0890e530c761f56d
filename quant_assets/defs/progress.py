"""Who wants to see how work is getting on: a command line's progress bar, when the work runs in its process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


class Listener(Protocol):
    """Told as a fill goes along."""

    def planned(self, exchange: str, symbols: int, cells: int) -> None:
        """So many symbols will be asked for, and so many cells written."""
        ...

    def waiting(self, exchange: str) -> None:
        """Another run or command fills the exchange; this one waits for it."""
        ...

    def symbol_done(self) -> None:
        """One more symbol has been answered."""
        ...

    def cell_done(self) -> None:
        """One more cell is settled."""
        ...

    def differ(self, restatements: pl.DataFrame) -> None:
        """Some values differ from those that stand (rows of the ledger)."""
        ...

    def told(self, trouble: str) -> None:
        """Something that a person should know of, though the run goes on."""
        ...


class _Nobody:
    def planned(self, exchange: str, symbols: int, cells: int) -> None: ...

    def waiting(self, exchange: str) -> None: ...

    def symbol_done(self) -> None: ...

    def cell_done(self) -> None: ...

    def differ(self, restatements: pl.DataFrame) -> None: ...

    def told(self, trouble: str) -> None: ...


_listener: Listener = _Nobody()


def listener() -> Listener:
    """The one who listens now."""
    return _listener


@contextmanager
def listening(new: Listener) -> Generator[None]:
    """Has `new` listen while the context lasts."""
    global _listener
    before, _listener = _listener, new
    try:
        yield
    finally:
        _listener = before


class Watcher:
    """Told of Dagster runs as they go along; does nothing by itself."""

    def run_started(self, title: str, partitions: int) -> None:
        """A run over so many partitions starts."""

    def event(self) -> None:
        """One more materialization is recorded."""

    def run_ended(self, *, success: bool) -> None:
        """The run is over."""
