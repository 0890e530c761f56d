"""Honest sources that look like liars: thin markets, everything that happens in real life, and recorded histories.

Each is filled at once and then for five evenings: what is true and not stored after three of them is held falsely.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.lies.market import RIGHT_AGAIN, Market
from benchmarks.lies.tell import Store
from quant_assets.exchanges import exchange
from quant_assets.replay.generator import generate
from quant_assets.replay.history import History
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.replay.sampledata import sampledata
from quant_assets.replay.venues import venue

EVENINGS = 5


@dataclass
class Honest:
    """What became of one honest market: symbol-sessions in all, held for more than three sessions, and at the end."""

    name: str
    sessions: int = 0
    held: int = 0
    for_good: int = 0
    wrong: int = 0
    text: str = ""

    def __str__(self) -> str:
        """A line of the report."""
        return (
            f"honest: {self.name} symbol_sessions={self.sessions} held={self.held} for_good={self.for_good} "
            f"wrong={self.wrong} {self.text}"
        ).rstrip()


def honest_markets(root: Path, *, seed: int, quick: bool) -> Iterator[Honest]:
    """Fills each honest market in a store of its own below `root`."""
    known = {one.name for one in fields(GeneratedExchange)}
    if {"thin", "events"} <= known:
        size, begin = (12, "2022-01-03") if quick else (200, "2014-01-02")
        thin: dict[str, Any] = {"exchange": "LSE", "symbols": 10 if quick else 60, "seed": seed, "thin": 1.0}
        thin |= {"start": "2022-01-04", "end": "2024-03-01"}
        real: dict[str, Any] = {"exchange": "US", "symbols": size, "seed": seed, "events": "real_life"}
        real |= {"start": begin, "end": "2024-03-01"}
        for name, spec in (("thin", thin), ("real_life", real)):
            config = ReplayConfig(generated=[GeneratedExchange(**spec)], now="2020-01-01")
            yield _fill(name, config, generate(**spec), spec["exchange"], root / name)
    recorded = ReplayConfig(sampledata=True, now="2020-01-01")
    yield _fill("recorded", recorded, sampledata(), "US", root / "recorded", last=300 if quick else None)


def _fill(
    name: str, config: ReplayConfig, history: History, code: str, root: Path, last: int | None = None
) -> Honest:
    truth = history.frame.filter(pl.col("close").is_not_null())
    days = truth["date"].unique().sort().to_numpy().astype("datetime64[D]")
    if last is not None:
        days = days[-last:]
        truth = truth.filter(pl.col("date") >= days[0].item())
    end = len(days) - 1
    where = Market(code, venue(code), exchange(code), np.asarray(days), 0, end - EVENINGS)
    found = Honest(name)
    with start(config) as server:
        store = Store(root, server, where, history.symbols, truth, defaultdict(float))
        first = end - EVENINGS
        store.fill(range(first + 1), first)
        for evening in range(1, EVENINGS + 1):
            store.fill([first + evening], first + evening)
            if evening == RIGHT_AGAIN:
                old = _old(store.judge(first + evening)[1], store, first)
                found.held = old.height
                found.text = _examples(old)
        wrong, absent = store.judge(end)
    found.wrong = wrong.height
    if wrong.height:
        found.text += f" wrong: {wrong.head(3).rows()}"
    found.for_good = _old(absent, store, first).height
    found.sessions = truth.height
    return found


def _old(absent: pl.DataFrame, store: Store, through: int) -> pl.DataFrame:
    return absent.filter(pl.col("date") <= store.market.day(through))


def _examples(old: pl.DataFrame) -> str:
    """The worst symbols and where each begins."""
    worst = old.group_by("symbol").agg(pl.len(), pl.col("date").min()).sort("len", descending=True).head(5)
    return "; ".join(f"{symbol} {count} from {day}" for symbol, count, day in worst.rows())
