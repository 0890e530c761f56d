"""A year lived through day by day against a replay server whose clock moves, and judged against the truth at its end.

    python -m benchmarks.simulated_year --seed 7

Every evening each exchange's session is filled, every fifth one half of the symbols are swept, and every tenth
one what is missing is healed, by the product's own code, the real yfinance client and the local store; Dagster stands
aside, it would only record. At the end the store is compared with what was traded, the ledger with what was planted,
reads as of random moments with what a reader got at those moments, and the whole with a single backfill made at the
end of the year. One line at the end; exit code 1 unless all is as it should be.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from benchmarks.simulated_year.judge import Evenings, Judged, judge
from benchmarks.simulated_year.scenario import EXCHANGES, Scenario, make_scenario
from quant_assets.catalog.build import build_catalog, followed
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.defs.maintenance_jobs import slice_of, stored_days
from quant_assets.exchanges import Exchange, enabled
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.corporate_actions import Adjust
from quant_assets.reader import prices, snapshot_id
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode, read_table

READS = 50
SWEEP_EVERY, SWEEP_TURNS = 5, 2
"""Every fifth evening half of the symbols: each one's whole history once in ten sessions."""
HEAL_EVERY = 10
_HEALS = 6
"""How often the year's end asks for what is still missing: one request in a hundred fails."""


@dataclass
class Read:
    """What a reader got at a moment."""

    moment: datetime
    symbols: list[str]
    adjust: Adjust
    frame: pl.DataFrame
    snapshot: str


@dataclass
class Harness:
    """A home with a store, filled from the replay server as it is at the clock."""

    home: Path
    server: ReplayHandle
    exchanges: list[Exchange]
    now: datetime = field(default_factory=lambda: datetime.fromisoformat("2023-01-01T00:00:00+00:00"))
    requests: int = 0
    changed: set[date] = field(default_factory=set[date])
    """The sessions whose cells were put since somebody last looked."""

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(self.home / "store")

    def set_clock(self, now: datetime) -> None:
        self.now = now
        self.server.set_clock(now)

    def read_catalog(self) -> None:
        """Takes the listings that the server knows now for the universe, as a listing source would state them."""
        configured: dict[str, list[ConfiguredSymbol]] = {}
        for row in self.server.catalog():
            owner = next(one.code for one in self.exchanges if one.owns(row["symbol"]))
            symbol = ConfiguredSymbol(symbol=row["symbol"], delisted_on=row["delisted_on"])
            configured.setdefault(owner, []).append(symbol)
        key = object_key(CATALOG)
        try:
            previous = read_table(self.store, key)
        except ObjectNotFound:
            previous = None
        catalog = build_catalog(configured, self.exchanges, previous, self.now.date())
        if previous is None or not catalog.drop("last_seen").equals(previous.drop("last_seen")):
            self.store.put(key, encode(catalog, {}))

    def fill(
        self,
        exchange: Exchange,
        days: list[date],
        only: list[str] | None = None,
        mode: Mode = Mode.INCREMENTAL,
    ) -> FillReport:
        settings = Settings(
            home=self.home, source_url=self.server.url, requests_per_second=0, attempts=3, timeout_seconds=1.0,
            retry_wait_seconds=0.01, cool_down_seconds=0.01, rate_limit_budget_seconds=0.2, now=self.now,
        )  # fmt: skip
        source = YahooSource(settings)
        try:
            rules = FillRules(
                settings.spill_folder, settings.look_back_sessions, settings.least_coverage(exchange.code)
            )
            catalog = followed(read_table(self.store, object_key(CATALOG)), exchange.code)
            report = fill_cells(
                FillContext(exchange, self.store, source, settings.clock, rules),
                FillRequest(days, catalog, only, mode),
            )
        finally:
            source.close()
        self.requests += report.requests
        self.changed |= set(report.changed)
        return report

    def sweep(self, exchange: Exchange, turn: int) -> None:
        catalog = followed(read_table(self.store, object_key(CATALOG)), exchange.code)
        symbols = slice_of(catalog["symbol"].to_list(), date.fromordinal(1 + turn), SWEEP_TURNS)
        if symbols:
            self.fill(exchange, stored_days(self.store, exchange.code), symbols, Mode.FORCE)


def evenings(scenario: Scenario, exchanges: list[Exchange]) -> Iterator[tuple[datetime, Exchange, date, int]]:
    """Every session in the order in which they are over: the moment, the exchange, the session and its number."""
    found = [
        (one.calendar().closes_at(day) + one.delay + timedelta(minutes=5), one, day, number)
        for one in exchanges
        for number, day in enumerate(scenario.sessions[one.code])
    ]
    yield from sorted(found, key=lambda evening: (evening[0], evening[1].code))


def live(
    scenario: Scenario, harness: Harness, chance: random.Random, watch: Evenings | None = None
) -> list[Read]:
    """The year day by day; answers what a reader got at random moments of it. `watch` looks at every evening."""
    days = list(evenings(scenario, harness.exchanges))
    reading = set(chance.sample(range(len(days)), READS))
    reads: list[Read] = []
    for at, (moment, exchange, session, number) in enumerate(days):
        harness.set_clock(moment)
        harness.read_catalog()
        harness.fill(exchange, [session])
        if number % SWEEP_EVERY == 0:
            harness.sweep(exchange, number // SWEEP_EVERY)
        if number % HEAL_EVERY == HEAL_EVERY - 1:
            harness.fill(exchange, stored_days(harness.store, exchange.code))
        if watch is not None:
            watch.look(harness.store, exchange.code, harness.changed)
        harness.changed.clear()
        if at in reading:
            later = days[at + 1][0] if at + 1 < len(days) else moment + timedelta(hours=1)
            known = moment + (later - moment) * chance.random() * 0.99
            how: Adjust = chance.choice(("none", "split", "total_return"))
            catalog = read_table(harness.store, object_key(CATALOG))
            symbols = sorted(chance.sample(catalog["symbol"].to_list(), chance.randint(1, catalog.height)))
            frame = prices(symbols, adjust=how, store=harness.store).collect()
            reads.append(
                Read(known, symbols, how, frame, snapshot_id(symbols, adjust=how, store=harness.store))
            )
    return reads


def heal(harness: Harness) -> None:
    """Asks for what is missing until nothing is that could still come."""
    for _ in range(_HEALS):
        reports = [harness.fill(one, stored_days(harness.store, one.code)) for one in harness.exchanges]
        if not any(report.requests for report in reports):
            return


def main(arguments: list[str] | None = None) -> int:
    """Lives through a year; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lies", action="store_true", help="answers that are wrong inside, now and then")
    parser.add_argument("--keep", type=Path, help="a folder in which the stores are left")
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    scenario = make_scenario(asked.seed, lies=asked.lies)
    with tempfile.TemporaryDirectory(prefix="simulated-year-") as folder:
        root = asked.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        scenario.write_history(root / "year.csv")
        config = ReplayConfig(
            history_files=[(root / "year.csv", "as_traded")], faults=list(scenario.faults), now="2023-01-01"
        )
        with start(config) as server:
            judged = live_and_judge(scenario, server, root, asked.seed)
    for text in judged.wrong[:40]:
        print(f"simulate: wrong: {text}")
    word = "ok" if judged.ok else "FAILED"
    print(f"simulate: requests={judged.requests} seconds={time.monotonic() - started:.0f}")
    lies = (
        f" lies={len(scenario.lies)} wrong_on_any_evening={judged.wrong_on_any_evening}" if asked.lies else ""
    )
    print(f"simulate: {word} seed={asked.seed} {judged.line()}{lies}")
    return 0 if judged.ok else 1


def live_and_judge(scenario: Scenario, server: ReplayHandle, root: Path, seed: int) -> Judged:
    """The year, its end, and the verdict."""
    exchanges = enabled(EXCHANGES)
    harness = Harness(root / "day-by-day", server, exchanges)
    evenings = Evenings(scenario)
    reads = live(scenario, harness, random.Random(seed), evenings if scenario.lies else None)
    print(f"simulate: lived through, {harness.requests} requests", flush=True)
    # On a second day, too: a suspension is called one when it has been stated twice.
    heal(harness)
    harness.set_clock(harness.now + timedelta(days=1))
    heal(harness)
    judged = judge(scenario, harness.store, exchanges)
    judged.requests = harness.requests
    judged.wrong_on_any_evening = len(evenings.wrong)
    judged.wrong += sorted(evenings.wrong)

    before, writes = harness.requests, counted(WRITES)
    for one in exchanges:
        harness.fill(one, list(scenario.sessions[one.code]))
    judged.expect(
        harness.requests == before and counted(WRITES) == writes, "a rerun asked or wrote something"
    )

    for read in reads:
        again = prices(read.symbols, adjust=read.adjust, as_of=read.moment, store=harness.store).collect()
        judged.expect(
            again.equals(read.frame), f"as of {read.moment} another thing is read than was read then"
        )
        replayed = prices(
            read.symbols, adjust=read.adjust, snapshot=read.snapshot, store=harness.store
        ).collect()
        judged.expect(replayed.equals(read.frame), f"snapshot {read.snapshot} gives another thing")

    once = Harness(root / "at-once", server, exchanges, harness.now)
    once.read_catalog()
    for later in range(2):
        once.set_clock(harness.now + timedelta(days=later))
        for one in exchanges:
            once.fill(one, list(scenario.sessions[one.code]))
        heal(once)
    # How often a row was doubted on the way shows in its flags, and a single backfill has doubted none.
    judged.compare(harness.store, once.store, exchanges, flags=not scenario.lies)
    return judged


if __name__ == "__main__":
    sys.exit(main())
