"""Symbols that stand for one company after the other, from the replay server's answers to what a reader gets."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets import companies, prices
from quant_assets.catalog.build import followed
from quant_assets.replay.launch import ReplayConfig, start
from quant_assets_tests.company_desk import Desk
from quant_assets_tests.ingest.harness import Harness, sessions
from quant_assets_tests.support import recorded

# Apple trades as FB until March, Facebook from its listing in May on, as META from February.
FACEBOOK, MOVED = date(2012, 5, 18), date(2013, 2, 11)
SPELLS = [
    {"symbol": "FB", "of": "AAPL", "until": "2012-03-16", "name": "Apple Inc."},
    {"symbol": "FB", "of": "FB", "since": "2012-05-18", "until": "2013-02-11", "name": "Facebook, Inc."},
    {"symbol": "META", "of": "FB", "since": "2013-02-11", "name": "Meta Platforms, Inc."},
]
APPLE = sessions(date(2012, 3, 1), date(2012, 3, 15))
BEFORE, AFTER = sessions(date(2012, 12, 24), date(2013, 2, 8)), sessions(MOVED, date(2013, 2, 15))


def test_a_symbol_given_away_and_a_company_renamed_are_told_apart(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "store")
    with start(ReplayConfig(sampledata=True, spells=SPELLS, now="2012-03-15")) as server:
        harness = Harness(tmp_path, server.url)

        def fill(days: list[date], *listed: str) -> list[str]:
            """The catalog, a fill, and the catalog of the next day; what that one found."""
            desk.make(days[-1], *listed)
            assert desk.catalog is not None
            harness.live(server, days[-1], days, catalog=followed(desk.catalog, "US"))
            desk.make(date.fromordinal(days[-1].toordinal() + 1), *listed)
            return [remark.partition(" (")[0] for remark in desk.remarks]

        assert fill(APPLE, "FB") == []
        first = desk.ids()["FB"]
        assert fill(BEFORE, "FB") == ["US FB: another company's now from 2012-05-18 on"]
        assert fill([*BEFORE, *AFTER], "META") == ["US META: a company's new symbol from 2013-02-11 on"]
    company = desk.ids()["META"]
    assert first != company == desk.ids()["FB"]
    spells = companies(["FB", "META"], store=harness.store).collect()
    assert sorted(spells.select("first", "last", "symbol", "company_id", "event").rows()) == [
        (date(2000, 3, 1), APPLE[-1], "FB", first, "reused"),
        (FACEBOOK, BEFORE[-1], "FB", company, "renamed"),
        (MOVED, None, "META", company, "renamed"),
    ]
    rows = prices("META", by="company", store=harness.store).collect()
    truth = recorded("FB").filter(pl.col("date").is_in([*BEFORE, *AFTER]))
    assert rows.select("date", "close").equals(truth.select("date", "close"))
    assert rows["symbol"].to_list() == ["FB"] * len(BEFORE) + ["META"] * len(AFTER)
    assert first is not None
    old = prices(first, by="company", store=harness.store).collect()
    assert old["close"].to_list() == recorded("AAPL").filter(pl.col("date").is_in(APPLE))["close"].to_list()
    with pytest.warns(
        UserWarning, match="FB was the symbol of 2 companies, the present one from 2012-05-18 on"
    ):
        assert prices("FB", store=harness.store).collect().height == len(APPLE) + len(BEFORE)
