"""The quarantine, by value: ids, who is asked about again, what people are shown, what settles what."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import quarantine_key
from quant_assets.tables.quarantine import (
    ITEMS_SCHEMA,
    Decision,
    Held,
    held_sessions,
    hold,
    items,
    mark,
    read_quarantine,
    superseded,
    with_items,
)
from quant_assets_tests.tables.test_held import DAY, NOW, TODAY, answer

PRICES = ("open", "high", "low", "close")


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


def held(store: LocalObjectStore, *rows: pl.DataFrame, today: date = TODAY) -> Held:
    named = [one if "scope" in one.columns else one.with_columns(scope=pl.lit("row")) for one in rows]
    kinds = [one if "kind" in one.columns else one.with_columns(kind=pl.lit("rule")) for one in named]
    return hold(store, "US", pl.concat(kinds, how="diagonal"), {"A": {"n": 1}}, "run", today)


def short(*texts: str) -> str:
    return hashlib.sha256("|".join(texts).encode()).hexdigest()[:12]


def test_ids_are_those_that_people_have_written_down(store: LocalObjectStore) -> None:
    assert Held() == Held(0, frozenset())
    held(
        store,
        answer(DAY, 100.0),
        answer(DAY, 7.0, symbol="B", scope="action", kind="dividend"),
        answer(DAY, 400.0, 404.0, symbol="C", scope="answer", kind="rescaled"),
    )

    def value(symbol: str, day: date, close: float) -> list[str]:
        return ["US", symbol, str(day), *[str(close)] * 4, "1000", "0.0", "1.0", "USD"]

    days = [DAY, DAY + timedelta(days=1)]
    # The answer is named by its rows as they are without a name.
    bare = [
        short(*value("C", day, close), "answer", "") for day, close in zip(days, (400.0, 404.0), strict=True)
    ]
    whole = short("US", "answer", *bare)
    found = read_quarantine(store, "US")
    assert found.select("symbol", "id", "answer").rows() == [
        ("A", short(*value("A", DAY, 100.0)), ""),
        ("B", short(*value("B", DAY, 7.0), "action", ""), ""),
        ("C", short(*value("C", days[0], 400.0), "answer", whole), whole),
        ("C", short(*value("C", days[1], 404.0), "answer", whole), whole),
    ]
    assert found["facts"].to_list() == ['{"n":1}', "{}", "{}", "{}"]
    assert found["claims"].to_list() == [1, 1, 1, 1]


def test_the_same_claim_twice_in_an_answer_is_one_and_the_first_one_counts(store: LocalObjectStore) -> None:
    again = answer(DAY, 100.0).with_columns(rule=pl.lit("another rule"))
    assert held(store, answer(DAY, 100.0), again).new == 1
    assert read_quarantine(store, "US")["rule"].to_list() == ["rescaled by 4"]
    # The rule that it breaks now is what is shown.
    assert held(store, again, today=TODAY + timedelta(days=1)).new == 0
    assert read_quarantine(store, "US").select("rule", "claims").rows() == [("another rule", 2)]


@pytest.mark.parametrize(
    ("kind", "last_claimed", "asked"),
    [
        ("rule", -1, True),
        ("rule", 0, False),
        ("rule", 1, False),
        ("rule", None, True),
        ("dividend", -1, True),
        ("dividend", 0, True),
        ("dividend", None, True),
    ],
)
def test_who_is_asked_about_again_today(
    store: LocalObjectStore, kind: str, last_claimed: int | None, asked: bool
) -> None:
    held(store, answer(DAY, 100.0, 101.0))
    last = None if last_claimed is None else TODAY + timedelta(days=last_claimed)
    quarantine = read_quarantine(store, "US").with_columns(
        kind=pl.lit(kind), last_claimed=pl.lit(last, pl.Date)
    )
    assert held_sessions(quarantine, TODAY) == ({"A": {DAY, DAY + timedelta(days=1)}} if asked else {})


def test_two_rows_held_for_one_reason_are_one_item_and_actions_are_one_each(store: LocalObjectStore) -> None:
    held(
        store,
        answer(DAY, 100.0, 101.0),
        answer(DAY, 7.0, symbol="B"),
        answer(DAY, 8.0, symbol="B").with_columns(rule=pl.lit("another rule")),
        answer(DAY, 5.0, 6.0, symbol="C", scope="action", kind="dividend"),
    )
    found = with_items(read_quarantine(store, "US"))
    stretch = short("A", "row", "rule", "rescaled by 4")
    ids = found["id"].to_list()
    assert found["symbol"].to_list() == ["A", "A", "B", "B", "C", "C"]
    assert found["item"].to_list() == [stretch, stretch, *ids[2:]]


def test_items_say_their_first_and_last_session_and_how_often_they_were_claimed(
    store: LocalObjectStore,
) -> None:
    held(store, answer(DAY, 100.0, 101.0), answer(DAY, 7.0, symbol="B", scope="action", kind="dividend"))
    later = TODAY + timedelta(days=2)
    held(store, answer(DAY + timedelta(days=1), 101.0, 102.0), today=later)
    found = items(read_quarantine(store, "US"))
    assert found.schema == ITEMS_SCHEMA
    action, stretch = found["item"][1], short("A", "row", "rule", "rescaled by 4")
    since = NOW.date()
    assert found.rows() == [
        (
            stretch,
            "A",
            "row",
            "rule",
            "rescaled by 4",
            "pending",
            DAY,
            DAY + timedelta(days=2),
            3,
            since,
            2,
            later,
        ),
        (action, "B", "action", "dividend", "rescaled by 4", "pending", DAY, DAY, 1, since, 1, TODAY),
    ]
    # A part that somebody has decided about is an item beside it.
    first = read_quarantine(store, "US")["id"][0]
    mark(store, "US", [first], Decision.REJECTED, NOW, "a typo")
    told = (
        items(read_quarantine(store, "US"))
        .filter(pl.col("symbol") == "A")
        .select("decision", "first", "sessions")
    )
    assert sorted(told.rows()) == [("pending", DAY + timedelta(days=1), 2), ("rejected", DAY, 1)]


def bare(day: date, symbol: str, dividend: float | None = 0.5) -> pl.DataFrame:
    """A row that carries an action alone."""
    rows = answer(day, 1.0, symbol=symbol)
    return rows.with_columns(
        *(pl.lit(None, pl.Float64).alias(name) for name in PRICES), dividend=pl.lit(dividend)
    )


def test_a_row_without_a_bar_is_settled_by_one_whose_dividend_is_sure(store: LocalObjectStore) -> None:
    held(store, bare(DAY, "A"), answer(DAY, 7.0, symbol="B"))
    quarantine = read_quarantine(store, "US")
    assert quarantine["close"].to_list() == [None, 7.0]
    first, second = quarantine["id"]

    def gone(*rows: pl.DataFrame) -> list[str]:
        return superseded(quarantine, pl.concat(rows).select(list(DAILY_SCHEMA)))

    assert gone(bare(DAY, "A", 0.25)) == [first]
    assert gone(bare(DAY, "A", None)) == []
    assert gone(answer(DAY, 9.0)) == [first]
    assert gone(answer(DAY, 9.0).with_columns(dividend=pl.lit(None, pl.Float64))) == [first]
    assert gone(bare(DAY, "B")) == []
    assert gone(answer(DAY, 9.0, symbol="C")) == []
    assert gone(answer(DAY, 9.0), answer(DAY, 9.0, symbol="B")) == [first, second]
    assert superseded(quarantine, quarantine.clear().select(list(DAILY_SCHEMA))) == []


def test_a_decision_changes_those_it_is_about_and_writes_nothing_twice(store: LocalObjectStore) -> None:
    held(store, answer(DAY, 100.0), answer(DAY, 7.0, symbol="B"))
    first, second = read_quarantine(store, "US")["id"]
    mark(store, "US", [], Decision.REJECTED, NOW)
    mark(store, "US", [first], Decision.REJECTED, NOW, "a typo")
    assert read_quarantine(store, "US").select("id", "decision", "decided_at", "note").rows() == [
        (first, "rejected", NOW, "a typo"),
        (second, "pending", None, ""),
    ]
    before = store.head(quarantine_key("US"))
    mark(store, "US", [first], Decision.REJECTED, NOW + timedelta(days=1), "again")
    mark(store, "US", [first], Decision.SUPERSEDED, NOW + timedelta(days=1))
    mark(store, "US", ["no such"], Decision.ACCEPTED, NOW)
    assert store.head(quarantine_key("US")) == before
    mark(store, "US", [first], Decision.ACCEPTED, NOW + timedelta(days=1))
    mark(store, "US", [second], Decision.SUPERSEDED, NOW)
    assert read_quarantine(store, "US")["decision"].to_list() == ["accepted", "superseded"]
