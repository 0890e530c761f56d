"""What a run of daily cells says of those that are not there."""

from __future__ import annotations

from pathlib import Path

from quant_assets.defs.assets.daily_prices import NOT_ASKED, what_failed
from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.ingest.harness import DAY, Harness


def test_a_run_that_asked_nothing_says_when_the_source_is_asked_again(
    market: ReplayHandle, tmp_path: Path
) -> None:
    harness = Harness(tmp_path, market.url)
    market.add_faults({"kind": "missing_session", "date": str(DAY), "times": "persistent"})
    first, second = harness.live(market, DAY), harness.live(market, DAY)
    for report, asked in ((first, True), (second, False)):
        assert (report.states, report.requests > 0) == ({"failed": 1}, asked)
        assert (NOT_ASKED in what_failed([report])) is not asked
    assert what_failed([second]).startswith("daily_prices: 1 partition failed: 2013-02-")
    # Beside an exchange that was asked it is for that one's reasons to stand.
    assert NOT_ASKED not in what_failed([first, second])
