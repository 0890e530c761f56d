"""The simulated year at two looks: half of it filled at midsummer, all of it at its end. `make simulate-year` lives
through it day by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.simulated_year.__main__ import Harness, heal
from benchmarks.simulated_year.judge import judge
from benchmarks.simulated_year.scenario import EXCHANGES, make_scenario
from quant_assets.defs.maintenance_jobs import stored_days
from quant_assets.exchanges import enabled
from quant_assets.ingest.plan import Mode
from quant_assets.replay.launch import ReplayConfig, start
from quant_assets.resources.counters import WRITES, counted
from quant_assets.tables.restatements import Ledger

MIDSUMMER = datetime(2023, 7, 15, tzinfo=UTC)
YEARS_END = datetime(2023, 12, 30, tzinfo=UTC)


@pytest.mark.slow
def test_a_year_seen_twice_is_true_and_every_change_is_on_record(tmp_path: Path) -> None:
    scenario = make_scenario(4)
    scenario.write_history(tmp_path / "year.csv")
    config = ReplayConfig(
        history_files=[(tmp_path / "year.csv", "as_traded")], faults=list(scenario.faults), now=MIDSUMMER
    )
    with start(config) as server:
        exchanges = enabled(EXCHANGES)
        harness = Harness(tmp_path / "home", server, exchanges)
        for moment in (MIDSUMMER, YEARS_END):
            harness.set_clock(moment)
            harness.read_catalog()
            for one in exchanges:
                sessions = [day for day in scenario.sessions[one.code] if day < moment.date()]
                harness.fill(one, sessions)
            heal(harness)
        # What the look-back window does not reach is found by asking for everything again.
        for one in exchanges:
            while harness.fill(one, stored_days(harness.store, one.code), mode=Mode.FORCE).not_verified:
                pass
        # A suspension is called one once it has been stated on two days.
        harness.set_clock(YEARS_END + timedelta(days=1))
        heal(harness)
        judged = judge(scenario, harness.store, exchanges)
        found = {
            (row["symbol"], row["date"], row["field"], row["class"])
            for one in exchanges
            for row in Ledger(harness.store, one.code).restatements().iter_rows(named=True)
        }
        # Only what was served wrong at midsummer could be stored wrong.
        seen = {
            (p.symbol, p.date, p.field, p.kind)
            for p in scenario.planted
            if p.date < MIDSUMMER.date() and p.told_at > MIDSUMMER
        }
        before, writes = harness.requests, counted(WRITES)
        for one in exchanges:
            harness.fill(one, stored_days(harness.store, one.code))
    assert (judged.holes, judged.wrong_values, judged.false_delistings) == (0, 0, 0)
    assert judged.cells == sum(len(days) for days in scenario.sessions.values())
    assert len(seen) >= 2
    assert found == seen
    assert judged.false_restatements == 0
    assert (harness.requests, counted(WRITES)) == (before, writes)
