"""Of which sessions a snapshot can be taken, who is asked for, and what stays of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import exchange
from quant_assets.ingest.valuations import (
    Snapshot,
    SnapshotImpossible,
    askable,
    not_valued,
    take_snapshot,
    why_not_askable,
)
from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.yahoo_quotes import Quoted
from quant_assets.tables.layout import VALUATIONS, object_key
from quant_assets.tables.parquet import encode

US, ASX = exchange("US"), exchange("ASX")
FRIDAY = date(2013, 3, 1)
CLOSED = datetime.fromisoformat("2013-03-01T23:00Z")
LISTED = [
    ConfiguredSymbol(symbol="AAPL"),
    ConfiguredSymbol(symbol="GONE", delisted_on=date(2013, 2, 28)),
    ConfiguredSymbol(symbol="IBM", delisted_on=FRIDAY),
    ConfiguredSymbol(symbol="LATER", listed_on=date(2013, 3, 4)),
]
CATALOG = build_catalog({"US": LISTED, "ASX": [ConfiguredSymbol(symbol="BHP.AX")]}, [US, ASX], None, FRIDAY)


@dataclass
class Source:
    """Answers with a market cap, or says why it cannot be asked."""

    caps: dict[str, float]
    down: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[str] = field(default_factory=list[str])

    def quoted(self, symbols: Sequence[str]) -> Quoted:
        self.asked += symbols
        quotes: dict[str, Mapping[str, Any]] = {
            s: {"symbol": s, "marketCap": self.caps[s]} for s in symbols if s in self.caps
        }
        return Quoted(quotes, {s: why for s, why in self.down.items() if s in symbols})


def keep(store: LocalObjectStore, taken: Snapshot) -> None:
    store.put(object_key(VALUATIONS, "US", str(FRIDAY)), encode(taken.rows, {}))


def said(taken: Snapshot) -> list[tuple[str, float | None]]:
    return taken.rows.select("symbol", "market_cap").rows()


@pytest.mark.parametrize(
    ("code", "now", "days"),
    [
        # New York: before the open, in the middle, between close and delay, after it, on Saturday.
        ("US", "2013-03-01T05:00Z", ["2013-02-28", "2013-03-01"]),
        ("US", "2013-03-01T04:59Z", ["2013-02-28"]),
        ("US", "2013-03-01T17:00Z", ["2013-02-28", "2013-03-01"]),
        ("US", "2013-03-01T21:10Z", ["2013-02-28", "2013-03-01"]),
        ("US", "2013-03-01T23:00Z", ["2013-03-01"]),
        ("US", "2013-03-02T17:00Z", ["2013-03-01"]),
        # In Sydney it is Monday by then.
        ("ASX", "2013-03-03T13:00Z", ["2013-03-01", "2013-03-04"]),
        # A holiday.
        ("US", "2013-02-18T17:00Z", ["2013-02-15"]),
    ],
)
def test_the_last_session_over_and_todays_can_be_asked_for(code: str, now: str, days: list[str]) -> None:
    moment = datetime.fromisoformat(now)
    assert [str(day) for day in askable(exchange(code), moment)] == days
    assert why_not_askable(exchange(code), date.fromisoformat(days[0]), moment) == ""
    assert why_not_askable(exchange(code), date(2013, 2, 14), moment) == (
        f"a snapshot is of now, and 2013-02-14 is not: symbol_valuations of {code} can be asked for "
        f"{' or '.join(days)}"
    )


def test_who_is_listed_is_asked_for_and_what_is_lacking_is_counted(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    assert not_valued(store, "US", FRIDAY, CATALOG) == ["AAPL", "IBM"]
    source = Source({"AAPL": 1.0, "GONE": 2.0})
    first = take_snapshot(store, US, FRIDAY, CATALOG, source, CLOSED)
    assert source.asked == ["AAPL", "IBM"]
    assert said(first) == [("AAPL", 1.0)]
    assert (first.asked, first.unanswered, first.failed, first.missing) == (2, ["IBM"], {}, 1)
    assert first.state is CellState.PARTIAL
    keep(store, first)
    assert not_valued(store, "US", FRIDAY, CATALOG) == ["IBM"]

    # The rest, later: what is there stays.
    rest = take_snapshot(
        store, US, FRIDAY, CATALOG, Source({"IBM": 3.0, "AAPL": 9.0}), CLOSED, ["IBM", "MSFT"]
    )
    assert (said(rest), rest.asked, rest.state) == ([("AAPL", 1.0), ("IBM", 3.0)], 1, CellState.COMPLETE)
    keep(store, rest)
    # Again, when one cannot be asked for: its row of before stays, and that is said.
    again = take_snapshot(store, US, FRIDAY, CATALOG, Source({"AAPL": 4.0}, {"IBM": "503"}), CLOSED)
    assert (said(again), again.failed, again.missing) == ([("AAPL", 4.0), ("IBM", 3.0)], {"IBM": "503"}, 0)
    # Nothing new, and nobody to blame.
    silent = take_snapshot(store, US, FRIDAY, CATALOG, Source({}), CLOSED)
    assert (said(silent), silent.unanswered) == ([("AAPL", 1.0), ("IBM", 3.0)], ["AAPL", "IBM"])


def test_a_snapshot_of_nothing_is_none(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)

    def refused(source: Source, session: date = FRIDAY, catalog: pl.DataFrame = CATALOG) -> str:
        with pytest.raises(SnapshotImpossible) as told:
            take_snapshot(store, US, session, catalog, source, CLOSED)
        return str(told.value)

    unasked = Source({"AAPL": 1.0})
    assert "2013-02-28 is not" in refused(unasked, date(2013, 2, 28))
    nobody = CATALOG.filter(pl.col("exchange") == "ASX")
    assert refused(unasked, catalog=nobody) == "the catalog has no symbol of US that is listed on 2013-03-01"
    assert unasked.asked == []
    assert refused(Source({})) == "none of 2 symbols was answered: the source has no quote of them"
    down = Source({}, dict.fromkeys(("AAPL", "IBM"), "503"))
    assert refused(down) == "none of 2 symbols was answered: 503"
    # Nor is it one of before, passed off as new.
    keep(store, take_snapshot(store, US, FRIDAY, CATALOG, unasked, CLOSED))
    assert refused(down) == "none of 2 symbols was answered: 503"
