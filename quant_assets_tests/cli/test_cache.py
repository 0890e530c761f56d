"""`quant-assets cache` and `cache clear`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_assets.cli.app import main
from quant_assets.dev.redis_server import RedisServer, redis_server
from quant_assets.resources.open_cache import open_cache
from quant_assets.resources.settings import load_settings
from quant_assets_tests.support import NEEDS_REDIS


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["quant-assets", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    with redis_server("S3CRET") as started:
        monkeypatch.setenv("QUANT_ASSETS_CACHE", started.url)
        yield started


@NEEDS_REDIS
def test_a_redis_is_looked_at_cleared_and_missed(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    far = open_cache(load_settings()).far
    assert far is not None
    for name in "abc":
        assert far.put(name, b"x")
    assert run(monkeypatch, "cache") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"cache: ok redis://127.0.0.1:{server.port} entries=3 bytes=")
    assert run(monkeypatch, "cache", "clear") == 0
    assert capsys.readouterr().out == "cache: cleared removed=3\n"
    assert far.get("a") is None
    far.close()

    server.kill()
    assert run(monkeypatch, "cache", "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "away"
    assert run(monkeypatch, "cache", "clear") == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert f"127.0.0.1:{server.port} cannot be cleared" in told.err
    assert "S3CRET" not in shown + str(facts) + told.out + told.err


def test_without_a_redis_it_is_said_where_answers_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["cache"], ["cache", "clear"]):
        assert run(monkeypatch, *arguments) == 2
        assert "DELETE /v1/cache" in capsys.readouterr().err
