"""Gaps, restatements and quarantine as a user meets them on the command line, over runs with planted trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.market.coverage import SUSPENDED, Missing
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.support import tree

Command = Callable[..., Result]

OUT_OF_LINE = "close 2 in a bar"
BACKFILL = ("backfill", "--exchange", "US", "--start", "2013-02-11", "--end", "2013-02-15")


@pytest.fixture
def command(market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a home of its own, at a moment; in this process, because Dagster is slow to import."""
    (tmp_path / "universe.yaml").write_text("US: [AAPL, IBM, MSFT]\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    def run(*arguments: str, now: str = "2013-02-19T23:00:00Z", **settings: str) -> Result:
        wanted = {
            "HOME": str(tmp_path / "home"),
            "EXCHANGES": "US",
            "UNIVERSE": str(tmp_path / "universe.yaml"),
            "SOURCE_URL": market.url,
            "REQUESTS_PER_SECOND": "0",
            "RETRY_WAIT_SECONDS": "0.01",
            "ATTEMPTS": "2",
            "START": "2013-01-02",
            "MIN_COVERAGE": "0",
            "NOW": now,
            **settings,
        }
        for name, value in wanted.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        market.set_clock(now)
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return run


def listed(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_differs_is_told_then_taken_and_then_on_record(
    command: Command, market: ReplayHandle, tmp_path: Path
) -> None:
    assert command(*BACKFILL).exit_code == 0
    assert listed(command("restatements", "--json")) == []
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "IBM", "date": "2013-02-13", "field": "close", "value": 200.5}
    )
    before, writes = tree(tmp_path / "home" / "store"), counted(WRITES)
    told = command(*BACKFILL, "--mode", "verify")
    assert told.exit_code == 2
    assert "differs: IBM 2013-02-13 close: 200.09 -> 200.5 (correction)" in told.stdout
    # That it was asked for is on record, and nothing else was written.
    assert (tree(tmp_path / "home" / "store"), counted(WRITES)) == (before, writes + 1)

    # The next day's update holds the week before as well.
    update = command("update-daily", "--date", "2013-02-19")
    assert update.exit_code == 0, update.output
    assert "restated: 1 change" in update.stdout
    (event,) = listed(command("restatements", "--symbol", "IBM", "--json"))
    assert (event["date"], event["old"], event["new"], event["class"]) == (
        "2013-02-13", "200.09", "200.5", "correction",
    )  # fmt: skip
    assert listed(command("restatements", "--symbol", "AAPL", "--json")) == []
    assert command(*BACKFILL, "--mode", "verify").exit_code == 0


def test_where_nothing_was_asked_for_gaps_says_so(command: Command) -> None:
    told = command("gaps")
    assert (told.exit_code, told.stdout.splitlines()) == (
        0, ["nothing has been asked for yet of US: backfill a range first", "gaps: 0 open=0 sessions=0"],
    )  # fmt: skip
    assert listed(command("gaps", "--json")) == []


def test_gaps_are_listed_and_backfill_missing_heals_exactly_these(
    command: Command, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    assert command(*BACKFILL).exit_code == 2
    assert command("update-daily", "--date", "2013-02-19").exit_code == 2
    # Its holes just before would be filled as well, if the symbol were answered.
    later = command("update-daily", "--date", "2013-02-25", now="2013-02-26T23:00:00Z")
    assert later.exit_code == 2
    assert "absent: 3 sessions of US never asked for, the first 2013-02-20" in later.stdout
    market.clear_faults()
    gaps = listed(command("gaps", "--json", now="2013-02-26T23:00:00Z"))
    assert [(g["kind"], g["symbol"], g["first"], g["last"], g["sessions"]) for g in gaps] == [
        ("market", None, "2013-02-20", "2013-02-22", 3),
        ("market", None, "2013-02-26", "2013-02-26", 1),
        ("late_start", "AAPL", "2013-02-11", "2013-02-25", 7),
    ]
    assert {g["outcome"] for g in gaps} == {"not_asked", "failed"}
    assert [g["symbol"] for g in listed(command("gaps", "--symbol", "aapl", "--json"))] == ["AAPL"]
    market.reset_stats()
    healed = command("backfill", "--missing", now="2013-02-26T23:00:00Z")
    assert healed.exit_code == 0, healed.output
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1, "MSFT": 1}
    assert listed(command("gaps", "--json", now="2013-02-26T23:00:00Z")) == []
    market.reset_stats()
    writes = counted(WRITES)
    assert command("backfill", "--missing", now="2013-02-26T23:00:00Z").exit_code == 0
    # The record of the command.
    assert (market.stats()["requests"], counted(WRITES)) == ({}, writes + 1)


def test_a_bar_that_breaks_a_rule_waits_for_a_decision_and_keeps_it(
    command: Command, market: ReplayHandle
) -> None:
    def broken(symbol: str, day: str) -> dict[str, Any]:
        return {"kind": "corrected_bar", "symbol": symbol, "date": day, "field": "close", "value": 2.0}

    market.add_faults(broken("IBM", "2013-02-13"), broken("MSFT", "2013-02-14"))
    partial = command(*BACKFILL)
    assert partial.exit_code == 2
    assert f"missing: IBM in 1 cell: held: {OUT_OF_LINE}" in partial.stdout
    lines = [line for line in partial.stdout.splitlines() if line.startswith("held: ")]
    assert [line.split(" around")[0] for line in lines] == [
        f"held: {symbol}: bar of {day}, since 2013-02-19: {OUT_OF_LINE}"
        for symbol, day in (("IBM", "2013-02-13"), ("MSFT", "2013-02-14"))
    ]
    assert re.search(r"see `quant-assets quarantine show [0-9a-f]{12}`$", lines[0])
    held = {bar["symbol"]: bar for bar in listed(command("quarantine", "list", "--json"))}
    assert held.keys() == {"IBM", "MSFT"}
    assert held["IBM"]["rule"].startswith(OUT_OF_LINE)
    assert [held["IBM"][name] for name in ("scope", "kind", "first", "last", "sessions", "since", "claims")] == [
        "row", "field_out_of_line", "2013-02-13", "2013-02-13", 1, "2013-02-19", 1,
    ]  # fmt: skip
    told = command("quarantine", "show", held["IBM"]["id"]).stdout
    for words in (
        "bar of 2013-02-13: pending", "since       2013-02-19, claimed on 1 day, last on 2013-02-19",
        "nothing stored", "An answer whose four prices agree", "accept          stores what is claimed",
        "final hole",
    ):  # fmt: skip
        assert words in told, told
    shown = json.loads(command("quarantine", "show", held["IBM"]["id"], "--json").stdout)
    (row,) = shown["rows"]
    assert (row["claimed"]["close"], row["claimed"]["dividend"], row["stored"]) == (2.0, 0.0, None)

    accepted = command("quarantine", "accept", held["IBM"]["id"], "--note", "traded at two")
    assert accepted.exit_code == 0, accepted.output
    rejected = command("quarantine", "reject", "--symbol", "MSFT", "--json")
    assert json.loads(rejected.stdout) == {
        "rejected": [held["MSFT"]["id"]], "cells": {"US": ["2013-02-14"]}, "unknown": [],
    }  # fmt: skip
    assert listed(command("quarantine", "list", "--json")) == []
    assert command("quarantine", "list").stdout == "nothing waits in quarantine\n"
    decided = {b["symbol"]: b for b in listed(command("quarantine", "list", "--all", "--json"))}
    assert (decided["IBM"]["decision"], decided["MSFT"]["decision"]) == ("accepted", "rejected")
    (row,) = json.loads(command("quarantine", "show", held["IBM"]["id"], "--json").stdout)["rows"]
    assert (row["claimed"]["note"], row["stored"]["close"]) == ("traded at two", 2.0)
    assert row["stored"]["flags"] == "close_outside_range,settled_by_person"

    # Another day asks again for neither, and finds both decided.
    market.reset_stats()
    later = command("backfill", "--missing", "--end", "2013-02-15", now="2013-02-21T23:00:00Z")
    assert later.exit_code == 2
    assert "missing: MSFT in 1 cell: rejected" in later.stdout
    assert market.stats()["chart_data"] == {}
    assert listed(command("quarantine", "list", "--json")) == []


def test_ids_that_name_nothing_are_named_and_the_others_are_decided_about(
    command: Command, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "IBM", "date": "2013-02-13", "field": "close", "value": 2.0}
    )
    assert command(*BACKFILL).exit_code == 2
    (held,) = listed(command("quarantine", "list", "--json"))
    result = command("quarantine", "reject", held["id"], "feedc0ffee00")
    assert (result.exit_code, result.stdout) == (1, "quarantine: rejected 1\n")
    assert "nothing that waits has the id feedc0ffee00 (`quant-assets quarantine list`)" in result.stderr
    # What was decided says so, and a rejection can be taken back.
    again = command("quarantine", "reject", held["id"])
    assert again.exit_code == 1
    assert (
        f"error: {held['id']}: the bar of 2013-02-13 of IBM was rejected on 2013-02-19 23:00 UTC"
        in again.stderr
    )
    nothing = command("quarantine", "accept", "--symbol", "IBM")
    assert (nothing.exit_code, nothing.stdout) == (1, "quarantine: accepted 0\n")
    assert "nothing of IBM waits for a decision" in nothing.stderr
    taken = command("quarantine", "accept", held["id"], "--note", "it did trade at two")
    assert (taken.exit_code, taken.stdout) == (0, "quarantine: accepted 1\n")
    told = command("quarantine", "show", held["id"]).stdout
    assert 'decided     accepted on 2013-02-19 23:00 UTC ("it did trade at two")' in told
    amount = command("quarantine", "accept", held["id"], "--dividend", "0.5")
    assert amount.exit_code == 1


def test_a_universe_of_one_that_is_held_exits_as_partial(
    command: Command, market: ReplayHandle, tmp_path: Path
) -> None:
    (tmp_path / "universe.yaml").write_text("US: [IBM]\n")
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "IBM", "date": "2013-02-19", "field": "close", "value": 2.0}
    )
    for _ in range(2):
        # The second time nothing is asked.
        held = command("update-daily", "--date", "2013-02-19", MIN_COVERAGE="95")
        assert held.exit_code == 2, held.output
        assert "held: IBM: bar of 2013-02-19" in held.stdout
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": None})
    failed = command("update-daily", "--date", "2013-02-20", now="2013-02-20T23:00:00Z", MIN_COVERAGE="95")
    assert failed.exit_code == 1, failed.output
    assert "held: IBM: bar of 2013-02-19" in failed.stdout


def test_too_few_symbols_fail_a_cell_and_something_usable_is_partial(
    command: Command, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.cli.outcome._MOST_LINES", 0)
    market.add_faults({"kind": "missing_session", "symbol": "IBM", "date": "2013-02-13", "times": None})
    partial = command(*BACKFILL, MIN_COVERAGE="95")
    assert partial.exit_code == 2
    assert "complete=4 partial=0 closed=0 failed=1" in partial.stdout
    assert "2 of 3 symbols received, less than 95%" in partial.output
    rest, short = "missing: and 1 more; ", "too few: 1 cell failed"
    assert 0 <= partial.stdout.find(rest) < partial.stdout.find(short)
    market.clear_faults()
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": None})
    nothing = command("update-daily", "--date", "2013-02-19", MIN_COVERAGE="US=95")
    assert nothing.exit_code == 1


def test_a_sweep_compares_whole_histories_a_slice_a_day(command: Command, market: ReplayHandle) -> None:
    assert command(*BACKFILL).exit_code == 0
    for symbol in ("AAPL", "IBM", "MSFT"):
        market.add_faults(
            {
                "kind": "corrected_bar",
                "symbol": symbol,
                "date": "2013-02-12",
                "field": "volume",
                "value": 7_000_000,
            }
        )
    found = set[str]()
    for day in ("25", "26", "27"):
        market.reset_stats()
        swept = command("sweep", now=f"2013-02-{day}T23:00:00Z", SWEEP_DAYS="3")
        assert swept.exit_code == 0, swept.output
        assert "sweep: ok restatements=1" in swept.stdout
        (symbol,) = market.stats()["chart_data"]
        found.add(symbol)
    assert found == {"AAPL", "IBM", "MSFT"}
    assert len(listed(command("restatements", "--json"))) == 3


def test_a_first_backfill_that_fails_is_known_and_healed(command: Command, market: ReplayHandle) -> None:
    failed = command(*BACKFILL, SOURCE_URL="http://127.0.0.1:9")
    assert failed.exit_code == 1
    assert sorted(
        (gap["first"], gap["last"], gap["outcome"]) for gap in listed(command("gaps", "--json"))
    ) == [
        ("2013-02-11", "2013-02-15", "failed"),
        ("2013-02-19", "2013-02-19", "not_asked"),
    ]
    summary = json.loads(command("show-manifest", "--json").stdout)["exchanges"]["US"]
    assert summary["absent"] == ["2013-02-11", "2013-02-12", "2013-02-13", "2013-02-14", "2013-02-15"]
    healed = command("backfill", "--missing")
    assert healed.exit_code == 0, healed.output
    assert "complete=6 partial=0 closed=1 failed=0 requests=" in healed.stdout
    assert listed(command("gaps", "--json")) == []


def test_settled_gaps_are_counted_and_listed_on_request(command: Command, tmp_path: Path) -> None:
    now = "2013-02-15T23:00:00Z"
    assert command(*BACKFILL, now=now).exit_code == 0
    manifest = Manifest(LocalObjectStore(tmp_path / "home" / "store"), DAILY)

    def hole(day: str, outcome: str) -> None:
        missing = (Missing("IBM", outcome, "as told", date(2013, 2, 14)),)
        entry = manifest.year("US", 2013)[day]
        manifest.record("US", [replace(entry, missing=missing, recorded_at="2013-02-16")])

    hole("2013-02-12", SUSPENDED)
    told = command("gaps", now=now).stdout
    assert "no gaps but settled ones (`--settled` lists them)" in told
    assert told.splitlines()[-1] == "gaps: 1 open=0 sessions=0"
    assert listed(command("gaps", "--json", now=now)) == []
    hole("2013-02-14", "no_bar")
    assert [gap["kind"] for gap in listed(command("gaps", "--json", now=now))] == ["hole"]
    every = listed(command("gaps", "--settled", "--json", now=now))
    assert [(gap["kind"], gap["settled"]) for gap in every] == [("suspended", True), ("hole", False)]
    told = command("gaps", "--settled", now=now).stdout
    assert ("suspended" in told, told.splitlines()[-1]) == (True, "gaps: 2 open=1 sessions=1")


def test_wrong_words_are_refused_with_the_right_ones(command: Command) -> None:
    from quant_assets.cli.usage import UsageProblem

    for arguments, words in (
        (
            ("backfill", "--exchange", "US", "--start", "2013-02-11", "--mode", "anew"),
            "incremental, force, verify",
        ),
        (("backfill",), "--missing"),
        (("backfill", "--missing", "--force"), "leave --mode and --force out"),
        (("backfill", "--missing"), "holds no cell yet"),
        (("quarantine", "accept"), "name ids, or --symbol"),
        (("quarantine", "show", "3f2a9c01d4e7"), "nothing has the id 3f2a9c01d4e7"),
    ):
        with pytest.raises(UsageProblem, match=words):
            command(*arguments)
