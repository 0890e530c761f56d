"""`quant-assets doctor`: each part that is missing is named with what to do about it, and hides no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr
from typer.testing import CliRunner

from quant_assets import doctor
from quant_assets.cli.app import app
from quant_assets.dev.redis_server import redis_server
from quant_assets.doctor import PARTS, Finding, examine
from quant_assets.instance import workers_apart
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.reachability import Reached
from quant_assets.resources.settings import Settings
from quant_assets_tests.support import tree


def found(settings: Settings, *parts: str) -> dict[str, Finding]:
    return {one.part: one for one in examine(settings, {part: PARTS[part] for part in parts})}


def test_all_is_well_on_a_new_machine_and_nothing_is_left_behind(
    market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in {"HOME": str(tmp_path / "home"), "SOURCE_URL": market.url}.items():
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    result = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    told = {one["part"]: one for one in json.loads(result.stdout)}
    assert told.keys() >= {*PARTS.keys() - {"settings"}, "clock", "memory"}
    assert {one["state"] for one in told.values()} == {"ok"}, told
    assert result.exit_code == 0
    assert market.stats()["chart_data"] == {}
    assert tree(tmp_path) == {}
    monkeypatch.setenv("QUANT_ASSETS_NOW", "2013-03-01T23:00:00Z")
    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 2
    assert "warning  clock      held at 2013-03-01T23:00:00+00:00 (" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("doctor: warning ok=")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_the_redis_that_machines_share_answers_and_forgets_nothing(tmp_path: Path) -> None:
    with redis_server("S3CRET") as server:
        settings = Settings(home=tmp_path, shared_redis=SecretStr(server.url))
        told = found(settings, "shared")["shared"]
        assert told.state == "ok"
        assert " answers (Redis " in told.detail
        redis.Redis.from_url(server.url).config_set("maxmemory-policy", "allkeys-lfu")
        told = found(settings, "shared")["shared"]
        assert (told.state, "noeviction" in told.remedy) == ("warning", True)
    told = found(settings, "shared")["shared"]
    assert told.state == "failed"
    assert "QUANT_ASSETS_SHARED_REDIS" in told.detail
    assert "S3CRET" not in str(told)


def test_what_is_away_or_wrong_is_named_with_its_remedy(tmp_path: Path) -> None:
    universe = tmp_path / "universe.yaml"
    universe.write_text("US: [{symbol: IBM, listed_on: yesterday}]\n")
    (tmp_path / "file").write_text("")
    keys = tmp_path / "keys"
    keys.write_text("what is this\n")
    settings = Settings(
        home=tmp_path / "file" / "home", store=str(tmp_path / "file"), universe=universe, exchanges=("US",),
        source_url="http://127.0.0.1:9", cache="redis://:secret@127.0.0.1:9", api_keys_file=keys,
        alert_urls=SecretStr("json://127.0.0.1:9/secret mial://me:secret@example.org"),
    )  # fmt: skip
    told = found(settings, "home", "store", "source", "universe", "cache", "keys", "alerts")
    assert {part: one.state for part, one in told.items()} == {
        "home": "failed", "store": "failed", "source": "failed", "universe": "failed", "cache": "warning",
        "keys": "failed", "alerts": "failed",
    }  # fmt: skip
    assert told["home"].detail == f"{tmp_path / 'file'} is no folder"
    assert "http://127.0.0.1:9 does not answer" in told["source"].detail
    assert "QUANT_ASSETS_SOURCE_URL" in told["source"].remedy
    assert "listed_on" in told["universe"].detail
    assert str(tmp_path / "file") in told["store"].detail
    assert f"{keys}, line 1" in told["keys"].detail
    assert "QUANT_ASSETS_CACHE" in told["cache"].remedy
    assert "address 2 of 2 (mial://…)" in told["alerts"].detail
    assert "secret" not in str(told).replace("may hold a secret", "")


def test_workers_of_a_database_in_this_home_are_a_warning(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, workers=2, shared_redis=SecretStr("redis://h:6379/0"))
    assert "loses the runs" in found(settings, "instance")["workers"].detail
    settings.dagster_home.mkdir(parents=True)
    # As it is mounted in containers.
    (settings.dagster_home / "dagster.yaml").write_text("storage:\n  postgres: {}\n")
    assert workers_apart(settings) == ""
    assert workers_apart(Settings(home=tmp_path / "other")) == ""


def test_an_exchange_that_is_misspelt_in_a_setting_is_a_warning(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        exchanges=("US",),
        min_coverage={"*": 95.0, "US": 90.0},
        alert_quiet={"AUS": (time(22), time(7))},
    )
    told = found(settings, "settings")["settings"]
    assert (told.state, "QUANT_ASSETS_ALERT_QUIET is set for AUS" in told.detail) == ("warning", True)
    assert found(Settings(home=tmp_path), "settings") == {}


def test_a_bucket_that_is_missing_is_named_with_who_asked(bucket: str, tmp_path: Path) -> None:
    there = found(Settings(home=tmp_path, store=f"gs://{bucket}/p"), "store")["store"]
    assert (there.state, f"gs://{bucket}/p" in there.detail) == ("ok", True)
    assert "as anonymous (emulator)" in there.detail
    away = found(Settings(home=tmp_path, store=f"gs://{bucket}-not/p"), "store")["store"]
    assert away.state == "failed"
    assert "create the bucket" in away.detail


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [(1.5, "ok", "agrees"), (90.0, "failed", "0:01:30 ahead"), (-86400.0, "failed", "1 day, 0:00:00 behind")],
)
def test_a_clock_that_is_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, state: str, words: str
) -> None:
    # No server of ours tells a wrong time.
    monkeypatch.setattr(doctor, "reach", lambda *_: Reached(200, ahead))
    clock = found(Settings(home=tmp_path), "source")["clock"]
    assert (clock.state, words in clock.detail) == (state, True)


def test_calendars_that_end_soon_are_a_warning(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, exchanges=("US", "NSE"), now=datetime(2026, 12, 24, tzinfo=UTC))
    calendars = found(settings, "calendars")["calendars"]
    assert calendars.state == "warning"
    assert "NSE until" in calendars.detail
    assert "US" not in calendars.detail


def test_a_postgresql_that_is_away_is_told_before_the_first_run(tmp_path: Path) -> None:
    address = SecretStr("postgresql://quant:s3cret@127.0.0.1:9/dagster")
    told = found(Settings(home=tmp_path, dagster_db=address), "instance")["instance"]
    assert (told.state, "Connection refused" in told.detail, "s3cret" in str(told)) == ("failed", True, False)
    assert tree(tmp_path) == {}


def test_a_part_that_fails_in_whatever_way_hides_no_other_and_one_that_hangs_keeps_no_process() -> None:
    code = """
import threading
from quant_assets.doctor import PARTS, examine
from quant_assets.resources.settings import Settings
def fails(_):
    yield from ()
    raise KeyError("odd")
def hangs(_):
    threading.Event().wait()
    yield
for one in examine(Settings(), {"fails": fails, "hangs": hangs, "limits": PARTS["limits"]}, patience=0.5):
    print(one.part, one.state, one.detail)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    lines = ended.stdout.splitlines()
    assert lines[:2] == ["fails failed KeyError: 'odd'", "hangs failed no answer within 0.5 s"]
    assert lines[2].startswith("limits ok")


def test_a_part_that_hangs_hides_no_other(tmp_path: Path) -> None:
    released = threading.Event()

    def hangs(_: Settings) -> Iterator[Finding]:
        released.wait(60)
        yield Finding("hangs", "ok", "")

    try:
        told = examine(Settings(home=tmp_path), {"hangs": hangs, "limits": PARTS["limits"]}, patience=0.5)
    finally:
        released.set()
    assert [one.part for one in told][:2] == ["hangs", "limits"]
    assert (told[0].state, told[0].detail) == ("failed", "no answer within 0.5 s")
