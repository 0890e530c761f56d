"""Fetching for universes and phases: their symbols are asked for, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.cli.app import app
from quant_assets.cli.selection import select
from quant_assets.cli.usage import UsageProblem
from quant_assets.exchanges import enabled
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import CATALOG, object_key
from quant_assets.tables.parquet import encode
from quant_assets_tests.support import NOW, quick_settings

Command = Callable[..., Result]
RANGE = ("--start", "2013-02-11", "--end", "2013-02-15")


@pytest.fixture
def command(market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "universes.yaml").write_text(
        "universes:\n"
        "  - {name: tech, exchange: US, source: {kind: csv, path: tech.csv}}\n"
        "  - {name: blue, exchange: US, phase: 2, source: {kind: static, symbols: [IBM, AAPL]}}\n"
        "  - {name: au, exchange: ASX, phase: 3, source: {kind: static, symbols: [AAA.AX]}}\n"
        "  - {name: off, exchange: US, enabled: false, source: {kind: static, symbols: [FB]}}\n"
    )
    (tmp_path / "tech.csv").write_text("symbol\nMSFT\nAAPL\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    def run(*arguments: str, **settings: str) -> Result:
        wanted = {
            "HOME": str(tmp_path / "home"), "EXCHANGES": "US,ASX", "UNIVERSE": str(tmp_path / "universes.yaml"),
            "SOURCE_URL": market.url, "REQUESTS_PER_SECOND": "0", "START": "2013-01-02", "MIN_COVERAGE": "0",
            "NOW": "2013-02-19T23:00:00Z", **settings,
        }  # fmt: skip
        for name, value in wanted.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        market.set_clock("2013-02-19T23:00:00Z")
        market.reset_stats()
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return run


def asked(market: ReplayHandle) -> set[str]:
    return set(market.stats()["chart_data"])


def test_each_command_asks_for_the_symbols_of_the_universes_that_it_names(
    command: Command, market: ReplayHandle
) -> None:
    done = command("backfill", "--exchange", "US", *RANGE, "--universe", "tech")
    assert done.exit_code in (0, 2), done.output
    assert asked(market) == {"AAPL", "MSFT"}
    assert command("update-daily", "--date", "2013-02-19", "--phase", "2").exit_code in (0, 2)
    assert asked(market) == {"AAPL", "IBM"}
    assert command("sweep", "--universe", "blue", SWEEP_DAYS="1").exit_code == 0
    assert asked(market) == {"AAPL", "IBM"}
    assert (
        command("backfill", "--exchange", "US", *RANGE, "--mode", "verify", "--universe", "tech").exit_code
        == 0
    )
    assert asked(market) == {"AAPL", "MSFT"}


def test_what_was_discovered_and_accepted_is_a_list_like_a_universe(tmp_path: Path) -> None:
    (tmp_path / "universes.yaml").write_text(
        "universes: [{name: blue, exchange: US, source: {kind: static, symbols: [IBM]}}]\n"
    )
    settings = quick_settings(tmp_path, "", exchanges=("US", "ASX"), universe=tmp_path / "universes.yaml")
    store, both = LocalObjectStore(tmp_path / "store"), enabled(settings.exchanges)
    members = {
        "US": {"blue": [ConfiguredSymbol(symbol="IBM")], "discovered": [ConfiguredSymbol(symbol="GOOG")]},
        "ASX": {"discovered": [ConfiguredSymbol(symbol="BHP.AX")]},
    }
    catalog = build_catalog({}, both, None, NOW.date(), members)
    store.put(object_key(CATALOG), encode(catalog, {}))
    for names, codes, found in (
        ("discovered", ["US", "ASX"], ["BHP.AX", "GOOG"]),
        ("discovered", ["US"], ["GOOG"]),
        ("blue, discovered", ["US"], ["GOOG", "IBM"]),
        ("blue", ["US"], ["IBM"]),
    ):
        wanted = select(settings, None, names, None)
        assert [one.code for one in wanted.exchanges(both)] == (["US"] if names == "blue" else ["US", "ASX"])
        assert wanted.in_catalog(store, codes) == found
    with pytest.raises(UsageProblem, match="--universe discovered: the universe file has no such universe"):
        select(settings, None, "discovered", 1)
    store.put(object_key(CATALOG), encode(catalog.clear(), {}))
    with pytest.raises(
        UsageProblem, match=r"discovered: the catalog has no symbol of it .`quant-assets catalog pr"
    ):
        select(settings, None, "discovered", None).in_catalog(store, ["US"])


def test_who_has_left_a_universe_belongs_to_it_still_unless_a_person_took_him_off(tmp_path: Path) -> None:
    (tmp_path / "universes.yaml").write_text(
        "universes:\n"
        "  - {name: tech, exchange: US, source: {kind: csv, path: tech.csv}}\n"
        "  - {name: blue, exchange: US, source: {kind: static, symbols: [IBM]}}\n"
    )
    names = [ConfiguredSymbol(symbol=name) for name in ("AAPL", "IBM", "MSFT")]
    us = enabled(["US"])
    first = build_catalog(
        {}, us, None, NOW.date(), {"US": {"tech": names[:2], "blue": names[2:]}}, sourced=["tech"]
    )
    left = build_catalog({}, us, first, NOW.date(), {"US": {"tech": names[:1]}}, sourced=["tech"])
    store = LocalObjectStore(tmp_path)
    store.put(object_key(CATALOG), encode(left, {}))
    settings = quick_settings(tmp_path, "", universe=tmp_path / "universes.yaml")
    assert select(settings, None, "tech", None).in_catalog(store, ["US"]) == ["AAPL", "IBM"]
    with pytest.raises(UsageProblem, match="blue: the catalog has no symbol of it"):
        select(settings, None, "blue", None).in_catalog(store, ["US"])
    # A catalog of an earlier release says nothing of it.
    store.put(object_key(CATALOG), encode(left.drop("left_universes"), {}))
    assert select(settings, None, "tech", None).in_catalog(store, ["US"]) == ["AAPL"]


def test_a_universe_of_which_nothing_is_known_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tech.csv").unlink()
    with pytest.raises(
        UsageProblem, match=r"tech: the catalog has no symbol of it .`quant-assets refresh-universe"
    ):
        command("backfill", "--exchange", "US", *RANGE, "--universe", "tech")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("backfill", "--exchange", "ASX", *RANGE, "--universe", "tech"),
            "tech: of US, and not of ASX; correct",
        ),
        (("update-daily", "--exchange", "ASX", "--phase", "1"), "tech: of US, and not of ASX"),
        (("sweep", "--exchange", "US", "--universe", "au"), "au: of ASX, and not of US"),
        (("backfill", "--missing", "--exchange", "US", "--phase", "3"), "au: of ASX, and not of US"),
        (("backfill", "--exchange", "US", *RANGE, "--universe", "off"), "--universe off: it is not enabled"),
        (
            ("sweep", "--phase", "9"),
            "--phase 9: no universe asked for is of that phase; the phases are 1, 2, 3",
        ),
        (
            ("backfill", "--exchange", "US", *RANGE, "--symbols", "IBM", "--phase", "1"),
            "--symbols names symbols, --universe and --phase name lists of them; leave one out",
        ),
        (
            ("backfill", "--exchange", "US", *RANGE, "--mode", "verify", "--universe", "tech"),
            "tech: {store} has no catalog yet: backfill a range first",
        ),
    ],
)
def test_what_cannot_be_selected_is_refused_and_nothing_asked_for(
    command: Command, market: ReplayHandle, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UsageProblem) as refused:
        command(*arguments)
    assert str(refused.value).startswith(told.format(store=tmp_path / "home" / "store"))
    assert market.stats()["requests"] == {}
