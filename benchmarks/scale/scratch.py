"""Copies of a laid store that a work may change: hard links, since objects are only ever replaced."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from benchmarks.scale.shape import Laid
from quant_assets.tables.layout import MANIFEST


def folder_of(laid: Laid) -> Path:
    """A folder beside the store, on the same disk, gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="scratch-", dir=laid.folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def copy_of(laid: Laid, without: Collection[str] = ()) -> Laid:
    """The store once more, with the home of its own, `without` some tables."""
    folder = folder_of(laid)
    left_out = {laid.store / name for name in without} | {laid.store / MANIFEST / name for name in without}

    def ignore(where: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(where) / name in left_out or name.startswith(".")]

    shutil.copytree(laid.store, folder / "store", copy_function=os.link, ignore=ignore)
    for name in ("universe.yaml", "shape.json"):
        shutil.copyfile(laid.folder / name, folder / name)
    return Laid(folder)
