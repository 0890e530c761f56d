"""`quant-assets keys`, and what `serve` refuses without them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from quant_assets.cli.app import main
from quant_assets.operations.keys import KeyRing, matching


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["quant-assets", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))
    return tmp_path


def test_a_key_is_printed_once_and_its_hash_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "keys"
    monkeypatch.setenv("QUANT_ASSETS_API_KEYS_FILE", str(file))
    assert run(monkeypatch, "keys", "create", "--name", "ci", "--scope", "operate") == 0
    key = capsys.readouterr().out.strip()
    found = matching(key, KeyRing("", file).all())
    assert found is not None
    assert (found.name, found.scope) == ("ci", "operate")
    assert key not in file.read_text()
    assert run(monkeypatch, "keys", "create", "--name", "ci") == 1
    assert "has a key called ci" in capsys.readouterr().err
    assert run(monkeypatch, "keys", "list") == 0
    assert capsys.readouterr().out.startswith("ci operate sha256:")
    assert run(monkeypatch, "keys", "revoke", "ci") == 0
    assert KeyRing("", file).all() == []


def test_without_a_file_the_entry_for_the_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "keys", "create", "--name", "me", "--scope", "admin") == 0
    told = capsys.readouterr()
    entry = told.err.split("QUANT_ASSETS_API_KEYS=")[1].split(" ")[0]
    found = matching(told.out.strip(), KeyRing(entry, None).all())
    assert found is not None
    assert found.scope == "admin"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keys", "create", "--name", "a b"], "--name 'a b'"),
        (["keys", "create", "--name", "a", "--scope", "root"], "write read, operate, admin"),
        (["keys", "revoke", "a"], "QUANT_ASSETS_API_KEYS_FILE"),
        (["serve", "--host", "0.0.0.0"], "there is no key"),
        (["serve", "--demo"], "quant-assets demo fills it"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(monkeypatch, *arguments) in (1, 2)
    assert words in capsys.readouterr().err


def test_an_address_that_cannot_be_had_is_told_before_anything_is_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, "serve", "--port", str(port)) != 0
    told = capsys.readouterr().err
    assert f"--port {port}: another program listens there already" in told
    assert "serving" not in told


def test_what_stands_in_place_of_an_entry_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_API_KEYS", "qa_this-is-a-key-itself")
    assert run(monkeypatch, "serve", "--host", "0.0.0.0") == 1
    told = capsys.readouterr().err
    assert "QUANT_ASSETS_API_KEYS, line 1: write name:scope:sha256" in told
    assert "itself," not in told
    assert "qa_this" not in told
