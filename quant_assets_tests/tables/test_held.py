"""`hold`: which claims are counted, which are new, and what becomes of those that the source no longer makes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import quarantine_key
from quant_assets.tables.parquet import encode
from quant_assets.tables.quarantine import (
    QUARANTINE_SCHEMA,
    Decision,
    Held,
    claims,
    held_sessions,
    hold,
    mark,
    read_quarantine,
    superseded,
    with_items,
)

DAY = date(2024, 3, 13)
TODAY = date(2024, 3, 15)
NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
NEW_COLUMNS = ("scope", "kind", "witnesses", "answer", "claims", "last_claimed")


def answer(first: date, *closes: float, symbol: str = "A", **more: object) -> pl.DataFrame:
    """Rows of `hold`, a day after the other; `more` are columns."""
    rows = [
        {
            "symbol": symbol, "date": first + timedelta(days=n), "open": close, "high": close, "low": close,
            "close": close, "volume": 1000, "dividend": 0.0, "split_ratio": 1.0, "currency": "USD", "flags": "",
            "fetched_at": NOW, "scale": 1.0, "rule": "rescaled by 4", **more,
        }
        for n, close in enumerate(closes)
    ]  # fmt: skip
    schema = {**ANSWER_SCHEMA, "rule": pl.String(), **dict.fromkeys(more, pl.String())}
    return pl.DataFrame(rows).select(pl.col(name).cast(dtype) for name, dtype in schema.items())


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


def held(store: LocalObjectStore, rows: pl.DataFrame, today: date = TODAY) -> Held:
    return hold(store, "US", rows, {"A": {"status": 200}}, "a-run", today)


def counts(store: LocalObjectStore) -> list[tuple[object, ...]]:
    return read_quarantine(store, "US").select("date", "close", "claims", "last_claimed").rows()


def test_a_claim_made_again_counts_once_a_day_and_keeps_when_it_was_first_made(
    store: LocalObjectStore,
) -> None:
    rows = answer(DAY, 100.0)
    first = held(store, rows)
    assert (first.new, counts(store)) == (1, [(DAY, 100.0, 1, TODAY)])
    later = rows.with_columns(
        pl.lit(NOW + timedelta(days=9)).alias("fetched_at").cast(DAILY_SCHEMA["fetched_at"])
    )
    again = held(store, later)
    assert (again, counts(store)) == (Held(0, first.ids), [(DAY, 100.0, 1, TODAY)])
    for n in (1, 2):
        # A later split changes the scale, and no more than the rounding of what is served.
        more = later.with_columns(scale=pl.lit(4.0), close=pl.lit(100.000004))
        assert held(store, more, TODAY + timedelta(days=n)) == Held(0, first.ids)
    assert counts(store) == [(DAY, 100.0, 3, TODAY + timedelta(days=2))]
    (row,) = claims(store, "US").rows(named=True)
    assert (row["fetched_at"], row["id"]) == (NOW, next(iter(first.ids)))
    # Of two runs the slower one brings no earlier day back.
    held(store, later, TODAY)
    assert counts(store) == [(DAY, 100.0, 3, TODAY + timedelta(days=2))]


def test_other_values_are_another_claim(store: LocalObjectStore) -> None:
    held(store, answer(DAY, 100.0))
    assert held(store, answer(DAY, 101.0), TODAY + timedelta(days=1)).new == 1
    assert {row[1:] for row in counts(store)} == {(100.0, 1, TODAY), (101.0, 1, TODAY + timedelta(days=1))}


def test_scope_kind_and_witnesses_are_kept_and_have_defaults(store: LocalObjectStore) -> None:
    held(store, answer(DAY, 100.0))
    more = {"scope": "action", "kind": "dividend_factor", "witnesses": "adj close implies 0.5"}
    held(store, answer(DAY, 100.0, **more))
    found = read_quarantine(store, "US").sort("scope").select("scope", "kind", "witnesses", "answer")
    assert found.rows() == [(*more.values(), ""), ("row", "rule", "", "")]


def test_an_answer_grows_by_the_sessions_to_come_and_another_one_is_another(store: LocalObjectStore) -> None:
    scope = {"scope": "answer", "kind": "rescaled"}
    held(store, answer(DAY, 400.0, 404.0, **scope))
    held(store, answer(DAY + timedelta(days=1), 404.0, 408.0, **scope), TODAY + timedelta(days=1))
    found = claims(store, "US")
    assert found["answer"].n_unique() == 1
    assert found["answer"][0]
    assert found["claims"].to_list() == [1, 2, 1]
    # One session differs: what this one says of the others is a claim of its own.
    held(store, answer(DAY, 400.0, 404.0, 408.5, **scope), TODAY + timedelta(days=2))
    found = claims(store, "US")
    assert found["answer"].n_unique() == 2
    assert (found.height, found["id"].n_unique(), found["claims"].sum()) == (6, 6, 7)
    # Two symbols have two answers.
    held(store, answer(DAY, 400.0, symbol="B", **scope))
    assert claims(store, "US")["answer"].n_unique() == 3


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_what_somebody_has_decided_about_is_not_held_again(
    store: LocalObjectStore, decision: Decision
) -> None:
    scope = {"scope": "answer", "kind": "rescaled"}
    held(
        store,
        pl.concat([answer(DAY, 400.0, 404.0, **scope), answer(DAY, 7.0, symbol="B", scope="row", kind="x")]),
    )
    mark(store, "US", read_quarantine(store, "US")["id"].to_list(), decision, NOW)
    before = read_quarantine(store, "US")
    assert held(store, answer(DAY, 400.0, 404.0, **scope), TODAY + timedelta(days=1)) == Held()
    assert held(store, answer(DAY, 7.0, symbol="B")) == Held()
    assert read_quarantine(store, "US").equals(before)
    # A session that nobody has seen is a question of its own.
    assert held(store, answer(DAY, 400.0, 404.0, 408.0, **scope)).new == 1
    assert claims(store, "US")["close"].to_list() == [408.0]


def test_a_claim_that_was_superseded_and_comes_back_waits_anew(store: LocalObjectStore) -> None:
    first = held(store, answer(DAY, 100.0))
    mark(store, "US", first.ids, Decision.SUPERSEDED, NOW)
    again = held(store, answer(DAY, 100.0), TODAY + timedelta(days=3))
    assert (again.new, again.ids) == (1, first.ids)
    (row,) = read_quarantine(store, "US").rows(named=True)
    assert (row["decision"], row["claims"], row["decided_at"]) == ("pending", 1, None)


def test_superseded_names_what_the_source_no_longer_says(store: LocalObjectStore) -> None:
    scope = {"scope": "answer", "kind": "rescaled"}
    held(store, answer(DAY, 400.0, 404.0, **scope))
    held(store, answer(DAY, 7.0, symbol="B"))
    held(store, answer(DAY, 9.0, symbol="C", scope="action", kind="dividend"))
    quarantine = read_quarantine(store, "US")

    def gone(rows: pl.DataFrame, *but: str) -> set[str]:
        ids = superseded(quarantine, rows.select(list(DAILY_SCHEMA)), but)
        return {
            f"{s}{d.day}"
            for s, d in quarantine.filter(pl.col("id").is_in(ids)).select("symbol", "date").rows()
        }

    # One of its sessions is known, so the answer was not what was to be known.
    assert gone(answer(DAY + timedelta(days=1), 101.0)) == {"A13", "A14"}
    assert gone(answer(DAY + timedelta(days=2), 101.0)) == set()
    assert gone(answer(DAY, 101.0), *quarantine["id"]) == set()
    assert gone(answer(DAY, 101.0, symbol="B")) == {"B13"}
    bare = answer(DAY, 101.0, symbol="B").with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "close")
    )
    assert gone(bare) == set()
    # The bar of an action that is in doubt is stored without it, and that settles nothing.
    assert gone(answer(DAY, 9.0, symbol="C").with_columns(dividend=pl.lit(None, pl.Float64))) == set()
    assert gone(answer(DAY, 9.0, symbol="C")) == {"C13"}
    # Nor need there be a row on its date.
    around = pl.concat(
        [answer(DAY - timedelta(days=1), 9.0, symbol="C"), answer(DAY + timedelta(days=1), 9.0, symbol="C")]
    )
    assert gone(around) == {"C13"}
    assert gone(around.tail(1)) == set()


def test_what_is_held_by_a_rule_is_asked_about_once_a_day_and_anything_else_by_every_run(
    store: LocalObjectStore,
) -> None:
    held(store, answer(DAY, 7.0, symbol="B"))
    held(store, answer(DAY, 400.0, scope="answer", kind="rescaled"))
    quarantine = read_quarantine(store, "US")
    assert held_sessions(quarantine, TODAY) == {"A": {DAY}}
    assert held_sessions(quarantine, TODAY + timedelta(days=1)) == {"A": {DAY}, "B": {DAY}}
    mark(store, "US", quarantine["id"].to_list(), Decision.REJECTED, NOW)
    assert held_sessions(read_quarantine(store, "US"), TODAY + timedelta(days=1)) == {}


def test_rows_that_were_held_before_there_were_scopes_are_read_and_counted_on(
    store: LocalObjectStore,
) -> None:
    held(store, answer(DAY, 100.0))
    old = read_quarantine(store, "US").drop(NEW_COLUMNS)
    if "flags" in old.columns:
        old = old.drop("flags")
    store.put(quarantine_key("US"), encode(old, {}))
    (row,) = read_quarantine(store, "US").rows(named=True)
    assert read_quarantine(store, "US").schema == QUARANTINE_SCHEMA
    assert [row[name] for name in NEW_COLUMNS] == ["row", "rule", "", "", 1, NOW.date()]
    assert held(store, answer(DAY, 100.0), TODAY + timedelta(days=1)).new == 0
    assert counts(store) == [(DAY, 100.0, 2, TODAY + timedelta(days=1))]


def test_items_are_what_a_person_decides_about(store: LocalObjectStore) -> None:
    held(store, answer(DAY, 400.0, 404.0, scope="answer", kind="rescaled"))
    held(store, answer(DAY, 1.0, 2.0, 3.0, symbol="B", scope="row", kind="hundredfold"))
    held(store, answer(DAY, 7.0, symbol="C"))
    found = with_items(read_quarantine(store, "US"))
    items = {
        symbol: set(part["item"]) for (symbol,), part in found.partition_by("symbol", as_dict=True).items()
    }
    assert {symbol: len(ids) for symbol, ids in items.items()} == {"A": 1, "B": 1, "C": 1}
    assert items["A"] == set(found.filter(pl.col("symbol") == "A")["answer"])
    assert items["C"] == set(found.filter(pl.col("symbol") == "C")["id"])
    assert not items["B"] & set(found["id"])
