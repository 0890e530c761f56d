"""What the tests of the pipeline share: settings for a replay server, the recorded truth, and store look-ups."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bokeh_sampledata import stocks

from quant_assets.resources.settings import Settings

NEEDS_REDIS = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no redis-server here: sh scripts/install_redis.sh as root"
)
"""A test that starts a Redis of its own."""

NOW = datetime(2013, 3, 1, 23, 0, tzinfo=UTC)
"""After New York's close on the last recorded day."""
RECORDED = ("AAPL", "FB", "IBM", "MSFT")
"""Recorded symbols whose splits are whole numbers, so that everything comes back exactly."""


def quick_settings(home: Path, url: str, **more: Any) -> Settings:
    """Settings for a loopback source: unpaced, with pauses that a test can wait for."""
    values: dict[str, Any] = {
        "home": home,
        "exchanges": ("US",),
        "source_url": url,
        "requests_per_second": 0,
        "concurrency": 2,
        "attempts": 3,
        "timeout_seconds": 5.0,
        "retry_wait_seconds": 0.01,
        "cool_down_seconds": 0.01,
        # Of three symbols one is a third: most tests are about something else.
        "min_coverage": {"*": 0.0},
        "now": NOW,
        **more,
    }
    return Settings(**values)


def listings(*symbols: str, **listed_on: date) -> pl.DataFrame:
    """What a fill needs of the catalog, with nothing known but the symbols and the given listing dates."""
    names = sorted({*symbols, *listed_on})
    return pl.DataFrame(
        {
            "symbol": names,
            "listed_on": [listed_on.get(name) for name in names],
            "delisted_on": [None for _ in names],
        },
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    )


@cache
def recorded(symbol: str) -> pl.DataFrame:
    """The bars that were traded, from the sample data itself: date, open, high, low, close, volume."""
    source: dict[str, list[Any]] = getattr(stocks, symbol)
    return pl.DataFrame(
        {
            "date": [date.fromisoformat(text) for text in source["date"]],
            **{name: [float(value) for value in source[name]] for name in ("open", "high", "low", "close")},
            "volume": [int(value) for value in source["volume"]],
        }
    )


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes; left out are lock files, the reports of runs, and
    the audit record."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not {".locks", "fetch_reports", "audit"} & set(file.parts)
    }


def days_between(first: date, last: date) -> list[date]:
    """The weekdays from first to last."""
    days: Iterable[date] = pl.date_range(first, last, eager=True).to_list()
    return [day for day in days if day.weekday() < 5]
