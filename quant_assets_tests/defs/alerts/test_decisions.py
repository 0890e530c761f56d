"""What is due, what is new and what is quiet: plain functions on made-up moments."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from quant_assets.defs.alerts.alert import Alert, Kind, Memory
from quant_assets.defs.alerts.decisions import decide, digest, digest_is_due, is_quiet, message
from quant_assets.defs.alerts.found import (
    Limits,
    backlog,
    ended,
    low_coverage,
    more_held,
    stale,
    too_long,
)
from quant_assets.defs.run_outcomes import RunOutcome
from quant_assets.exchanges import exchange
from quant_assets.maintenance.freshness import due_after, freshness
from quant_assets.market.coverage import CellState
from quant_assets.tables.manifest import Entry
from quant_assets.tables.quarantine import ITEMS_SCHEMA

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)
STALE = Alert(Kind.STALE, "US 2024-03-14", "late", "US")
RUN = Alert(Kind.FAILED, "daily_prices_us 2024-03-14|US", "no", "US")


def cells(*days: str, state: CellState = CellState.COMPLETE) -> dict[date, Entry]:
    return {date.fromisoformat(day): Entry(day, state, expected=10, received=10) for day in days}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "there", "now", "late"),
    [
        # Sydney closes at 16:00 local, 05:00 UTC in its summer and 06:00 in its winter: due an hour later.
        ("ASX", "2024-03-14", "2024-03-15T05:59", ""), ("ASX", "2024-03-14", "2024-03-15T06:11", "ASX 2024-03-15"),
        ("ASX", "2024-07-11", "2024-07-12T06:59", ""), ("ASX", "2024-07-11", "2024-07-12T07:11", "ASX 2024-07-12"),
        # Christmas Eve ends at 14:10 in Sydney and at 13:00 in New York.
        ("ASX", "2024-12-23", "2024-12-24T04:00", ""), ("ASX", "2024-12-23", "2024-12-24T04:30", "ASX 2024-12-24"),
        ("US", "2024-12-23", "2024-12-24T18:59", ""), ("US", "2024-12-23", "2024-12-24T19:01", "US 2024-12-24"),
        # Good Friday and a weekend: nothing is due before Monday's close.
        ("US", "2024-03-28", "2024-03-29T23:00", ""), ("US", "2024-03-28", "2024-04-01T20:59", ""),
        ("US", "2024-03-28", "2024-04-01T21:01", "US 2024-04-01"),
        # Before clocks change in New York an evening is an hour later in UTC.
        ("US", "2024-03-07", "2024-03-08T21:59", ""), ("US", "2024-03-07", "2024-03-08T22:01", "US 2024-03-08"),
    ],
)  # fmt: skip
def test_prices_are_due_an_hour_after_the_close_of_each_exchange(
    code: str, there: str, now: str, late: str
) -> None:
    one = exchange(code)
    assert due_after(one) == timedelta(minutes=60)
    found = stale(one, cells("2024-01-02", there), at(now))
    assert [alert.subject for alert in found] == ([late] if late else [])


def test_what_is_there_is_not_late_and_what_is_failed_is_and_nobody_waits_for_what_is_not_followed() -> None:
    us = exchange("US")
    evening = at("2024-03-15T22:00")
    assert stale(us, cells("2024-03-15"), evening) == stale(us, {}, evening) == []
    assert stale(us, cells("2024-03-15", state=CellState.PARTIAL), evening) == []
    (alert,) = stale(us, cells("2024-03-13") | cells("2024-03-15", state=CellState.FAILED), evening)
    assert (alert.key, alert.exchange) == ("data stale|US 2024-03-15", "US")
    assert (
        "due 2024-03-15 17:00 (America/New_York); the last ones are of 2024-03-13, 2 sessions behind"
        in alert.text
    )


def test_an_outage_is_as_long_as_it_is_whatever_holidays_are_in_it_and_however_far_back_it_began() -> None:
    us, evening = exchange("US"), at("2024-04-02T22:00")
    failed = cells("2024-03-27", "2024-03-28", "2024-04-01", "2024-04-02", state=CellState.FAILED)
    # Good Friday's cell says that there was nothing to ask for, not that the exchange is up to date.
    holiday = cells("2024-03-29", state=CellState.CLOSED)
    (alert,) = stale(us, cells("2024-03-26") | failed | holiday, evening)
    assert "the last ones are of 2024-03-26, 4 sessions behind" in alert.text
    (alert,) = stale(us, failed | holiday, evening)
    assert "there are none of the 4 sessions since 2024-03-27 either" in alert.text
    found = freshness(us, {day: entry.state for day, entry in (failed | holiday).items()}, evening)
    assert found is not None
    assert str(found.late_since) == "2024-03-27 17:00:00-04:00"
    # A session that the calendar does not know to be called off has a cell that says so.
    assert stale(us, cells("2024-04-01") | cells("2024-04-02", state=CellState.CLOSED), evening) == []


def test_coverage_below_the_setting_is_told_of_each_of_the_last_five_cells() -> None:
    us = exchange("US")
    whole = cells("2024-03-08", "2024-03-11", "2024-03-12", "2024-03-13", "2024-03-14", "2024-03-15")
    low = {day: Entry(str(day), CellState.FAILED, expected=100, received=94) for day in whole}
    exactly = {date(2024, 3, 15): Entry("2024-03-15", CellState.PARTIAL, expected=100, received=95)}
    assert low_coverage(us, whole, 0.95) == low_coverage(us, exactly, 0.95) == []
    assert low_coverage(us, cells("2024-03-15", state=CellState.CLOSED), 1.0) == []
    found = low_coverage(us, low, 0.95)
    assert [alert.subject for alert in found] == [f"US 2024-03-{day}" for day in (11, 12, 13, 14, 15)]
    assert found[0].text.startswith("US 2024-03-11: 94 of 100 symbols (94.0 %, below 95 %).")


def test_as_many_new_claims_as_the_setting_says_are_growth() -> None:
    today = date(2024, 3, 15)
    held = pl.DataFrame(
        {"symbol": list("ABCD"), "since": [today, today, today, date(2024, 3, 14)]},
        schema={name: ITEMS_SCHEMA[name] for name in ("symbol", "since")},
    )
    assert more_held(exchange("US"), held, today, 4) == []
    (alert,) = more_held(exchange("US"), held, today, 3)
    assert "3 new claims are held since 2024-03-15 (A, B, C), 4 in all" in alert.text


LIMITS = Limits({"*": 20.0, "backfill": 720.0, "sweep_us": 60.0}, 3, 10)


def test_runs_that_failed_or_came_to_a_part_take_long_or_wait() -> None:
    failed = [
        RunOutcome(f"{n}" * 8, "daily_prices_us", "FAILED", "2024-03-14|US", "US", error="no") for n in (1, 2)
    ]
    others = [RunOutcome("x" * 8, "j", outcome) for outcome in ("SUCCESS", "CANCELED", "RUNNING", "QUEUED")]
    partial = RunOutcome("c" * 8, "sweep_us", "PARTIAL", cells="partial=2", held="IBM")
    found = ended([*failed, *others, partial])
    assert [alert.key for alert in found] == [
        "run failed|daily_prices_us 2024-03-14|US", "run partial|sweep_us",
    ]  # fmt: skip
    assert found[0].text == (
        "daily_prices_us 2024-03-14|US: no. `quant-assets status 22222222` says what to do."
    )
    assert found[1].text.startswith("sweep_us: partial=2; held: IBM.")

    def going(job: str, minutes: float, partitions: str = "") -> RunOutcome:
        return RunOutcome("r" * 8, job, "RUNNING", partitions, seconds=60 * minutes)

    runs = [
        going("daily_prices_us", 20), going("daily_prices_us", 20.1, "2024-03-14|US"), going("sweep_us", 59),
        going("sweep_us", 61), going("daily_prices_us", 700, "a...b"), going("daily_prices_us", 721, "a...b"),
    ]  # fmt: skip
    assert [alert.subject for alert in too_long(runs, LIMITS)] == [
        "daily_prices_us 2024-03-14|US rrrrrrrr", "sweep_us rrrrrrrr", "daily_prices_us a...b rrrrrrrr",
    ]  # fmt: skip
    waiting = [RunOutcome(str(n), "j", "QUEUED", queued=NOON - timedelta(minutes=n)) for n in range(3)]
    assert backlog(waiting[:2], LIMITS) == []
    (alert,) = backlog(waiting, LIMITS)
    assert "3 runs wait in the queue, the first since 2024-03-15 11:58 UTC" in alert.text


def test_each_alert_is_told_once_while_it_lasts_and_again_only_long_after_it_was_over() -> None:
    memory = Memory()

    def told(
        found: list[Alert], hours: float, quiet: tuple[str, ...] = (), unseen: tuple[str, ...] = ()
    ) -> list[Alert]:
        nonlocal memory
        alerts = decide(memory, found, NOON + timedelta(hours=hours), quiet, unseen)
        memory = Memory.from_json(memory.to_json())
        return alerts

    assert told([STALE, RUN], 0) == [STALE, RUN]
    assert told([STALE], 1) == told([STALE], 30) == []
    # A store that is away is no news of what is open.
    assert told([], 31, unseen=("US",)) == told([STALE], 32) == []
    assert told([], 33) == told([STALE], 38) == told([], 39) == []
    assert told([STALE], 45.1) == [STALE]
    # A run that fails again and again is told of once a day.
    assert told([RUN], 46) == [RUN]
    assert told([RUN], 60) == []
    assert told([RUN], 70.5) == [RUN]
    assert told([], 200) == told([], 225) == []
    assert memory.alerts == {}


def test_in_quiet_hours_an_alert_waits_and_what_is_over_by_then_is_not_told_but_what_happened_is() -> None:
    memory = Memory()
    other = Alert(Kind.STALE, "ASX 2024-03-14", "late", "ASX")
    assert decide(memory, [STALE, RUN, other], NOON, {"US"}) == [other]
    gone = Alert(Kind.COVERAGE, "US 2024-03-14", "low", "US")
    assert decide(memory, [STALE, gone], NOON + timedelta(hours=1), {"US"}) == []
    assert decide(memory, [STALE], NOON + timedelta(hours=9), {"US"}) == []
    assert decide(memory, [STALE], NOON + timedelta(hours=10), set()) == [STALE, RUN]


def test_quiet_hours_are_those_of_the_exchanges_clocks() -> None:
    night = (time(22), time(7))
    # 22:30 in Sydney is 11:30 UTC in its summer.
    assert is_quiet(night, "Australia/Sydney", at("2024-01-15T11:30"))
    assert not is_quiet(night, "Australia/Sydney", at("2024-01-15T20:00"))
    assert is_quiet(night, "Australia/Sydney", at("2024-01-15T19:59"))
    assert not is_quiet(night, "UTC", at("2024-01-15T11:30"))
    assert is_quiet((time(12), time(13)), "UTC", NOON)
    assert not is_quiet((time(12), time(13)), "UTC", NOON + timedelta(hours=1))
    assert not is_quiet(None, "UTC", NOON)


def test_a_digest_is_due_once_a_day_and_several_alerts_are_one_message() -> None:
    memory = Memory()
    assert not digest_is_due(memory, time(12, 1), NOON)
    assert not digest_is_due(memory, None, NOON)
    assert digest_is_due(memory, time(12), NOON)
    memory.digest = "2024-03-15"
    assert not digest_is_due(memory, time(6), NOON)
    assert message([STALE]) == ("quant-assets: data stale: US 2024-03-14", "late")
    assert message([STALE, RUN]) == (
        "quant-assets: 2 alerts: data stale, run failed", "- data stale: late\n- run failed: no",
    )  # fmt: skip


@pytest.mark.parametrize("kept", [None, 7, [], {}, {"alerts": {"a": {}}}, {"alerts": []}])
def test_what_another_version_has_kept_is_nothing(kept: object) -> None:
    assert Memory.from_json(kept) == Memory()


def test_low_coverage_of_several_sessions_is_a_line_an_exchange() -> None:
    us, asx = (
        [Alert(Kind.COVERAGE, f"{code} 2024-03-{day}", f"{code} {day}: few.", code) for day in (13, 15, 14)]
        for code in ("US", "ASX")
    )
    title, body = message([*us, STALE, asx[0]])
    assert title == "quant-assets: 5 alerts: coverage low, data stale"
    assert body.splitlines() == [
        "- coverage low: US 15: few. Low as well: 2024-03-13, 2024-03-14.",
        "- data stale: late",
        "- coverage low: ASX 13: few.",
    ]
    memory = Memory()
    decide(memory, [*us, *asx], NOON, ())
    _, body = digest(memory, NOON, {}, {}, 0)
    assert [line for line in body.splitlines() if line.startswith("- open")] == [
        f"- open since 2024-03-15T12:00Z: coverage low: {code} 15: few. Low as well: 2024-03-13, 2024-03-14."
        for code in ("US", "ASX")
    ]
