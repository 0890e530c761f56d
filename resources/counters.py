"""What this process has asked of the outside world so far: counted where it happens, read by reports."""

from __future__ import annotations

import threading
from collections import Counter

DATA_REQUESTS = "data_requests"
WRITES = "writes"

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count(name: str, by: int = 1) -> None:
    """Adds to a counter."""
    with _lock:
        _counts[name] += by


def counted(name: str) -> int:
    """How far a counter has got since the process started."""
    with _lock:
        return _counts[name]
