"""`held_item`: what an id names, each claim beside what is stored."""

from __future__ import annotations

from typing import Any

import orjson
import polars as pl

from quant_assets.maintenance.held import HeldItem, held_item
from quant_assets.market.settling import settles
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets.tables.quarantine import Decision, hold, mark, read_quarantine
from quant_assets_tests.ingest.harness import DAY, WEEK, Harness, evening

DOUBT = {"scope": "action", "kind": "dividend_contradicted", "witnesses": "Adj Close implies 0.85"}


def doubt(harness: Harness, rows: pl.DataFrame, **columns: Any) -> None:
    more = {"scale": 1.0, "rule": "in doubt", **columns}
    hold(
        harness.store,
        "US",
        rows.with_columns(pl.lit(v).alias(n) for n, v in more.items()),
        {},
        "a-run",
        WEEK[-1],
    )


def found(harness: Harness, id_: str) -> HeldItem:
    item = held_item(harness.store, ["ASX", "US"], id_)
    assert item is not None
    return item


def test_an_action_is_shown_beside_the_stored_row_with_witnesses_and_effects(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    bar = read_daily(harness.store, "US", DAY, DAY, symbols=["IBM"])
    doubt(harness, bar.with_columns(dividend=pl.lit(85.0)), **DOUBT)
    item = found(harness, read_quarantine(harness.store, "US")["id"][0])
    assert (item.exchange, item.what, item.witnesses) == (
        "US", f"action of {DAY}", ["Adj Close implies 0.85"],
    )  # fmt: skip
    ((claim, row),) = item.beside()
    assert (claim["dividend"], row and row["dividend"]) == (85.0, 0.0)
    told = orjson.loads(orjson.dumps(item.to_json()))
    assert told["settles_by_itself"] == settles("dividend_contradicted")
    assert "into the stored row" in told["accept"]
    assert "becomes 0.0" in told["reject"]


def test_an_answer_is_shown_with_all_its_sessions_and_still_after_a_decision(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, DAY, WEEK[:3])
    rows = read_daily(harness.store, "US", symbols=["IBM"])
    tomorrow = rows.tail(1).with_columns(date=pl.lit(WEEK[3]))
    doubt(harness, pl.concat([rows, tomorrow]), scope="answer", kind="rescaled")
    answer = read_quarantine(harness.store, "US")["answer"][0]
    item = found(harness, answer)
    assert item.what == f"answer of 4 sessions, {WEEK[0]} to {WEEK[3]}"
    assert [row is not None for _, row in item.beside()] == [True, True, True, False]
    # One of its rows has an id of its own.
    one = found(harness, read_quarantine(harness.store, "US")["id"][1])
    assert (one.what, one.claims.height) == (f"answer of {WEEK[1]}", 1)
    mark(harness.store, "US", item.claims["id"].to_list(), Decision.REJECTED, evening(DAY))
    assert found(harness, answer).facts["decision"] == "rejected"
    assert held_item(harness.store, ["US"], "feedc0ffee00") is None
