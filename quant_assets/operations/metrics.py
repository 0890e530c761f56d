"""What the store holds and what Dagster's runs came to, for Prometheus: the same over `quant-assets metrics` and on
the API's `/metrics`.

A scrape waits for neither: both are looked at in a thread of their own, at most every quarter of a minute (of a
bucket: every minute), and a scrape has the figures of the last look that succeeded, with their age. A store or an
instance that is away is a metric at zero, and no error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quant_assets.defs.run_counts import RunCounts, RunWatch
from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange, enabled
from quant_assets.instance import databases_of, newest_heartbeat, watched_instance
from quant_assets.maintenance.freshness import freshness
from quant_assets.maintenance.store_figures import StoreFigures, StoreWatch
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.quarantine import Decision

T = TypeVar("T")
_log = logging.getLogger(__name__)

_NEAR_SECONDS, _FAR_SECONDS = 15.0, 60.0
"""How often a store is looked at: a bucket wants a fee for every listing."""
_PATIENCE_SECONDS = 3.0
"""How long a scrape waits for a look, before it has the figures of the last one."""
_NAME = "quant_assets"
Labels = Sequence[str]


@dataclass(frozen=True, slots=True)
class Instance:
    """What is known of Dagster's instance of a home."""

    runs: RunCounts
    heartbeat: float | None
    """When its daemon last showed that it lives, in seconds since 1970; None: never."""


class Looking(Generic[T]):
    """The figures of the last look of a kind, brought up to date in a thread."""

    def __init__(self, name: str, look: Callable[[], T], every: float) -> None:
        self._look, self._every = look, every
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"metrics-{name}")
        self._lock = threading.Lock()
        self._under_way: Future[None] | None = None
        self._begun = -float("inf")
        self.figures: T | None = None
        self.at: float | None = None
        """When the last look that succeeded began, in seconds since 1970."""
        self.seconds = 0.0
        """What it took."""
        self.reason = ""
        """Why the last look did not succeed, in one line; "" where it did."""

    def brought_up_to_date(self, patience: float | None) -> T | None:
        """The figures; None where no look has succeeded yet. Waits for a look at most `patience` seconds (None: until
        it is over)."""
        with self._lock:
            idle = self._under_way is None or self._under_way.done()
            if idle and time.monotonic() - self._begun >= self._every:
                self._begun = time.monotonic()
                self._under_way = self._pool.submit(self._again)
            looking = self._under_way
        if looking is not None:
            wait_for([looking], patience)
        return self.figures

    def forget_when(self) -> None:
        """Has the next scrape look anew, however short ago the last look was."""
        with self._lock:
            self._begun = -float("inf")

    def close(self) -> None:
        """Ends the thread once its look is over."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _again(self) -> None:
        at, began = time.time(), time.perf_counter()
        try:
            found = self._look()
        except QuantAssetsError as error:
            self.reason = str(error)
        except Exception as error:  # noqa: BLE001 (what is broken in whatever way is away, and a scrape goes on)
            self.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            self.figures, self.at, self.seconds = found, at, time.perf_counter() - began
            self.reason = ""
            return
        _log.warning("metrics: %s", self.reason)


class Platform(Collector):
    """The metrics of a store and of the instance beside it."""

    def __init__(
        self, settings: Settings, store: ObjectStore, *, patience: float | None = _PATIENCE_SECONDS
    ) -> None:
        self._settings, self._patience = settings, patience
        self._exchanges = {one.code: one for one in enabled(settings.exchanges, settings.exchanges_file)}
        every = _FAR_SECONDS if store.remote else _NEAR_SECONDS
        self.store = Looking("store", StoreWatch(store, now=settings.clock).look, every)
        self.instance = Looking("instance", self._look_at_instance, _NEAR_SECONDS)
        self._runs: RunWatch | None = None

    def collect(self) -> Iterator[Metric]:
        """The figures of the last looks; asks for new ones where these are old."""
        began, patience = time.monotonic(), self._patience
        store = self.store.brought_up_to_date(patience)
        left = None if patience is None else max(0.0, patience - (time.monotonic() - began))
        instance = self.instance.brought_up_to_date(left)
        yield from _looks({"store": self.store, "instance": self.instance})
        if store is not None:
            yield from _of_store(store)
            yield from _of_freshness(store, self._exchanges, self._settings.clock())
        if instance is not None:
            yield from _of_instance(instance)

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asked for it would look at the store while the process starts."""
        return []

    def close(self) -> None:
        """Ends its threads."""
        self.store.close()
        self.instance.close()

    def _look_at_instance(self) -> Instance | None:
        """None where no Dagster has run in this home yet."""
        with databases_of(self._settings):
            found = watched_instance(self._settings)
            if found is None:
                return None
            if self._runs is None:
                self._runs = RunWatch(found, self._settings.locks_folder)
            return Instance(self._runs.look(datetime.now(UTC)), newest_heartbeat(self._settings))


def _gauge(name: str, text: str, labels: Labels = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_NAME}_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: Labels = ()) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_NAME}_{name}", text, labels=labels)


def _looks(looks: dict[str, Looking[StoreFigures] | Looking[Instance | None]]) -> Iterator[Metric]:
    up = _gauge(
        "up", "1: the store, or Dagster's instance, could be read at the last look; 0: not.", ["part"]
    )
    age = _gauge("figures_age_seconds", "How old the figures of it are.", ["part"])
    took = _gauge("look_seconds", "What the last look at it took.", ["part"])
    for part, looking in looks.items():
        up.add_metric([part], 0.0 if looking.reason or looking.at is None else 1.0)
        if looking.at is not None:
            age.add_metric([part], max(0.0, time.time() - looking.at))
            took.add_metric([part], looking.seconds)
    yield from (up, age, took)


def _of_store(store: StoreFigures) -> Iterator[Metric]:
    cells = _gauge("cells", "Cells (an exchange's session each) by state.", ["exchange", "state"])
    rows = _gauge("rows", "Rows of the daily cells.", ["exchange"])
    last = _gauge("last_cell_coverage_ratio", "Symbols received of those expected in the last open session "
                  "that has a cell.", ["exchange"])  # fmt: skip
    for code, frame in store.cells.items():
        counts = dict(frame["state"].value_counts().iter_rows())
        for state in CellState:
            cells.add_metric([code, state.value], counts.get(state.value, 0))
        rows.add_metric([code], int(frame["rows"].sum()))
        asked = frame.filter(frame["expected"] > 0).tail(1)
        for expected, received in asked.select("expected", "received").iter_rows():
            last.add_metric([code], received / expected)
    yield from (cells, rows, last)
    size = _gauge("store_bytes", "Bytes of the store's objects by table.", ["exchange", "table"])
    objects = _gauge("store_objects", "Objects of the store by table.", ["exchange", "table"])
    for (code, table), one in sorted(store.sizes.items()):
        size.add_metric([code, table], one.bytes)
        objects.add_metric([code, table], one.objects)
    yield from (size, objects)
    yield _unlabelled("unreadable_objects", "Objects that a look could not read: damaged, or of a newer release.",
                      len(store.unreadable))  # fmt: skip
    yield from _of_runs(store)
    yield from _of_doubts(store)


def _unlabelled(name: str, text: str, value: float) -> Metric:
    family = _gauge(name, text)
    family.add_metric([], value)
    return family


def _of_runs(store: StoreFigures) -> Iterator[Metric]:
    """What the reports in the store tell: counts over all there are, which only grow."""
    requests = _counter("source_requests", "Requests that fills sent to the source.", ["exchange"])
    answers = _counter("source_answers", "Symbols asked by fills, by outcome.", ["exchange", "outcome"])
    results = _counter("fills", "Fills by result.", ["exchange", "result"])
    seconds = _counter("fill_seconds", "Seconds that fills took, by phase.", ["exchange", "phase"])
    last = _gauge("last_fill_seconds", "Seconds that the last fill took, by phase.", ["exchange", "phase"])
    sent = _gauge("last_fill_requests", "Requests that the last fill sent.", ["exchange"])
    for code, asked in sorted(store.asked.items()):
        requests.add_metric([code], asked.requests)
        for outcome, count in sorted(asked.answers.items()):
            answers.add_metric([code, outcome], count)
        for result in sorted({*asked.results, "SUCCESS", "PARTIAL", "FAILED"}):
            results.add_metric([code, result], asked.results[result])
        for phase, value in sorted(asked.seconds.items()):
            seconds.add_metric([code, phase], value)
        for phase, value in sorted(asked.last.get("seconds", {}).items()):
            last.add_metric([code, phase], value)
        sent.add_metric([code], asked.last.get("requests", 0))
    yield from (requests, answers, results, seconds, last, sent)


def _of_doubts(store: StoreFigures) -> Iterator[Metric]:
    restated = _counter("restatements", "Values that changed after they were stored.", ["exchange", "class"])
    for code in sorted(store.cells.keys() | store.restatements.keys()):
        counts = store.restatements.get(code, {})
        for kind, count in sorted(counts.items()):
            restated.add_metric([code, kind], count)
    held = _gauge(
        "held", "What waits in quarantine: whole answers, stretches and rows, actions.", ["exchange", "scope"]
    )
    decided = _gauge(
        "quarantine_items", "Everything that was ever held, by decision.", ["exchange", "decision"]
    )
    for code in sorted(store.cells.keys() | store.held.keys()):
        frame = store.held.get(code)
        waiting = {} if frame is None else dict(
            frame.filter(frame["decision"] == Decision.PENDING.value)["scope"].value_counts().iter_rows()
        )  # fmt: skip
        for scope in sorted({"answer", "row", "action", *waiting}):
            held.add_metric([code, scope], waiting.get(scope, 0))
        counts = {} if frame is None else dict(frame["decision"].value_counts().iter_rows())
        for decision in Decision:
            decided.add_metric([code, decision.value], counts.get(decision.value, 0))
    yield from (restated, held, decided)


def _of_freshness(store: StoreFigures, exchanges: dict[str, Exchange], now: datetime) -> Iterator[Metric]:
    seconds = _gauge(
        "freshness_seconds",
        "How long the first session without usable prices is overdue (due: an hour after its close); 0: none is.",
        ["exchange"],
    )
    sessions = _gauge("late_sessions", "Sessions that are overdue.", ["exchange"])
    closed = _gauge(
        "last_session_timestamp_seconds", "Close of the last session with usable prices.", ["exchange"]
    )
    for code, exchange in exchanges.items():
        found = freshness(exchange, store.recent_states(code), now)
        if found is None:
            continue
        seconds.add_metric([code], found.seconds(now))
        sessions.add_metric([code], len(found.late))
        if found.last is not None and exchange.calendar().is_session(found.last):
            closed.add_metric([code], exchange.calendar().closes_at(found.last).timestamp())
    yield from (seconds, sessions, closed)


def _of_instance(instance: Instance) -> Iterator[Metric]:
    counts = instance.runs
    runs = _gauge("runs", "Runs that Dagster's instance knows, by outcome; one whose process was killed is FAILED.",
                  ["job", "outcome"])  # fmt: skip
    for (job, outcome), count in sorted(counts.runs.items()):
        runs.add_metric([job, outcome], count)
    longest = _gauge(
        "run_longest_seconds",
        "How long the longest run under way is going on; over: a range of partitions, or one.",
        ["job", "over"],
    )
    for (job, over), value in sorted(counts.longest.items()):
        longest.add_metric([job, over], value)
    ended = _gauge("run_last_end_timestamp_seconds", "When the last run ended.", ["job", "outcome"])
    for (job, outcome), moment in sorted(counts.last_ended.items()):
        ended.add_metric([job, outcome], moment.timestamp())
    yield from (runs, longest, ended)
    yield _unlabelled(
        "runs_died",
        "Runs whose process has ended without a word, and which Dagster takes for running.",
        counts.died,
    )
    yield _unlabelled("queue_oldest_seconds", "How long the first run in the queue waits.", counts.waits)
    if instance.heartbeat is not None:
        yield _unlabelled("daemon_heartbeat_age_seconds", "How long ago Dagster's daemon last showed that it lives.",
                          max(0.0, time.time() - instance.heartbeat))  # fmt: skip
