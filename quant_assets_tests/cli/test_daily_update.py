"""`update-daily`: its collectors in order, what each of them says, and the exit code when one of them fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant_assets import prices, valuations
from quant_assets.cli.app import app
from quant_assets.cli.daily_update import Collector
from quant_assets.replay.launch import ReplayHandle

THURSDAY, FRIDAY = "2013-02-21T23:00:00Z", "2013-02-22T23:00:00Z"
"""Evenings of New York, the second one of a session that ends its week."""


def test_the_line_of_a_collector_says_what_came_what_failed_and_what_was_left_out() -> None:
    said = {"rows": 3, "unanswered": 0}
    assert Collector("catalog").line() == "catalog ok"
    assert Collector("valuations", Counter(said)).line() == "valuations ok rows=3 unanswered=0"
    assert Collector("valuations", failed=["US: no\n answer"]).line() == "valuations failed: US: no answer"
    assert Collector("valuations", Counter(said), ["US"]).line() == (
        "valuations failed: US; ok rows=3 unanswered=0"
    )
    assert Collector("valuations", Counter(said), [], ["ASX"]).line() == (
        "valuations ok rows=3 unanswered=0; skipped: ASX"
    )
    short = Collector("valuations", Counter(rows=200, failed=100), complete=False)
    assert short.line() == "valuations partial rows=200 failed=100"
    lacks = (
        Collector("weekly"),
        Collector("weekly", skipped=["US"]),
        short,
        Collector("weekly", failed=["US"]),
    )
    assert [one.lacks for one in lacks] == [False, False, True, True]


def test_with_the_quotes_down_the_rest_is_there_and_the_summary_and_the_exit_code_say_so(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    universe = tmp_path / "universe.yaml"
    universe.write_text("US: [AAPL, {symbol: IBM, sector: Computers}]\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    def update(*options: str, now: str) -> Result:
        market.set_clock(now)
        settings = {
            "HOME": str(tmp_path), "EXCHANGES": "US", "UNIVERSE": str(universe), "SOURCE_URL": market.url,
            "REQUESTS_PER_SECOND": "0", "ATTEMPTS": "2", "RETRY_WAIT_SECONDS": "0.01", "START": "2013-02-19",
            "NOW": now,
        }  # fmt: skip
        for name, value in settings.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        return CliRunner().invoke(app, ["update-daily", *options], catch_exceptions=False)

    def summary(result: Result) -> list[str]:
        return [line for line in result.stdout.splitlines() if "━" not in line]

    market.add_faults({"kind": "quotes_down", "times": None})
    failed = update(now=THURSDAY)
    why = (
        "symbol_valuations: 1 partition failed: 2013-02-21|US: none of 2 symbols was answered: it answered "
        "with status 503, asked 2 times"
    )
    assert (failed.exit_code, summary(failed)[:7]) == (
        2,
        [
            "catalog ok",
            "prices complete=1 partial=0 closed=0 failed=0",
            f"valuations failed: {why}",
            # Of a week whose last session is to come.
            "weekly ok made=0",
            "history ok made=1",
            "profiles ok made=1",
            "report ok pages=2",
        ],
    )
    assert f"error: valuations: {why}" in failed.stderr.splitlines()
    assert prices(["AAPL", "IBM"]).collect()["date"].n_unique() == 1
    assert valuations(["AAPL", "IBM"]).collect().is_empty()

    market.clear_faults()
    market.reset_stats()
    universe.write_text("US: [AAPL, IBM\n")
    healed = update(now=THURSDAY)
    # A list that cannot be read leaves the catalog of the time before, and that says whom to ask for.
    assert healed.exit_code == 2
    assert summary(healed)[0].startswith("catalog failed: ")
    assert summary(healed)[2] == "valuations ok rows=2 unanswered=0"
    asked = market.stats()
    assert (asked["requests"]["quote"], asked["chart_data"]) == (1, {})
    rows = valuations("IBM", "2013-02-21").select("symbol", "date", "sector", "currency").collect()
    assert [[str(value) for value in row] for row in rows.rows()] == [
        ["IBM", "2013-02-21", "Computers", "USD"]
    ]

    universe.write_text("US: [AAPL, IBM]\n")
    market.reset_stats()
    past = update("--date", "2013-02-21", now=FRIDAY)
    assert past.exit_code == 0
    assert summary(past)[2] == (
        "valuations skipped: a snapshot is of now, and 2013-02-21 is not: symbol_valuations of US can be asked for "
        "2013-02-22"
    )
    assert market.stats()["requests"] == {}
