"""What was held under the date of a closed day, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.closed_days import (
    bars_given_up,
    held_sessions,
    rejected_dividends,
    taken_at_next_session,
)
from quant_assets.ingest.plan import Days, Plan
from quant_assets.ingest.wanted import Wanted
from quant_assets.tables.quarantine import QUARANTINE_SCHEMA, Decision

SATURDAY, MONDAY = date(2013, 2, 16), date(2013, 2, 11)
TUESDAY = date(2013, 2, 19)
"""The session after SATURDAY, the Monday between being a holiday."""


def waiting(*rows: tuple[str, str, date, float | None, Decision]) -> pl.DataFrame:
    """A quarantine of rows: id, symbol, date, close, decision."""
    held = pl.DataFrame(
        [(*row[:4], row[4].value) for row in rows],
        schema={"id": pl.String, "symbol": pl.String, "date": pl.Date, "close": pl.Float64, "decision": pl.String},
        orient="row",
    )  # fmt: skip
    lacking = [
        pl.lit(None, dtype).alias(name) for name, dtype in QUARANTINE_SCHEMA.items() if name not in held
    ]
    return (
        held.with_columns(lacking)
        .with_columns(fetched_at=datetime(2013, 2, 17, tzinfo=UTC))
        .select(list(QUARANTINE_SCHEMA))
    )


def test_only_a_pending_bar_of_a_closed_day_that_an_answer_covers_is_given_up() -> None:
    quarantine = waiting(
        ("covered", "AAPL", SATURDAY, 60.0, Decision.PENDING),
        ("begins that day", "IBM", SATURDAY, 60.0, Decision.PENDING),
        ("begins later", "FB", SATURDAY, 60.0, Decision.PENDING),
        ("not answered", "T", SATURDAY, 60.0, Decision.PENDING),
        ("left out", "MSFT", SATURDAY, 60.0, Decision.PENDING),
        ("of a session", "AAPL", MONDAY, 60.0, Decision.PENDING),
        ("no bar", "AAPL", SATURDAY, None, Decision.PENDING),
        ("decided", "AAPL", SATURDAY, 61.0, Decision.REJECTED),
    )
    answered = {"AAPL": MONDAY, "IBM": SATURDAY, "FB": date(2013, 2, 17), "MSFT": MONDAY}
    given_up = bars_given_up(exchange("US"), quarantine, answered, left_out={"MSFT"})
    assert given_up == ["covered", "begins that day"]


def test_rows_without_a_bar_on_closed_days_are_asked_about_at_the_session_after() -> None:
    quarantine = waiting(
        ("action", "AAPL", SATURDAY, None, Decision.PENDING),
        ("of a session", "AAPL", MONDAY, 60.0, Decision.PENDING),
        ("bar", "IBM", SATURDAY, 60.0, Decision.PENDING),
        ("decided", "MSFT", SATURDAY, None, Decision.ACCEPTED),
    )
    assert held_sessions(exchange("US"), quarantine, MONDAY) == {
        "AAPL": {SATURDAY, MONDAY, TUESDAY}, "IBM": {SATURDAY},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "look_back", "first", "refused", "left_out", "taken"),
    [
        # The session after has been asked about, or looked back at, by an answer that begins on the day or before.
        ({TUESDAY: {"AAPL"}}, [], SATURDAY, [], [], True), ({}, [TUESDAY], MONDAY, [], [], True),
        ({}, [], MONDAY, [], [], False), ({TUESDAY: {"IBM"}}, [], MONDAY, [], [], False),
        ({MONDAY: {"AAPL"}}, [MONDAY], MONDAY, [], [], False),
        ({TUESDAY: {"AAPL"}}, [], date(2013, 2, 17), [], [], False), ({TUESDAY: {"AAPL"}}, [], None, [], [], False),
        # Nothing was taken of its row, or of the symbol.
        ({TUESDAY: {"AAPL"}}, [], MONDAY, [("AAPL", TUESDAY)], [], False),
        ({TUESDAY: {"AAPL"}}, [], MONDAY, [("AAPL", MONDAY), ("IBM", TUESDAY)], ["IBM"], True),
        ({TUESDAY: {"AAPL"}}, [], MONDAY, [], ["AAPL"], False),
    ],
)  # fmt: skip
def test_an_action_of_a_closed_day_is_settled_once_the_next_session_has_been_compared(
    wanted: Mapping[date, set[str]],
    look_back: list[date],
    first: date | None,
    refused: list[tuple[str, date]],
    left_out: list[str],
    taken: bool,
) -> None:
    quarantine = waiting(
        ("action", "AAPL", SATURDAY, None, Decision.PENDING),
        ("bar", "AAPL", SATURDAY, 60.0, Decision.PENDING),
        ("of a session", "AAPL", MONDAY, None, Decision.PENDING),
        ("decided", "AAPL", SATURDAY, None, Decision.REJECTED),
    )
    plan = Plan(Days([], [], []), Wanted.of(wanted), look_back=look_back)
    rows = pl.DataFrame(refused, schema={"symbol": pl.String, "date": pl.Date}, orient="row")
    answered = {} if first is None else {"AAPL": first}
    ids = taken_at_next_session(exchange("US"), quarantine, plan, answered, rows, left_out)
    assert ids == (["action"] if taken else [])


def test_a_dividend_rejected_on_a_closed_day_is_none_at_the_session_after() -> None:
    dividends = {"none": 0.5, "nothing": 0.0, "with a bar": 0.6, "pending": 0.7, "of a session": 0.8}
    quarantine = waiting(
        ("none", "AAPL", SATURDAY, None, Decision.REJECTED),
        ("nothing", "AAPL", SATURDAY, None, Decision.REJECTED),
        ("with a bar", "AAPL", SATURDAY, 60.0, Decision.REJECTED),
        ("pending", "AAPL", SATURDAY, None, Decision.PENDING),
        ("of a session", "AAPL", MONDAY, None, Decision.REJECTED),
    ).with_columns(dividend=pl.col("id").replace_strict(dividends))
    found = rejected_dividends(exchange("US"), quarantine)
    assert found.rows() == [("AAPL", TUESDAY, 0.5)]
    assert rejected_dividends(exchange("US"), quarantine.clear()).schema == found.schema
