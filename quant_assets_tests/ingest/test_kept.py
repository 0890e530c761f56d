"""What a killed run has been answered is not asked again, as long as the source has nothing to add."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules, Listeners
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.kept import KeptAnswers
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.source import (
    DIVIDENDS_SCHEMA,
    SERVED_SCHEMA,
    SPLITS_SCHEMA,
    FetchResult,
    HistoryRequest,
    Meta,
    Outcome,
    UnreadableEvent,
)
from quant_assets.resources.yahoo import YahooSource
from quant_assets_tests.ingest.harness import SYMBOLS, WEEK, Harness, bars, truth
from quant_assets_tests.support import NOW, listings, quick_settings

US = exchange("US")
FIRST, SECOND = date(2013, 2, 11), date(2013, 2, 12)
RICH = FetchResult(
    "^A",
    Outcome.OK,
    bars=pl.DataFrame(
        [(FIRST, 1.0, 2.5, 0.5, 2.0, None, 7), (SECOND, 1.0, 2.0, 0.1 + 0.2, 2.0, 1.9, 8)],
        schema=SERVED_SCHEMA, orient="row",
    ),
    splits=pl.DataFrame([(FIRST, 2.0), (SECOND, 1 / 3)], schema=SPLITS_SCHEMA, orient="row"),
    dividends=pl.DataFrame(
        [(FIRST, 0.1, "dividend", None), (SECOND, 0.2, "capital_gain", "GBP")], schema=DIVIDENDS_SCHEMA, orient="row"
    ),
    dropped={FIRST: "null values", SECOND: "two bars"},
    currency="USD",
    first_trade=FIRST,
    meta=Meta(1.5, datetime(2013, 2, 12, 21, tzinfo=UTC), 1.0, None),
    unreadable=[UnreadableEvent(None, "split", "1:0"), UnreadableEvent(FIRST, "dividend", "x")],
    shifted=[FIRST, SECOND],
    notes=["a note"],
    facts={"status": 200, "seconds": 0.25},
)  # fmt: skip


def ask(start: date = SECOND, symbol: str = "^A") -> HistoryRequest:
    return HistoryRequest(symbol, start, "America/New_York")


def keep(folder: Path | None, request: HistoryRequest, result: FetchResult, now: datetime = NOW) -> None:
    """As a run does that finds nothing kept."""
    answers = KeptAnswers(folder, US)
    assert answers.take(request, now) is None
    answers.keep(request, result, now)


def same(one: FetchResult, other: FetchResult) -> bool:
    frames = ("bars", "splits", "dividends")
    empty = dict.fromkeys(frames, pl.DataFrame())
    equal = all(getattr(one, name).equals(getattr(other, name)) for name in frames)
    return equal and replace(one, **empty) == replace(other, **empty)


def test_an_answer_is_kept_to_the_bit_with_its_moment(tmp_path: Path) -> None:
    keep(tmp_path, ask(), RICH)
    second = KeptAnswers(tmp_path, US)
    kept = second.take(ask(), NOW + timedelta(minutes=5))
    assert kept is not None
    assert (kept.at, same(kept.result, RICH)) == (NOW, True)
    assert kept.result.bars.schema == SERVED_SCHEMA
    # The second question of a run is a question of its own.
    assert second.take(ask(), NOW) is None
    second.clear()
    assert KeptAnswers(tmp_path, US).take(ask(), NOW) is None
    assert not list(tmp_path.rglob("*.1"))


@pytest.mark.parametrize("outcome", [Outcome.NOT_FOUND, Outcome.NO_DATA])
def test_that_there_is_nothing_is_not_kept_and_so_asked_again(tmp_path: Path, outcome: Outcome) -> None:
    keep(tmp_path, ask(), FetchResult("^A", outcome, "not there"))
    assert KeptAnswers(tmp_path, US).take(ask(), NOW) is None


def test_a_longer_answer_is_taken_for_what_a_shorter_one_would_be_and_stays(tmp_path: Path) -> None:
    keep(tmp_path, ask(date(2013, 1, 2)), RICH)
    taken = KeptAnswers(tmp_path, US)
    kept = taken.take(ask(SECOND + timedelta(days=1)), NOW)
    assert kept is not None
    found = kept.result
    assert [*found.bars["date"], *found.splits["date"], *found.dividends["date"]] == [SECOND] * 3
    assert (found.dropped, found.shifted, found.unreadable) == (
        {SECOND: "two bars"}, [SECOND], RICH.unreadable[:1],
    )  # fmt: skip
    taken.clear()
    # Another run has more to make of it.
    assert KeptAnswers(tmp_path, US).take(ask(date(2013, 1, 2)), NOW) is not None
    assert KeptAnswers(tmp_path, US).take(ask(date(2013, 1, 1)), NOW) is None


def test_what_is_asked_anew_puts_earlier_answers_out_of_date(tmp_path: Path) -> None:
    for symbol in ("^A", "B"):
        killed = KeptAnswers(tmp_path, US)
        for _ in range(2):
            assert killed.take(ask(symbol=symbol), NOW) is None
            killed.keep(ask(symbol=symbol), replace(RICH, symbol=symbol), NOW)
    anew = KeptAnswers(tmp_path, US, anew=True)
    assert anew.take(ask(), NOW) is None
    anew.keep(ask(), RICH, NOW)
    anew.clear()
    assert sorted(file.name for file in tmp_path.rglob("*.*")) == ["B.1", "B.2"]


@pytest.mark.parametrize("why", ["failed", "half", "other", "session", "day", "future", "nowhere", "disk"])
def test_what_is_no_answer_for_now_is_not_taken(tmp_path: Path, why: str) -> None:
    # A Friday evening, after the close.
    folder, now, result = tmp_path / "answers", NOW, RICH
    if why == "failed":
        result = FetchResult("^A", Outcome.RATE_LIMITED, "later")
    if why == "disk":
        folder.write_text("no folder")
    keep(None if why == "nowhere" else folder, ask(), result)
    for file in folder.rglob("*.1"):
        if why == "half":
            file.write_bytes(file.read_bytes()[:-1])
        if why == "other":
            file.rename(file.with_name("B.1"))
    if why == "session":
        now = datetime(2013, 2, 28, 20, tzinfo=UTC)
        keep(folder, ask(), RICH, now)
        assert KeptAnswers(folder, US).take(ask(), now + timedelta(minutes=30)) is not None
        now += timedelta(hours=3)
    if why in ("day", "future"):
        now += timedelta(days=1 if why == "day" else -1)
    assert KeptAnswers(folder, US).take(ask(symbol="B" if why == "other" else "^A"), now) is None


class Killed(BaseException):
    """The process is gone."""


def test_a_run_after_a_killed_one_asks_for_the_rest_and_writes_what_an_undisturbed_one_would(
    market: ReplayHandle, tmp_path: Path
) -> None:
    def fill(home: Path, dies_after: int, *, mode: Mode = Mode.INCREMENTAL) -> FillReport:
        settings = quick_settings(home, market.url, now=NOW, concurrency=1)
        source, symbols = YahooSource(settings), list[str]()

        def symbol(result: FetchResult) -> None:
            symbols.append(result.symbol)
            if len(symbols) == dies_after:
                raise Killed

        rules = FillRules(home / "spill", answers_folder=settings.answers_folder)
        context = FillContext(US, Harness(home, "").store, source, settings.clock, rules)
        try:
            context = replace(context, listeners=Listeners(symbol=symbol))
            return fill_cells(context, FillRequest(WEEK, listings(*SYMBOLS), mode=mode))
        finally:
            source.close()

    with pytest.raises(Killed):
        fill(tmp_path, 2)
    market.reset_stats()
    report = fill(tmp_path, 99)
    assert market.stats()["chart_data"] == {SYMBOLS[2]: 1}
    assert (report.requests, report.outcomes) == (1, {"ok": 3})
    home = Harness(tmp_path, "")
    cells = pl.concat([home.cell(day) for day in WEEK])
    assert bars(cells).equals(bars(truth(SYMBOLS, WEEK)))
    assert not list((tmp_path / "cache" / "answers").rglob("*.*"))
    # What is asked to compare it with what stands is asked anew, and what was kept before is not taken after it.
    keep(quick_settings(tmp_path, market.url).answers_folder, ask(symbol=SYMBOLS[0]), RICH)
    with pytest.raises(Killed):
        fill(tmp_path, 2, mode=Mode.FORCE)
    market.reset_stats()
    fill(tmp_path, 99, mode=Mode.FORCE)
    assert market.stats()["chart_data"] == dict.fromkeys(SYMBOLS, 1)
    assert not list((tmp_path / "cache" / "answers").rglob("*.*"))
