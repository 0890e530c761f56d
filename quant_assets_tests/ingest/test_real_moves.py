"""A crash of nine tenths is stored on its own evening where its day shows it, and waits where nothing does."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from quant_assets.replay.launch import ReplayConfig, start
from quant_assets_tests.ingest.harness import Harness, sessions
from quant_assets_tests.support import NOW, listings

HEADER = "symbol,date,open,high,low,close,volume,dividend,split_ratio"
DAYS = sessions(date(2013, 1, 2), date(2013, 2, 15))
CRASH = 20


def test_a_crash_is_stored_on_its_own_evening(tmp_path: Path) -> None:
    lines = [HEADER]
    for number, day in enumerate(DAYS):
        for symbol, times, low in (("LOUD", 9, 1.5), ("MUTE", 1, 1.98)):
            price, volume = 20 + number % 3 / 10, 1000 + number
            if number >= CRASH:
                price = 2 + number % 3 / 100
            if number == CRASH:
                volume *= times
            bottom = low if number == CRASH else price * 0.99
            lines.append(f"{symbol},{day},{price},{price * 1.01},{bottom},{price},{volume},0,1")
    file = tmp_path / "history.csv"
    file.write_text("\n".join(lines))
    with start(ReplayConfig(history_files=[(file, "as_traded")], now=NOW)) as market:
        harness = Harness(tmp_path / "home", market.url)
        harness.live(market, DAYS[CRASH - 1], DAYS[:CRASH], catalog=listings("LOUD", "MUTE"))
        report = harness.live(market, DAYS[CRASH], catalog=listings("LOUD", "MUTE"))
        assert report.quarantined == 1
        (row,) = harness.cell(DAYS[CRASH]).select("symbol", "low", "volume").rows()
        assert row == ("LOUD", 1.5, 9 * (1000 + CRASH))
        (missing,) = harness.entry(DAYS[CRASH]).missing
        assert (missing.symbol, missing.outcome) == ("MUTE", "refused")
