"""Warnings to whoever reads the tables: each names the line of user code that asked."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any

import polars as pl

_OURS = (f"{Path(__file__).parents[1]}/", f"{Path(pl.__file__).parent}/")

Line = tuple[str, int]
"""A file and the number of a line in it."""

_asked: ContextVar[Line | None] = ContextVar("_asked", default=None)
_collected: ContextVar[list[str] | None] = ContextVar("_collected", default=None)
_told: dict[str, dict[Any, Any]] = {}
"""By file what has been told of its lines, as `warnings` keeps it in each module."""


def line_of_user() -> Line:
    """The first line up the stack that is neither of this package nor of polars."""
    frame = inspect.currentframe()
    assert frame is not None
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def here() -> Context:
    """A context in which warnings name the line that asks now, or go to who collects them now: a query is run by
    threads of polars, which know neither."""
    context = copy_context()
    context.run(_asked.set, line_of_user())
    return context


@contextmanager
def collected(into: list[str]) -> Generator[None]:
    """Within it, what this thread (or coroutine) would warn of is added to `into` instead, each text once.

    `warnings` is of the whole process: of several reads at a time it cannot tell whose a warning is.
    """
    token = _collected.set(into)
    try:
        yield
    finally:
        _collected.reset(token)


def warn_user(message: str) -> None:
    """A UserWarning at the line that asked; or told to who collects them."""
    into = _collected.get()
    if into is not None:
        if message not in into:
            into.append(message)
        return
    file, number = _asked.get() or line_of_user()
    warnings.warn_explicit(message, UserWarning, file, number, registry=_told.setdefault(file, {}))
