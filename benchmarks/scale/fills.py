"""Fills: an answer turned into rows, a backfill, a finished range that Dagster has not heard of, a daily update."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import polars as pl

from benchmarks.backfill import backfill
from benchmarks.scale.laying import settings_of
from benchmarks.scale.measuring import Prepared
from benchmarks.scale.scratch import copy_of, folder_of
from benchmarks.scale.shape import CODES, END, LAST, NEXT, NOW, Laid
from benchmarks.scale.work import OURS, Goal, Work
from quant_assets.dev.demo import write_universe
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.local_runs import Runner
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.resources.source import FetchResult, HistoryRequest
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.fetch_reports import read_reports

_CODE = CODES[0]
_ANSWERS = 60
_ANSWERED_SINCE = date(2014, 3, 4)


@dataclass
class _Told:
    """A source that tells what another one has answered."""

    answers: dict[str, FetchResult]
    name: str = "told"
    data_requests: int = 0

    def history(self, requests: Sequence[HistoryRequest]) -> Iterator[FetchResult]:
        return (self.answers[request.symbol] for request in requests)


def _transform(laid: Laid) -> Prepared:
    """Ten years of some symbols, answered before: what it takes to make rows of an answer, verdicts included."""
    where, folder = exchange(_CODE), folder_of(laid)
    made = GeneratedExchange(_CODE, _ANSWERS, laid.shape.seed, _ANSWERED_SINCE, LAST)
    sessions = where.calendar().sessions(_ANSWERED_SINCE, LAST)
    with start(ReplayConfig(now=NOW, generated=[made])) as server:
        source = YahooSource(Settings(home=folder, source_url=server.url, requests_per_second=0, now=NOW))
        names = [row["symbol"] for row in server.catalog()]
        ask = partial(
            HistoryRequest, start=sessions[0], zone=where.zone, close=where.close, sessions=sessions
        )
        answers = {one.symbol: one for one in source.history([ask(name) for name in names])}
        source.close()
    listings = pl.DataFrame(
        {"symbol": names, "listed_on": None, "delisted_on": None},
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    )

    def fill() -> dict[str, float]:
        store = open_store(str(folder / f"store-{time.time_ns()}"))
        context = FillContext(where, store, _Told(answers), lambda: NOW, FillRules(folder / "spill"))
        report = fill_cells(context, FillRequest(sessions, listings))
        return {
            "seconds": report.seconds["transform"] / len(names),
            "store_ms": 1000 * report.seconds["store"] / len(sessions),
        }

    return fill


def _backfill(laid: Laid) -> Prepared:
    """200 symbols and ten years as one run of Dagster: its own part, a cell."""
    home = folder_of(laid)

    def fill() -> dict[str, float]:
        days = [day for day in laid.shape.days() if day >= _ANSWERED_SINCE]
        made = GeneratedExchange(_CODE, 200, 7, days[0], LAST)
        with start(ReplayConfig(now=NOW, generated=[made])) as server:
            write_universe(server, home / "universe.yaml")
            settings = Settings(
                home=home, exchanges=(_CODE,), universe=home / "universe.yaml", start=days[0],
                source_url=server.url, requests_per_second=0, now=NOW,
            )  # fmt: skip
            run = backfill(server, settings, days)
        return {
            "seconds": run.total, "cells": run.cells, "rest": sum(run.seconds.values()),
            "dagster_ms": 1000 * run.dagster / run.cells,
        }  # fmt: skip

    return fill


def _finished(laid: Laid) -> Prepared:
    """A finished range of one exchange, told to a Dagster that is new to it."""
    days = laid.shape.days()

    def tell() -> dict[str, float]:
        with Runner(settings_of(laid, folder_of(laid))) as runner:
            runner.catalog()
            began, busy = time.perf_counter(), time.process_time()
            assert runner.daily(exchange(_CODE), days)
            taken, used = time.perf_counter() - began, time.process_time() - busy
        return {
            "seconds": taken, "cpu": used, "cells": len(days), "cell_ms": 1000 * taken / len(days),
            "cell_cpu_ms": 1000 * used / len(days),
        }  # fmt: skip

    return tell


def _update(laid: Laid) -> Prepared:
    """The next session of an exchange, with all that rests on it; what the source takes is left out."""
    shape, now = laid.shape, datetime(NEXT.year, NEXT.month, NEXT.day, 23, tzinfo=UTC)
    made = GeneratedExchange(_CODE, shape.symbols_of(_CODE), shape.seed, shape.first, END)

    def update() -> dict[str, float]:
        mine = copy_of(laid)
        with start(ReplayConfig(now=now, generated=[made]), timeout=600) as server:
            settings = settings_of(mine, now=now, exchanges=(_CODE,), source_url=server.url)
            with Runner(settings) as runner:
                runner.catalog()
                began, busy = time.perf_counter(), time.process_time()
                runner.daily(exchange(_CODE), [NEXT])
                runner.derived(exchange(_CODE), NEXT, NEXT)
                taken, used = time.perf_counter() - began, time.process_time() - busy
                *_, report = read_reports(runner.store, _CODE)
        source: dict[str, Any] = report["seconds"]
        return {
            "seconds": taken - source["source"], "cpu": used, "requests": report["requests"],
            **{f"{name}_s": value for name, value in source.items()},
        }  # fmt: skip

    return update


FILLS = [
    Work("transform", {OURS: _transform}, (Goal("seconds", 0.0015),)),
    Work("backfill", {OURS: _backfill}, (Goal("dagster_ms", 3),), repeats=1),
    Work("finished_range", {OURS: _finished}, (Goal("seconds", 30),), repeats=1),
    Work("update_daily", {OURS: _update}, (Goal("seconds", 20), Goal("peak_mb", 1000)), repeats=1),
]
