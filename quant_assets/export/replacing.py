"""A file or folder that is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quant_assets.export.chosen import ExportError

ABOUT = "export.json"
"""In every folder that was exported: what it is made of. A folder without it is somebody else's."""


@contextmanager
def replacing(dest: Path, force: bool) -> Iterator[Path]:
    """A path beside `dest` to write to; it takes its place when all is written, and is removed on any error.

    Raises ExportError where `dest` exists and is not to be replaced, or is a folder that no export made.
    """
    dest = dest.absolute()
    if dest.exists():
        if not force:
            raise ExportError(f"{dest} exists: name another place, or replace it with --force")
        if dest.is_dir() and any(dest.iterdir()) and not (dest / ABOUT).exists():
            raise ExportError(
                f"{dest} is a folder that no export made ({ABOUT} is missing): name another place"
            )
    dest.parent.mkdir(parents=True, exist_ok=True)
    made = dest.with_name(f".{dest.name}.{os.getpid()}.partial")
    _remove(made)
    try:
        yield made
        old = dest.with_name(f".{dest.name}.{os.getpid()}.old")
        if dest.is_dir():
            dest.rename(old)
        made.replace(dest)
        _remove(old)
    finally:
        _remove(made)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
