"""Asks the source, turns answers into as-traded rows, and says of every wanted bar that did not come why."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.ingest.plan import Plan
from quant_assets.market.bars import DAILY_SCHEMA, conform_daily, empty_daily
from quant_assets.market.corporate_actions import as_traded
from quant_assets.market.coverage import NO_BAR, NO_DATA, REFUSED, Missing, describe_gap, short_gaps
from resources.source import FetchResult, HistoryRequest, Outcome, PriceSource

SHORT_GAP = 5
"""Sessions in a row without a bar, up to which the source is asked a second time in the same run."""

LOOK_BACK = timedelta(days=45)
"""How far before the first wanted session an answer starts: a gap is judged by the bars on both its sides, and is
told in the same words whichever run finds it."""

_BATCH_ROWS = 200_000

REFUSALS_SCHEMA = pl.Schema({**DAILY_SCHEMA, "rule": pl.String()})


class Spill:
    """As-traded rows on disk, batch by batch and year by year, so that memory holds one batch or one year."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batches = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Takes a batch (DAILY_SCHEMA)."""
        self._batches += 1
        for (year,), part in rows.group_by(pl.col("date").dt.year()):
            part.write_parquet(self._folder / f"{year}-{self._batches:06d}.parquet", compression="lz4")

    def year(self, year: int) -> pl.DataFrame:
        """All rows of a year (DAILY_SCHEMA), in no order."""
        files = sorted(self._folder.glob(f"{year}-*.parquet"))
        return pl.concat([pl.read_parquet(file) for file in files]) if files else empty_daily()


@dataclass(slots=True)
class Fetched:
    """What the source gave for a plan."""

    spill: Spill
    missing: dict[date, dict[str, Missing]] = field(default_factory=dict[date, dict[str, Missing]])
    """Per session the wanted symbols that have no bar, with the reason."""
    first_trade: dict[str, date] = field(default_factory=dict[str, date])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFUSALS_SCHEMA))
    warnings: list[str] = field(default_factory=list[str])
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True)
class _Answer:
    """One symbol's answer as far as it is wanted."""

    result: FetchResult
    rows: pl.DataFrame
    holes: list[date]


@contextmanager
def fetch(
    plan: Plan,
    exchange: Exchange,
    source: PriceSource,
    clock: Callable[[], datetime],
    *,
    spill_folder: Path,
    on_symbol: Callable[[FetchResult], None] = lambda _: None,
) -> Generator[Fetched]:
    """Asks for everything `plan` wants, at one request a symbol; the spilled rows live as long as the context.

    A symbol whose answer has a short gap is asked once more at the end: a bar that the source left out by
    accident comes then, and one that it does not have is missing by two answers.

    Raises SourceUnavailable.
    """
    with _room(spill_folder) as folder:
        yield _Fetching(plan, exchange, source, clock, Spill(folder), on_symbol).run()


def sweep_spill(parent: Path) -> None:
    """Removes the spill folders of runs that were killed.

    Every run holds a lock on its folder, which ends with the process however that ends: what is not locked
    belongs to nobody.
    """
    if not parent.is_dir():
        return
    with _locked(parent):
        for folder in parent.iterdir():
            taken = (BlockingIOError, FileNotFoundError, NotADirectoryError)
            with contextlib.suppress(*taken), _locked(folder, fcntl.LOCK_NB):
                shutil.rmtree(folder)


@contextmanager
def _room(parent: Path) -> Generator[Path]:
    """A new folder in `parent`, gone at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    lock = contextlib.ExitStack()
    with _locked(parent):
        mine = Path(tempfile.mkdtemp(prefix="fetch-", dir=parent))
        lock.enter_context(_locked(mine))
    with lock:
        try:
            yield mine
        finally:
            shutil.rmtree(mine)


@contextmanager
def _locked(folder: Path, how: int = 0) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


class _Fetching:
    def __init__(
        self,
        plan: Plan,
        exchange: Exchange,
        source: PriceSource,
        clock: Callable[[], datetime],
        spill: Spill,
        on_symbol: Callable[[FetchResult], None],
    ) -> None:
        self._plan, self._exchange, self._source, self._clock = plan, exchange, source, clock
        self._on_symbol = on_symbol
        self._fetched = Fetched(spill)
        self._batch: list[pl.DataFrame] = []
        self._starts = plan.starts()
        self._wanted_by_symbol: dict[str, list[date]] = {}
        for session in sorted(plan.wanted):
            for symbol in plan.wanted[session]:
                self._wanted_by_symbol.setdefault(symbol, []).append(session)
        self._sessions: list[date] = []
        if plan.wanted:
            last = exchange.calendar().last_session_over(clock(), exchange.delay) or max(plan.wanted)
            self._sessions = exchange.calendar().sessions(min(plan.wanted) - LOOK_BACK, last)

    def _sessions_of(self, symbol: str) -> list[date]:
        """The exchange's sessions that the symbol's answer is to cover, through the last one that is over."""
        return self._sessions[bisect_left(self._sessions, self._starts[symbol] - LOOK_BACK) :]

    def run(self) -> Fetched:
        again: dict[str, _Answer] = {}
        for answer in self._ask(list(self._starts)):
            self._on_symbol(answer.result)
            if answer.holes:
                again[answer.result.symbol] = answer
            else:
                self._take(answer)
        for second in self._ask(sorted(again)):
            self._take(self._both(again[second.result.symbol], second))
        self._flush()
        return self._fetched

    def _ask(self, symbols: list[str]) -> Iterator[_Answer]:
        requests = [HistoryRequest(s, self._starts[s] - LOOK_BACK, self._exchange.zone) for s in symbols]
        results = self._source.history(requests)
        while True:
            started = time.perf_counter()
            result = next(results, None)
            self._fetched.seconds["source"] += time.perf_counter() - started
            if result is None:
                return
            started = time.perf_counter()
            answer = self._read(result)
            self._fetched.seconds["transform"] += time.perf_counter() - started
            yield answer

    def _read(self, result: FetchResult) -> _Answer:
        if result.outcome is not Outcome.OK:
            return _Answer(result, empty_daily(), [])
        rows = as_traded(result.bars, result.splits, result.dividends).with_columns(
            pl.lit(result.symbol).alias("symbol"),
            pl.lit(result.currency).alias("currency"),
            pl.lit(self._clock()).alias("fetched_at"),
        )
        rows = conform_daily(rows)
        present = set(rows.filter(pl.col("close").is_not_null())["date"])
        wanted = self._wanted_by_symbol[result.symbol]
        first = result.first_trade or wanted[0]
        gaps = short_gaps(self._sessions_of(result.symbol), present, first=first, longest=SHORT_GAP)
        return _Answer(result, rows, sorted(set(gaps) & set(wanted)))

    def _both(self, first: _Answer, second: _Answer) -> _Answer:
        """The first answer with what only the second has; where the second brought nothing, the first stands."""
        if second.result.outcome is not Outcome.OK:
            return first
        bars = first.rows.filter(pl.col("close").is_not_null())
        more = second.rows.filter(
            ~pl.col("date").is_in(bars["date"].implode()), pl.col("close").is_not_null()
        )
        rows = pl.concat([first.rows.filter(~pl.col("date").is_in(more["date"].implode())), more]).sort(
            "date"
        )
        return _Answer(first.result, rows, [])

    def _take(self, answer: _Answer) -> None:
        """Counts an answer, names what is missing from it, and hands its wanted rows to the batch."""
        started = time.perf_counter()
        result = answer.result
        symbol = result.symbol
        self._fetched.outcomes[result.outcome.value] += 1
        wanted = self._wanted_by_symbol[symbol]
        first = result.first_trade
        if first is not None:
            self._fetched.first_trade[symbol] = first
        # Before the listing there is nothing to miss, whatever became of the rest.
        due = [session for session in wanted if first is None or session >= first]
        if result.outcome is Outcome.OK:
            present = set(answer.rows.filter(pl.col("close").is_not_null())["date"])
            sessions = self._sessions_of(symbol)
            for session in due:
                if session not in present:
                    reason = result.dropped.get(session) or describe_gap(sessions, present, session)
                    outcome = REFUSED if session in result.dropped else NO_BAR
                    self._miss(session, symbol, outcome, reason)
            self._warn_of_closed_days(symbol, answer.rows)
            rows = answer.rows.filter(pl.col("date").is_in(wanted))
            if not rows.is_empty():
                self._batch.append(rows)
        else:
            outcome = NO_DATA if result.outcome is Outcome.NO_DATA else result.outcome.value
            for session in due:
                self._miss(session, symbol, outcome, result.reason)
        self._fetched.seconds["transform"] += time.perf_counter() - started
        if sum(rows.height for rows in self._batch) >= _BATCH_ROWS:
            self._flush()

    def _miss(self, session: date, symbol: str, outcome: str, reason: str) -> None:
        missing = Missing(symbol, outcome, reason, self._clock().date())
        self._fetched.missing.setdefault(session, {})[symbol] = missing

    def _warn_of_closed_days(self, symbol: str, rows: pl.DataFrame) -> None:
        days = self._plan.days
        if not days.sessions:
            return
        inside = rows.filter(pl.col("date").is_between(days.sessions[0], days.sessions[-1]))
        sessions = self._exchange.calendar().sessions(days.sessions[0], days.sessions[-1])
        for day in inside.filter(~pl.col("date").is_in(sessions))["date"]:
            self._fetched.warnings.append(
                f"{symbol}: the source has a bar or an action on {day}, when {self._exchange.code} was closed; "
                "not stored (if it did trade, add the day to the exchange's `open` overrides)"
            )

    def _flush(self) -> None:
        """Validates the batch and spills what is good; a refused row becomes a named hole."""
        if not self._batch:
            return
        started = time.perf_counter()
        from quant_assets.market.validation import validate

        good, refused = validate(pl.concat(self._batch))
        self._batch = []
        for row in refused.iter_rows(named=True):
            self._miss(row["date"], row["symbol"], REFUSED, f"refused: {row['rule']}")
        if not refused.is_empty():
            self._fetched.refused = pl.concat([self._fetched.refused, refused.select(list(REFUSALS_SCHEMA))])
        self._fetched.spill.add(good)
        self._fetched.seconds["transform"] += time.perf_counter() - started
