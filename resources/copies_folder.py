"""Where local copies lie: a folder that each process has to itself, with what it keeps of a bucket's answers."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from quant_assets.resources.object_store import ObjectInfo

CLAIM = "claim"


def own_folder(folder: Path) -> tuple[Path, int]:
    """The first part of a folder that no other process has, and what holds it."""
    number = 0
    while True:
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        claim = os.open(own / CLAIM, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            number += 1
        else:
            return own, claim


def plain(answer: Any) -> Any:
    """What a bucket answered, as JSON holds it."""
    if isinstance(answer, ObjectInfo):
        return [answer.key, answer.size, answer.version]
    return [plain(one) for one in answer] if isinstance(answer, list) else answer


def answered(kind: str, told: Any) -> Any:
    """The inverse of `plain`, for a listing, a look at an object ("head") or groups."""
    if kind == "list":
        return [ObjectInfo(*one) for one in told]
    return ObjectInfo(*told) if kind == "head" and told is not None else told
