"""An action that the source dates on a closed day, through the real pipeline: stored at the next session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest import answers
from quant_assets.ingest import judged as ingest_judged
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.market.action_dates import ActionsOnSessions
from quant_assets.market.bars import KEYS, PRICES
from quant_assets.market.corporate_actions import adjust
from quant_assets.market.verdicts.answer import Answer, Verdict
from quant_assets.market.weekly import weekly_bars
from quant_assets.reader import prices
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets.tables.quarantine import Decision, QuarantineError, read_quarantine
from quant_assets_tests.ingest.harness import Harness, evening, sessions, told
from quant_assets_tests.support import listings

FRIDAY, SATURDAY, MEMORIAL_DAY, TUESDAY = (date(2024, 5, day) for day in (24, 25, 27, 28))
GOOD_FRIDAY = date(2024, 3, 29)
FIRST, LAST = date(2024, 3, 1), date(2024, 6, 14)
DAYS = sessions(FIRST, LAST)

SPLIT, DIVIDEND, BOTH, RUN = "SPL", "DIV", "BTH", "EAS"
SYMBOLS = (SPLIT, DIVIDEND, BOTH, RUN)
STATED: dict[str, list[tuple[date, float, float]]] = {
    SPLIT: [(MEMORIAL_DAY, 0.0, 2.0)],
    DIVIDEND: [(date(2024, 6, 1), 0.5, 1.0)],
    # Two of each on one session, one dividend being on it already; the 0.45 are for a share before the 3:2.
    BOTH: [(SATURDAY, 0.45, 2.0), (MEMORIAL_DAY, 0.0, 1.5), (TUESDAY, 0.2, 1.0)],
    RUN: [(GOOD_FRIDAY, 0.25, 0.1), (date(2024, 6, 9), 0.125, 1.0)],
}
"""By symbol what the source says: date, dividend, ratio of new shares per old."""
TRUE: dict[str, dict[date, tuple[float, float]]] = {
    SPLIT: {TUESDAY: (0.0, 2.0)},
    DIVIDEND: {date(2024, 6, 3): (0.5, 1.0)},
    BOTH: {TUESDAY: (0.5, 3.0)},
    RUN: {date(2024, 4, 1): (0.25, 0.1), date(2024, 6, 10): (0.125, 1.0)},
}
"""By symbol and session what took effect: dividend, ratio."""


def traded(symbol: str, days: list[date] = DAYS, true: Any = None) -> pl.DataFrame:
    """What was traded of a symbol, its actions on their sessions."""
    # No two symbols alike: that would be taken for a rename.
    level, rows = 82.0 + sum(symbol.encode()) % 7, list[tuple[Any, ...]]()
    for number, day in enumerate(days):
        dividend, ratio = (TRUE[symbol] if true is None else true).get(day, (0.0, 1.0))
        level = (level + (number % 5 - 2) * 0.11) / ratio
        close = (
            {FRIDAY: 85.19, TUESDAY: 42.27}.get(day, round(level, 2)) if symbol == SPLIT else round(level, 2)
        )
        bar = (round(close * 0.99, 2), round(close * 1.01, 2), round(close * 0.98, 2), close)
        rows.append((symbol, day, *bar, 1_000 * (number + 1), dividend, ratio))
    return pl.DataFrame(
        rows, schema=["symbol", "date", *PRICES, "volume", "dividend", "split_ratio"], orient="row"
    )


def as_stated(rows: pl.DataFrame, stated: list[tuple[date, float, float]]) -> pl.DataFrame:
    """The same bars as the source lists them: each action under its stated date."""
    bare = rows.with_columns(dividend=pl.lit(0.0), split_ratio=pl.lit(1.0))
    for day, dividend, ratio in stated:
        if day in rows["date"]:
            here = pl.col("date") == day
            bare = bare.with_columns(
                pl.when(here).then(dividend).otherwise("dividend").alias("dividend"),
                pl.when(here).then(ratio).otherwise("split_ratio").alias("split_ratio"),
            )
        else:
            row = {"symbol": rows["symbol"][0], "date": day, "dividend": dividend, "split_ratio": ratio}
            bare = pl.concat([bare, pl.DataFrame([row])], how="diagonal")
    return bare.sort("date")


def serve(folder: Path, *frames: pl.DataFrame, **more: Any) -> ReplayHandle:
    folder.mkdir()
    for frame in frames:
        frame.write_csv(folder / f"{frame['symbol'][0]}.csv")
    files = [(path, "as_traded") for path in sorted(folder.glob("*.csv"))]
    return start(ReplayConfig(history_files=files, now=evening(LAST), **more))


@pytest.fixture(scope="module")
def on_closed_days_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    folder = tmp_path_factory.mktemp("histories") / "stated"
    with serve(folder, *(as_stated(traded(s), STATED[s]) for s in SYMBOLS)) as handle:
        yield handle


@pytest.fixture(scope="module")
def right_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    """The source once it names the sessions themselves."""
    with serve(tmp_path_factory.mktemp("histories") / "true", *(traded(s) for s in SYMBOLS)) as handle:
        yield handle


@pytest.fixture
def market(on_closed_days_server: ReplayHandle) -> ReplayHandle:
    on_closed_days_server.set_clock(evening(LAST))
    return on_closed_days_server


@pytest.fixture
def right(harness: Harness, right_server: ReplayHandle) -> Harness:
    """The same home, and the source that names the sessions themselves."""
    right_server.set_clock(evening(LAST))
    return Harness(harness.home, right_server.url)


def everything() -> pl.DataFrame:
    return pl.concat([traded(symbol) for symbol in SYMBOLS]).sort(KEYS)


def dated(harness: Harness) -> dict[tuple[str, date], str]:
    """The rows that have flags."""
    stored = read_daily(harness.store, "US").filter(pl.col("flags") != "")
    return {(symbol, day): flags for symbol, day, flags in stored.select(*KEYS, "flags").iter_rows()}


ON_RECORD = {
    (SPLIT, TUESDAY): "action_dated:2024-05-27",
    (DIVIDEND, date(2024, 6, 3)): "action_dated:2024-06-01",
    (BOTH, TUESDAY): "action_dated:2024-05-25,action_dated:2024-05-27",
    (RUN, date(2024, 4, 1)): "action_dated:2024-03-29",
    (RUN, date(2024, 6, 10)): "action_dated:2024-06-09",
}


def same(harness: Harness, days: list[date] = DAYS) -> None:
    """What is stored of some days is what was traded, in every column and under every way to read it."""
    stored = read_daily(harness.store, "US", days[0], days[-1])
    true = everything().filter(pl.col("date").is_in(days))
    assert_frame_equal(stored.select(true.columns), true, check_exact=True)
    harness.put_catalog(*SYMBOLS)
    for how in ("split", "total_return"):
        read = prices(SYMBOLS, days[0], days[-1], adjust=how, store=harness.store).collect()
        assert_frame_equal(
            read.select(true.columns), adjust(true.lazy(), how).collect(), check_exact=False, rel_tol=1e-12
        )
    calendar = pl.DataFrame({"date": days, "asked": True})
    assert_frame_equal(weekly_bars(stored, calendar), weekly_bars(true, calendar), check_exact=True)


def fill(harness: Harness, **more: Any) -> Any:
    return harness.fill(DAYS, listings(*SYMBOLS), now=evening(LAST), **more)


def test_actions_on_closed_days_are_stored_at_the_next_session_and_every_read_agrees(
    harness: Harness, market: ReplayHandle
) -> None:
    assert fill(harness).result == "SUCCESS"
    assert read_quarantine(harness.store, "US").is_empty()
    same(harness)
    assert dated(harness) == ON_RECORD
    read = prices(SPLIT, FRIDAY, TUESDAY, adjust="split", store=harness.store).collect()
    assert read["close"].to_list() == [42.595, 42.27]
    week = weekly_bars(
        read_daily(harness.store, "US", FRIDAY - timedelta(days=4), date(2024, 5, 31), symbols=[SPLIT]),
        pl.DataFrame({"date": DAYS, "asked": True}),
    )
    assert week.select("close", "split_ratio").rows()[0] == (85.19, 1.0)
    assert week["split_ratio"].to_list() == [1.0, 2.0]
    assert (week["close"][0] / week["split_ratio"][1], week["open"][1]) == (42.595, 41.85)


def test_evening_by_evening_it_is_no_restatement_nor_when_the_source_names_the_session_later(
    harness: Harness, market: ReplayHandle, right: Harness
) -> None:
    days = [day for day in DAYS if date(2024, 5, 20) <= day <= date(2024, 6, 12)]
    harness.live(market, days[0], days[:1], catalog=listings(*SYMBOLS))
    for day in days[1:]:
        report = harness.live(market, day, catalog=listings(*SYMBOLS))
        assert (day, report.result, report.warnings, report.restatements.height) == (day, "SUCCESS", [], 0)
    same(harness, days)
    for mode in (Mode.VERIFY, Mode.FORCE):
        report = right.fill(days, listings(*SYMBOLS), now=evening(LAST), mode=mode)
        assert (report.requests, report.written, report.restatements.height) == (4, 0, 0)
    assert harness.restatements().is_empty()
    assert read_quarantine(harness.store, "US").is_empty()
    # What the source said first stays on record.
    assert dated(harness) == {key: flags for key, flags in ON_RECORD.items() if key[1] in days}


def as_it_was(splits: pl.DataFrame, dividends: pl.DataFrame, sessions: pl.Series) -> ActionsOnSessions:
    """How releases before this rule took actions: as they are dated."""
    moved = pl.DataFrame(schema={"session": pl.Date, "stated": pl.Date})
    return ActionsOnSessions(splits, dividends, moved)


def believed(answer: Answer) -> Verdict:
    """How they took answers: at their word."""
    return Verdict(answer.splits, answer.dividends.select("date", "amount"))


@pytest.fixture
def lost(harness: Harness, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A store of before: the rows are there, the actions wait in quarantine."""
    with monkeypatch.context() as before:
        before.setattr(answers, "on_sessions", as_it_was)
        before.setattr(ingest_judged, "judge", believed)
        fill(harness)
    assert read_quarantine(harness.store, "US").height == 6
    stored = read_daily(harness.store, "US")
    assert stored.filter(pl.col("split_ratio") != 1.0).is_empty()
    harness.put_catalog(*SYMBOLS)
    return harness


EVENTS = [
    (BOTH, TUESDAY, "split_ratio", "1.0", "3.0", "late_split"),
    (BOTH, TUESDAY, "dividend", "0.2", "0.5", "correction"),
    (DIVIDEND, date(2024, 6, 3), "dividend", "0.0", "0.5", "late_dividend"),
    (RUN, date(2024, 4, 1), "split_ratio", "1.0", "0.1", "late_split"),
    (RUN, date(2024, 4, 1), "dividend", "0.0", "0.25", "late_dividend"),
    (RUN, date(2024, 6, 10), "dividend", "0.0", "0.125", "late_dividend"),
    (SPLIT, TUESDAY, "split_ratio", "1.0", "2.0", "late_split"),
]


@pytest.mark.parametrize("mode", [Mode.INCREMENTAL, Mode.FORCE])
@pytest.mark.parametrize("named_later", [False, True], ids=["as before", "named later"])
def test_a_store_that_lost_them_is_healed_by_the_next_answer_with_one_event_a_change(
    lost: Harness, right: Harness, named_later: bool, mode: Mode
) -> None:
    healing = right if named_later else lost
    # The next evening's run of one session asks again about what is held, however far back.
    days = [LAST] if mode is Mode.INCREMENTAL else DAYS
    report = healing.fill(days, listings(*SYMBOLS), now=evening(LAST + timedelta(days=1)), mode=mode)
    assert sorted(told(report.restatements)) == sorted(EVENTS)
    same(lost)
    assert dated(lost) == ({} if named_later else ON_RECORD)
    # Whether they are listed there or no longer, nothing waits on the closed days.
    assert set(read_quarantine(lost.store, "US")["decision"]) == {Decision.SUPERSEDED.value}
    again = fill(healing, mode=Mode.FORCE)
    assert (again.written, again.restatements.height) == (0, 0)


def test_an_action_that_waits_on_a_closed_day_is_not_accepted_there_and_the_remedy_heals_it(
    lost: Harness,
) -> None:
    us = exchange("US")
    choice = Choice(Decision.ACCEPTED, symbols=[SPLIT])
    with pytest.raises(
        QuarantineError, match="closed on 2024-05-27: the action of SPL takes effect at its next"
    ) as told:
        settle_quarantine(lost.store, us, choice, now=evening(LAST), min_coverage=0.0)
    assert "--start 2024-05-28 --end 2024-05-28 --mode force" in str(told.value)
    catalog = listings(*SYMBOLS)
    lost.fill([TUESDAY], catalog, now=evening(LAST), only=[SPLIT], mode=Mode.FORCE)
    stored = read_daily(lost.store, "US", symbols=[SPLIT])
    assert_frame_equal(stored.select(traded(SPLIT).columns), traded(SPLIT), check_exact=True)
    settled = read_quarantine(lost.store, "US").filter(pl.col("decision") == Decision.SUPERSEDED.value)
    assert settled.select(KEYS).rows() == [(SPLIT, MEMORIAL_DAY)]


def test_a_dividend_rejected_on_a_closed_day_is_none_at_the_session_it_would_take_effect(
    lost: Harness,
) -> None:
    choice = Choice(Decision.REJECTED, symbols=[DIVIDEND])
    settle_quarantine(lost.store, exchange("US"), choice, now=evening(LAST), min_coverage=0.0)
    for mode in (Mode.INCREMENTAL, Mode.FORCE):
        fill(lost, only=[DIVIDEND], mode=mode)
        stored = read_daily(lost.store, "US", symbols=[DIVIDEND])
        assert stored.filter(pl.col("dividend") != 0.0).is_empty()
        assert stored["dividend"].null_count() == 0
    assert lost.restatements().is_empty()
    assert read_quarantine(lost.store, "US").filter(pl.col("symbol") == DIVIDEND)["decision"].to_list() == [
        "rejected"
    ]


# An exchange that trades from Sunday to Thursday, evening by evening.

TASE = """
exchanges:
  TASE:
    {name: Tel Aviv Stock Exchange, suffix: .TA, yahoo_codes: [TLV], calendar: XTAE, zone: Asia/Jerusalem,
     close: "17:25", currencies: [ILA], weekdays: "0-4"}
"""
SUNDAY, NEXT_SUNDAY = date(2024, 3, 10), date(2024, 3, 17)
"""The ex-dates of a 4:1 and of a dividend of two."""


def levantine(own: Path) -> pl.DataFrame:
    days = exchange("TASE", own).calendar().sessions(date(2024, 2, 18), date(2024, 3, 21))
    return traded("ABC.TA", list(days), {SUNDAY: (0.0, 4.0), NEXT_SUNDAY: (2.0, 1.0)})


@pytest.fixture(scope="module")
def levant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplayHandle, Path]]:
    folder = tmp_path_factory.mktemp("levant")
    own = folder / "mine.yaml"
    own.write_text(TASE)
    rows = levantine(own).with_columns(currency=pl.lit("ILA"))
    with serve(folder / "histories", rows, exchanges_file=own) as handle:
        yield handle, own


def test_where_sundays_are_sessions_an_action_of_a_saturday_is_stored_on_sunday(
    levant: tuple[ReplayHandle, Path], tmp_path: Path
) -> None:
    server, own = levant
    server.clear_faults()
    server.add_faults(
        {"kind": "action_on_closed_day", "symbol": "ABC.TA", "date": str(SUNDAY), "to": "2024-03-08"},
        {"kind": "action_on_closed_day", "symbol": "ABC.TA", "date": str(NEXT_SUNDAY), "to": "2024-03-16"},
    )
    home = Harness(tmp_path, server.url)
    true = levantine(own).filter(pl.col("date") >= date(2024, 3, 3))
    days = true["date"].to_list()
    for asked in (days[:3], *([day] for day in days[3:])):
        report = home.live(
            server, asked[-1], asked, catalog=listings("ABC.TA"), code="TASE", exchanges_file=own
        )
        assert (report.result, report.restatements.height) == ("SUCCESS", 0)
    stored = read_daily(home.store, "TASE")
    assert_frame_equal(stored.select(true.columns), true, check_exact=True)
    assert stored.filter(pl.col("flags") != "").select("date", "flags").rows() == [
        (SUNDAY, "action_dated:2024-03-08"),
        (NEXT_SUNDAY, "action_dated:2024-03-16"),
    ]
    server.clear_faults()
    again = home.fill(
        days, listings("ABC.TA"), code="TASE", now=evening(days[-1]), mode=Mode.FORCE, exchanges_file=own
    )
    assert (again.written, again.restatements.height) == (0, 0)
