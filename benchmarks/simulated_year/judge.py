"""What a year in the store is worth: beside the truth, and beside another store that was filled in another way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from benchmarks.lies.judge import wrong_values
from benchmarks.simulated_year.scenario import Scenario, truth
from quant_assets.exchanges import Exchange
from quant_assets.market.bars import KEYS, content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets.tables.parquet import read_table
from quant_assets.tables.restatements import Ledger

VALUES = ("open", "high", "low", "close", "volume", "dividend", "split_ratio")


@dataclass
class Judged:
    """The counts of the last line, and everything that is wrong in words."""

    cells: int = 0
    holes: int = 0
    wrong_values: int = 0
    false_delistings: int = 0
    planted: int = 0
    found: int = 0
    false_restatements: int = 0
    requests: int = 0
    wrong_on_any_evening: int = 0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong and self.planted == self.found

    def expect(self, right: bool, otherwise: str) -> None:
        """Notes what is wrong unless it is right."""
        if not right:
            self.wrong.append(otherwise)

    def line(self) -> str:
        """The counts, for the last line."""
        return (
            f"cells={self.cells} holes={self.holes} wrong_values={self.wrong_values} "
            f"false_delistings={self.false_delistings} restatements_planted={self.planted} "
            f"restatements_found={self.found} false_restatements={self.false_restatements}"
        )

    def compare(
        self, one: ObjectStore, other: ObjectStore, exchanges: Sequence[Exchange], *, flags: bool = True
    ) -> None:
        """Notes every cell in which two stores differ: its rows but for `fetched_at`, its state, what it misses.

        Without `flags` those of the rows do not count.
        """
        for exchange in exchanges:
            ours, theirs = _cells(one, exchange.code), _cells(other, exchange.code)
            for day in sorted({*ours, *theirs}):
                said = [
                    _said(store, exchange.code, cells.get(day), flags=flags)
                    for store, cells in ((one, ours), (other, theirs))
                ]
                self.expect(
                    said[0] == said[1], f"{exchange.code} {day} differs from the single backfill: {said}"
                )


class Evenings:
    """What is stored on every evening beside what was traded, but for values that are planted as wrong."""

    def __init__(self, scenario: Scenario) -> None:
        self._truth = scenario.history.frame
        self._planted = {(p.symbol, p.date, p.field) for p in scenario.planted}
        self.wrong: set[str] = set()

    def look(self, store: ObjectStore, exchange: str, changed: Collection[date]) -> None:
        """Takes note of every wrong value in the cells that were put on an evening."""
        if not changed:
            return
        stored = read_daily(store, exchange, min(changed), max(changed))
        stored = stored.filter(pl.col("date").is_in(sorted(changed)))
        for symbol, day, name, value, right in wrong_values(stored, self._truth).rows():
            if (symbol, day, name) not in self._planted:
                self.wrong.add(f"{symbol} {day} on an evening: {name} {value} and not {right}")


def judge(scenario: Scenario, store: ObjectStore, exchanges: Sequence[Exchange]) -> Judged:
    """The store at the end of the year beside what was traded, and the ledger beside what was planted."""
    judged = Judged()
    traded = truth(scenario)
    for exchange in exchanges:
        code = exchange.code
        symbols = list(scenario.symbols[code])
        right = traded.filter(pl.col("symbol").is_in(symbols))
        stored = read_daily(store, code)
        _judge_rows(judged, right, stored)
        _judge_cells(judged, scenario, store, exchange, right)
    _judge_ledger(judged, scenario, store, exchanges)
    return judged


def _judge_rows(judged: Judged, right: pl.DataFrame, stored: pl.DataFrame) -> None:
    both = right.join(stored, on=KEYS, how="inner", suffix="_stored")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_stored")) for name in VALUES)
    wrong = pl.concat(
        [both.filter(differs).select(KEYS), stored.join(right, on=KEYS, how="anti").select(KEYS)]
    )
    absent = right.join(stored, on=KEYS, how="anti")
    judged.wrong_values += wrong.height
    judged.holes += absent.height
    judged.wrong += [f"{symbol} {day}: other than what was traded" for symbol, day in wrong.rows()]
    judged.wrong += [f"{symbol} {day}: traded, and not there" for symbol, day in absent.select(KEYS).rows()]


def _judge_cells(
    judged: Judged, scenario: Scenario, store: ObjectStore, exchange: Exchange, right: pl.DataFrame
) -> None:
    cells = _cells(store, exchange.code)
    sets = Expected(store, exchange.code)
    due: dict[date, set[str]] = {}
    for symbol, day in right.select(KEYS).rows():
        due.setdefault(day, set()).add(symbol)
    suspended = {
        (gap.symbol, day)
        for gap in scenario.suspensions
        for day in scenario.sessions[exchange.code]
        if gap.first <= day <= gap.last
    }
    for day in scenario.sessions[exchange.code]:
        judged.cells += 1
        entry = cells.get(day)
        if entry is None:
            judged.holes += 1
            judged.wrong.append(f"{exchange.code} {day}: no cell")
            continue
        expected = sets.symbols(entry.expected_sha256) or frozenset()
        given_up = due.get(day, set()) - expected
        judged.false_delistings += len(given_up)
        judged.wrong += [f"{symbol} {day}: traded, and not expected" for symbol in sorted(given_up)]
        true_state = CellState.PARTIAL if entry.missing else CellState.COMPLETE
        judged.expect(entry.state is true_state, f"{exchange.code} {day}: {entry.state} with {entry.missing}")
        for missing in entry.missing:
            named = missing.outcome == "suspended" and (missing.symbol, day) in suspended
            judged.holes += not named
            judged.expect(named, f"{missing.symbol} {day}: missing as {missing.outcome}: {missing.reason}")


def _judge_ledger(
    judged: Judged, scenario: Scenario, store: ObjectStore, exchanges: Sequence[Exchange]
) -> None:
    planted = {(p.symbol, p.date, p.field, p.kind, float(p.old), float(p.new)) for p in scenario.planted}
    found: list[tuple[object, ...]] = []
    for exchange in exchanges:
        for row in Ledger(store, exchange.code).restatements().iter_rows(named=True):
            if row["field"] != "row" and row["old"] is None:
                # Held until now: no value that stood is another one.
                continue
            values = [_number(row[name]) if row["field"] != "row" else 0.0 for name in ("old", "new")]
            found.append((row["symbol"], row["date"], row["field"], row["class"], *values))
    judged.planted = len(planted)
    judged.found = len(planted & set(found))
    false = [event for event in found if event not in planted]
    judged.false_restatements = len(false) + len(found) - len(set(found))
    judged.wrong += [f"not planted: {event}" for event in false]
    judged.wrong += [f"planted and not found: {event}" for event in sorted(planted - set(found), key=str)]


def _number(value: str | None) -> float:
    return float("nan") if value is None else float(value)


def _cells(store: ObjectStore, exchange: str) -> dict[date, Entry]:
    return {date.fromisoformat(entry.partition): entry for entry in Manifest(store, DAILY).all(exchange)}


def _said(store: ObjectStore, exchange: str, entry: Entry | None, *, flags: bool) -> object:
    if entry is None:
        return None
    rows = read_table(store, object_key(DAILY, exchange, entry.partition)) if entry.version else None
    return (
        entry.state.value,
        content_sha256(rows, leave_out=("fetched_at", *(() if flags else ("flags",))))
        if rows is not None
        else "",
        [(m.symbol, m.outcome, m.reason) for m in entry.missing],
    )
