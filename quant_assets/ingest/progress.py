"""Who wants to see how a fill is getting on: a command line's progress bar, when it runs in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Listener(Protocol):
    """Told as a fill goes along."""

    def planned(self, exchange: str, symbols: int, cells: int) -> None:
        """So many symbols will be asked for, and so many cells written."""
        ...

    def symbol_done(self) -> None:
        """One more symbol has been answered."""
        ...

    def cell_done(self) -> None:
        """One more cell is settled."""
        ...


class _Nobody:
    def planned(self, exchange: str, symbols: int, cells: int) -> None: ...

    def symbol_done(self) -> None: ...

    def cell_done(self) -> None: ...


_listener: Listener = _Nobody()


def listener() -> Listener:
    """The one who listens now."""
    return _listener


@contextmanager
def listening(new: Listener) -> Iterator[None]:
    """Has `new` listen while the context lasts."""
    global _listener
    before, _listener = _listener, new
    try:
        yield
    finally:
        _listener = before
