"""The commands about what is discovered, on the replay server's screener."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import discovered_key
from quant_assets_tests.support import tree

Command = Callable[..., Result]


@pytest.fixture
def catalog(market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `quant-assets catalog …` over five symbols of US, of which two are followed, and nine of ASX."""
    (tmp_path / "universe.yaml").write_text("US: [AAPL, IBM]\n")

    def run(*arguments: str, **settings: str) -> Result:
        wanted = {
            "HOME": str(tmp_path / "home"), "EXCHANGES": "US,ASX", "UNIVERSE": str(tmp_path / "universe.yaml"),
            "SOURCE_URL": market.url, "REQUESTS_PER_SECOND": "0", "ATTEMPTS": "1", "NOW": "2013-03-01T23:00:00Z",
            **settings,
        }  # fmt: skip
        for name, value in wanted.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        return CliRunner().invoke(app, ["catalog", *arguments], catch_exceptions=False)

    return run


def test_proposals_are_found_listed_and_decided(catalog: Command, tmp_path: Path) -> None:
    dry = catalog("discover", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.splitlines() == [
        "US: changed: 5 listings from Yahoo's screener",
        "  proposed: FB, GOOG, MSFT",
        "ASX: changed: 9 listings from Yahoo's screener",
        "  proposed: AAA.AX, AAB.AX, AAC.AX, AAD.AX, AAE.AX, AAG.AX, AAH.AX, AAI.AX, AAJ.AX",
        "discover: dry-run changed=2 unchanged=0 refused=0 failed=0 proposed=12 accepted=0",
    ]
    assert not (tmp_path / "home" / "store").exists()
    done = catalog("discover", "--exchange", "US", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["exchanges"][0]["proposed"] == ["FB", "GOOG", "MSFT"]
    listed = catalog("proposals")
    assert listed.stdout.splitlines()[-1] == "proposals: 3 proposed"
    assert "GOOG" in listed.stdout
    assert catalog("accept", "goog,FB").stdout.splitlines() == [
        "US: accepted: FB, GOOG", "catalog: ok accepted=2",
    ]  # fmt: skip
    assert catalog("reject", "--all", "--exchange", "US").stdout.splitlines() == [
        "US: rejected: MSFT", "catalog: ok rejected=1",
    ]  # fmt: skip
    assert catalog("proposals").stdout.splitlines() == [
        "nothing is proposed (`quant-assets catalog discover` looks for listings)", "proposals: 0 proposed",
    ]  # fmt: skip
    rejected = json.loads(catalog("proposals", "--state", "rejected", "--json").stdout)
    assert [(one["exchange"], one["symbol"], one["first_seen"]) for one in rejected] == [
        ("US", "MSFT", "2013-03-01")
    ]
    assert "unchanged=1" in catalog("discover", "--exchange", "US").stdout


def test_automatic_follows_at_once(catalog: Command) -> None:
    done = catalog("discover", "--exchange", "US", DISCOVERY="automatic", DISCOVERY_TYPES="equity,etf")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:] == [
        "  accepted: FB, GOOG, MSFT", "discover: ok changed=1 unchanged=0 refused=0 failed=0 proposed=0 accepted=3",
    ]  # fmt: skip


def test_an_exchange_that_fails_is_told_with_exit_code_2(catalog: Command, tmp_path: Path) -> None:
    store = tmp_path / "home" / "store"
    assert catalog("discover", "--exchange", "US").exit_code == 0
    (store / discovered_key("US")).write_bytes(b"no parquet")
    done = catalog("discover")
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert lines[0] == "US: failed: from Yahoo's screener"
    assert "exchange=US.parquet" in lines[1]
    assert lines[-1] == "discover: incomplete changed=1 unchanged=0 refused=0 failed=1 proposed=9 accepted=0"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("accept",), "name symbols, or say --all for the proposals of an exchange"),
        (("accept", "FB", "--all", "--exchange", "US"), "name symbols, or say --all"),
        (("reject", "--all"), "--all is of one exchange: say which with --exchange"),
        (("accept", " , "), "SYMBOL ' , ' names no symbol"),
        (
            ("accept", "GOOG,GOGO,FB"),
            "not discovered on US, ASX: GOGO (did you mean GOOG? `quant-assets catalog proposals` lists what is; ",
        ),
        (
            ("accept", "FB", "--exchange", "ASX"),
            "not discovered on ASX: FB (`quant-assets catalog proposals`",
        ),
        (("proposals", "--state", "new"), "--state 'new': write proposed, accepted, rejected"),
        (("discover", "--exchange", "LSE"), "LSE is not enabled; add it to QUANT_ASSETS_EXCHANGES"),
    ],
)
def test_wrong_usage_is_told_and_changes_nothing(
    catalog: Command, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    assert catalog("discover", "--exchange", "US").exit_code == 0
    before = tree(tmp_path / "home" / "store")
    with pytest.raises(UsageProblem) as refused:
        catalog(*arguments)
    assert told in str(refused.value)
    assert tree(tmp_path / "home" / "store") == before
