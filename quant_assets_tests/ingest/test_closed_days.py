"""What was held under the date of a closed day, and when it is given up."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from quant_assets.exchanges import exchange
from quant_assets.ingest.closed_days import bars_given_up
from quant_assets.tables.quarantine import QUARANTINE_SCHEMA, Decision

SATURDAY, MONDAY = date(2013, 2, 16), date(2013, 2, 11)


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
