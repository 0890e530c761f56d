"""Early starts: look-backs over a calendar's edge, days before 1970, and a start that no calendar reaches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.definitions import build_definitions
from quant_assets.exchanges import SHIPPED_SINCE, calendars_begin_after, enabled, known, load
from quant_assets.instance import prepare_instance
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.settings import Settings, SettingsError
from quant_assets.tables.layout import DAILY, WEEKLY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.support import days_between, quick_settings

RIYADH = """
exchanges:
  SAU: {name: Saudi Exchange, suffix: .SR, yahoo_codes: [SAU], calendar: XSAU, zone: Asia/Riyadh, close: "15:00",
        currencies: [SAR], weekdays: "0-4"}
"""


@pytest.fixture(scope="module")
def old_market() -> Iterator[ReplayHandle]:
    generated = [
        GeneratedExchange("NYSE", 2, 1, date(1961, 11, 1), date(1962, 3, 1)),
        GeneratedExchange("ASX", 2, 1, date(1969, 11, 1), date(1970, 3, 1)),
        GeneratedExchange("NASDAQ", 2, 1, date(1989, 11, 1), date(1990, 3, 1)),
    ]
    with start(ReplayConfig(generated=generated, now=date(1990, 3, 1))) as handle:
        yield handle


def platform(
    home: Path, market: ReplayHandle, first: date, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    settings = quick_settings(
        home, market.url, exchanges=("US", "ASX"), universe=home / "universe.json", start=first, now=now
    )
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    prepare_instance(settings)
    return Platform(settings, dg.DagsterInstance.from_config(str(settings.dagster_home)))


def test_new_yorks_first_week_of_1962(
    old_market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(1962, 1, 13, 12, tzinfo=UTC)
    old_market.set_clock(now)
    home = platform(tmp_path, old_market, date(1962, 1, 2), now, monkeypatch)
    home.follow(US=["EAA", "EAB"])
    assert home.days(date(1962, 1, 2), date(1962, 1, 12)).success
    cells = Manifest(home.store, DAILY).year("US", 1962)
    assert {day: entry.state for day, entry in cells.items()} == {
        str(day): "complete" for day in days_between(date(1962, 1, 2), date(1962, 1, 12))
    }
    assert home.run("weekly_prices_job", "US|1962-01-08").success
    assert Manifest(home.store, WEEKLY).year("US", 1962)["1962-01-08"].state == "complete"


def test_days_before_an_exchanges_calendar_are_closed_and_say_why(
    old_market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(1970, 1, 10, 12, tzinfo=UTC)
    old_market.set_clock(now)
    home = platform(tmp_path, old_market, date(1969, 12, 1), now, monkeypatch)
    home.follow(ASX=["AAA.AX", "AAB.AX"])
    assert home.run("daily_prices_asx", "1969-12-30|ASX", "1970-01-02|ASX").success
    cells = Manifest(home.store, DAILY).all("ASX")
    assert [(e.partition, e.state, e.reason) for e in sorted(cells, key=lambda e: e.partition)] == [
        ("1969-12-30", "closed", "before 1970-01-01, where the calendar of ASX begins"),
        ("1969-12-31", "closed", "before 1970-01-01, where the calendar of ASX begins"),
        ("1970-01-01", "closed", "ASX did not trade on 1970-01-01"),
        ("1970-01-02", "complete", ""),
    ]


def command(home: Path, url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("QUANT_ASSETS_")}
    environment.pop("DAGSTER_HOME", None)
    wanted = {"HOME": str(home), "EXCHANGES": "US", "SOURCE_URL": url, "REQUESTS_PER_SECOND": "0", **settings}
    return subprocess.run(
        [str(Path(sys.executable).with_name("quant-assets")), *arguments],
        env=environment | {f"QUANT_ASSETS_{name}": text for name, text in wanted.items()},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


def test_a_daily_update_in_the_first_days_of_1990(old_market: ReplayHandle, tmp_path: Path) -> None:
    now = "1990-01-07T12:00:00Z"
    old_market.set_clock(now)
    (tmp_path / "universe.yaml").write_text("US: [AAA, AAB]\n")
    told = {"START": "1990-01-01", "NOW": now, "UNIVERSE": str(tmp_path / "universe.yaml")}
    done = command(tmp_path, old_market.url, "update-daily", "--date", "1990-01-05", **told)
    assert done.returncode == 0, done.stderr
    assert "complete=1" in done.stdout


@pytest.mark.parametrize(
    ("exchanges", "first", "named"),
    [
        ("ASX,US", "1952-12-31", ["US (NYSE)", "1953-01-01"]),
        ("ASX,LSE", "1969-12-31", ["ASX (XASX)", "1970-01-01"]),
        ("SAU", "2000-01-03", ["SAU (XSAU)", "2021-01-01"]),
    ],
)
def test_a_start_that_no_calendar_reaches_is_one_clear_error(
    tmp_path: Path, exchanges: str, first: str, named: list[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RIYADH)
    settings = Settings(
        home=tmp_path,
        exchanges=tuple(exchanges.split(",")),
        start=date.fromisoformat(first),
        exchanges_file=file,
    )
    with pytest.raises(SettingsError) as caught:
        build_definitions(settings)
    text = str(caught.value)
    assert text.startswith(f"QUANT_ASSETS_START={first}: ")
    assert [part for part in named if part not in text] == []
    assert "\n" not in text


def test_one_calendar_that_reaches_the_start_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RIYADH)
    assert calendars_begin_after(enabled(["SAU", "US"], file), date(2000, 1, 3)) is None
    assert calendars_begin_after(enabled(["ASX", "US"]), date(1962, 1, 2)) is None
    riyadh = load(file)["SAU"]
    assert calendars_begin_after([riyadh], date(2020, 12, 31)) == (riyadh, date(2021, 1, 1))
    assert calendars_begin_after([riyadh], date(2021, 1, 1)) is None


def test_the_shipped_calendars_reach_back_as_far_as_is_taken_for_granted() -> None:
    late = {code: one.rules.known_from for code, one in known().items() if one.rules.known_from}
    begins = {code: one.calendar().first_day for code, one in known().items()}
    assert {code: day for code, day in begins.items() if day > SHIPPED_SINCE} == late
    assert calendars_begin_after(enabled(["SSE", "TADAWUL"]), date(1991, 1, 1)) is None
    assert calendars_begin_after(enabled(["SSE", "TADAWUL"]), date(1990, 12, 31)) == (
        enabled(["SSE"])[0],
        date(1991, 1, 1),
    )


def test_a_usual_start_asks_no_calendar_library() -> None:
    script = (
        "import sys; from datetime import date; from quant_assets.exchanges import *\n"
        "late = calendars_begin_after(enabled(['ASX', 'US']), date(2000, 1, 3))\n"
        "late = late or calendars_begin_after(enabled(['TADAWUL', 'NSE']), date(2000, 1, 3))\n"
        "print(late, 'pandas_market_calendars' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]
