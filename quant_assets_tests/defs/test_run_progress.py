"""What a long fill tells on its run's page while it goes on."""

from __future__ import annotations

import orjson

from quant_assets.defs.run_progress import EVERY, PROGRESS_TAG, RunProgress
from quant_assets.resources.source import FetchResult, Outcome


def test_a_fill_of_thousands_tells_how_far_it_is_every_half_minute() -> None:
    now, lines, tags = 0.0, list[str](), list[dict[str, str]]()
    progress = RunProgress("US", lines.append, tags.append, lambda: now)
    progress.planned(3000, 500)
    answer = FetchResult("A", Outcome.OK, facts={"attempts": 1})
    for _ in range(2990):
        now += EVERY / 1000
        progress.symbol(answer)
    assert lines == ["US: asked for 1,000 of 3,000 symbols", "US: asked for 2,000 of 3,000 symbols"]
    for unasked in (FetchResult("A", Outcome.RATE_LIMITED), FetchResult("A", Outcome.FAILED, "not asked")):
        progress.symbol(unasked)
    assert tags == [{"quant_assets/asked": "1,000 of 3,000"}, {"quant_assets/asked": "2,000 of 3,000"}]
    for _ in range(500):
        now += EVERY / 200
        progress.cell()
    assert tags[2:] == [{"quant_assets/asked": "2,990 of 3,000"}]
    assert lines[2:] == [
        "US: 2 of 500 cells are settled",
        "US: 202 of 500 cells are settled",
        "US: 402 of 500 cells are settled",
    ]


def test_a_short_fill_tells_nothing() -> None:
    told = list[object]()
    progress = RunProgress("US", told.append, told.append, lambda: 0.0)
    progress.planned(1, 1)
    progress.symbol(FetchResult("A", Outcome.OK, facts={"attempts": 1}))
    progress.cell()
    assert told == []


def test_the_run_of_a_job_tells_its_progress_every_second() -> None:
    now, tags = 0.0, list[dict[str, str]]()
    progress = RunProgress("US", lambda _: None, tags.append, lambda: now, watched=True)

    def shown() -> list[tuple[int, ...]]:
        found = [tuple(orjson.loads(one[PROGRESS_TAG]).values()) for one in tags]
        tags.clear()
        return found

    progress.planned(4, 3)
    assert shown() == [(4, 0, 3, 0)]
    for _ in range(4):
        now += 0.6
        progress.symbol(FetchResult("A", Outcome.OK, facts={"attempts": 1}))
    # The last symbol at once, and so the first cell and the last one.
    assert shown() == [(4, 2, 3, 0), (4, 4, 3, 0)]
    for _ in range(3):
        progress.cell()
    assert shown() == [(4, 4, 3, 1), (4, 4, 3, 3)]
