"""Where a read's warnings go: to the line of the user's code that asked, or to whoever collects them.

`warnings` itself is of the whole process: with several reads at a time it cannot tell whose a warning is.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("quant_assets_warnings", default=None)


def warn(text: str, stacklevel: int) -> None:
    """Says it once to who collects, else as `warnings.warn` does; `stacklevel` 1 is the line that calls this."""
    found = _collected.get()
    if found is None:
        warnings.warn(text, stacklevel=stacklevel + 1)
    elif text not in found:
        found.append(text)


@contextmanager
def collected(into: list[str]) -> Generator[None]:
    """Within it, what reads of this thread (or coroutine) warn of is added to `into`."""
    token = _collected.set(into)
    try:
        yield
    finally:
        _collected.reset(token)
