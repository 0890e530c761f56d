"""Sums of years are kept beside the history: only what has changed is read anew, and it comes to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.market.bars import KEYS, content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import weekly_bars
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.tables import profile_sums
from quant_assets.tables.layout import (
    DAILY,
    HISTORY,
    PROFILE_SUMS,
    exchange_of,
    object_key,
    profile_sums_key,
    table_of,
    year_of,
)
from quant_assets.tables.lineage import RULES, Inputs, week_inputs
from quant_assets.tables.manifest import Entry
from quant_assets.tables.parquet import decode_with_facts, encode
from quant_assets.tables.profile_sums import sums_of_years
from quant_assets.tables.weeks_of_history import expectations, weeks_of_history
from quant_assets.tables.year_rows import side_by_side, year_rows
from quant_assets_tests.filled import bars, cell
from quant_assets_tests.support import days_between

SYMBOLS = ("A", "B", "C")
US = exchange("US")
SESSIONS = US.calendar().sessions(date(2022, 10, 17), date(2023, 3, 17))


class Cells:
    """The cells of a store by day, and what is done with its objects."""

    def __init__(self, store: LocalObjectStore) -> None:
        self.store = store
        self.entries: dict[str, Entry] = {}

    def put(self, day: date, rows: pl.DataFrame) -> None:
        entry = cell(day, rows)
        info = self.store.put(object_key(DAILY, "US", str(day)), encode(rows, entry.facts()))
        self.entries[str(day)] = replace(entry, version=info.version, size=info.size)

    def compact(self, year: int, last: date = date(9999, 1, 1), rule: str = RULES[HISTORY]) -> None:
        days = [day for day in self.entries if day.startswith(str(year)) and day <= str(last)]
        rows = pl.concat([bars(date.fromisoformat(day), SYMBOLS) for day in days]).sort(KEYS)
        facts = {
            "partition": str(year),
            "rule": rule,
            "cells": {day: self.entries[day].content_sha256 for day in days},
        }
        self.store.put(object_key(HISTORY, "US", str(year)), encode(rows, facts))

    def sums(self) -> dict[int, pl.DataFrame]:
        return sums_of_years(self.store, "US", self.entries, memory_mb=64)

    def anew(self) -> dict[int, pl.DataFrame]:
        """The sums as they are without anything kept."""
        for info in list(self.store.list(f"{PROFILE_SUMS}/")):
            self.store.delete(info.key)
        return self.sums()


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    """Half a year over New Year, compacted but for the last days."""
    cells = Cells(LocalObjectStore(tmp_path))
    for day in SESSIONS:
        cells.put(day, bars(day, SYMBOLS))
    cells.compact(2022)
    cells.compact(2023, SESSIONS[-4])
    return cells


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The years that are gone through and the days that are added, in order."""
    done: list[str] = []

    def of_year(*args: object, **kwargs: object) -> object:
        done.append(str(args[2]))
        return year_rows(*args, **kwargs)  # type: ignore[arg-type]

    def of_cells(*args: object) -> object:
        done.extend(args[2])  # type: ignore[arg-type]
        return kept(*args)  # type: ignore[arg-type]

    kept = profile_sums.cell_rows
    monkeypatch.setattr(profile_sums, "year_rows", of_year)
    monkeypatch.setattr(profile_sums, "cell_rows", of_cells)
    return done


def same(some: dict[int, pl.DataFrame], others: dict[int, pl.DataFrame]) -> bool:
    return {y: content_sha256(f) for y, f in some.items()} == {
        y: content_sha256(f) for y, f in others.items()
    }


def test_what_has_not_changed_is_not_gone_through_again(cells: Cells, read: list[str]) -> None:
    first = cells.sums()
    assert list(first) == [2022, 2023]
    assert sum(frame["sessions"].sum() for frame in first.values()) == 3 * len(SESSIONS)
    assert read == ["2022", "2023"]
    written = [info.version for info in cells.store.list(f"{PROFILE_SUMS}/")]
    assert same(cells.sums(), first)
    assert read == ["2022", "2023"]
    assert [info.version for info in cells.store.list(f"{PROFILE_SUMS}/")] == written


def test_a_new_session_is_added_to_the_last_year(cells: Cells, read: list[str]) -> None:
    cells.sums()
    days = US.calendar().sessions(date(2023, 4, 3), date(2023, 4, 5))
    for day in days:
        cells.put(day, bars(day, ("A", "C", "NEW")))
    read.clear()
    found = cells.sums()
    assert read == [str(day) for day in days]
    assert found[2023]["symbol"].to_list() == ["A", "B", "C", "NEW"]
    assert same(found, cells.anew())


def test_new_sessions_are_put_a_few_at_a_time(cells: Cells, read: list[str]) -> None:
    cells.sums()
    key, kept = profile_sums_key("US", 2023), []
    for day in US.calendar().sessions(date(2023, 4, 3), date(2023, 4, 13)):
        cells.put(day, bars(day, SYMBOLS))
        found = cells.sums()
        kept.append(max(decode_with_facts(cells.store.get(key).data, key)[1]["cells"]))
    assert kept == ["2023-03-17"] * 5 + ["2023-04-11"] * 3
    assert same(found, cells.anew())


def test_many_new_sessions_are_read_with_their_year(cells: Cells, read: list[str]) -> None:
    cells.sums()
    for day in days_between(date(2023, 4, 3), date(2023, 5, 31)):
        cells.put(day, bars(day, SYMBOLS))
    read.clear()
    assert same(cells.sums(), cells.anew())
    assert read == ["2023", "2022", "2023"]


def test_a_changed_cell_has_its_year_summed_anew_and_the_next_ones_where_it_ends_otherwise(
    cells: Cells, read: list[str]
) -> None:
    cells.sums()
    cells.put(SESSIONS[5], bars(SESSIONS[5], SYMBOLS).with_columns(volume=pl.lit(7, pl.Int64)))
    read.clear()
    assert same(cells.sums(), cells.anew())
    assert read[:1] == ["2022"]
    assert read[1:] == ["2022", "2023"]  # these are those of `anew`
    last = max(day for day in SESSIONS if day.year == 2022)
    cells.put(last, bars(last, SYMBOLS).with_columns(close=11.5))
    read.clear()
    assert same(cells.sums(), cells.anew())
    assert read == ["2022", "2023"] * 2


def test_a_day_that_comes_before_others_or_goes_has_its_year_summed_anew(
    cells: Cells, read: list[str]
) -> None:
    cells.sums()
    gone = cells.entries.pop(str(SESSIONS[-9]))
    read.clear()
    found = cells.sums()
    assert found[2023]["sessions"].sum() == 3 * (sum(day.year == 2023 for day in SESSIONS) - 1)
    cells.entries[gone.partition] = gone
    assert same(cells.sums(), cells.anew())
    assert read == ["2023", "2023", "2022", "2023"]


@pytest.mark.parametrize("what", ["damaged", "another year", "another rule"])
def test_kept_sums_that_are_of_no_use_are_made_anew(
    cells: Cells, read: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first = cells.sums()
    key = profile_sums_key("US", 2022)
    if what == "damaged":
        cells.store.put(key, cells.store.get(key).data[:-9])
    elif what == "another year":
        cells.store.put(key, cells.store.get(profile_sums_key("US", 2023)).data)
    else:
        monkeypatch.setattr(profile_sums, "RULE", "profile_sums 0")
    read.clear()
    assert same(cells.sums(), first)
    assert read == (["2022", "2023"] if what == "another rule" else ["2022"])


def test_closed_and_failed_cells_have_no_rows(cells: Cells) -> None:
    first = cells.sums()
    for day, state in ((date(2021, 7, 5), CellState.CLOSED), (date(2023, 4, 3), CellState.FAILED)):
        cells.entries[str(day)] = Entry(str(day), state)
    assert same(cells.sums(), first)


def test_their_keys_are_taken_apart_as_they_are_made() -> None:
    key = profile_sums_key("US", 2022)
    assert key == "profile_sums/exchange=US/year=2022.parquet"
    assert (table_of(key), exchange_of(key), year_of(key)) == (PROFILE_SUMS, "US", 2022)


@pytest.mark.parametrize("rule", [RULES[HISTORY], "price_history 0"])
def test_a_years_rows_come_in_parts_that_tear_no_symbol(cells: Cells, rule: str) -> None:
    cells.compact(2022, rule=rule)
    columns = ("symbol", "date", "close", "flags")
    for year, at_once in product((2022, 2023), (None, 1, 40, 70, 10_000)):
        wanted = {day: entry for day, entry in cells.entries.items() if day.startswith(str(year))}
        parts = list(year_rows(cells.store, "US", year, wanted, columns, at_once=at_once))
        expected = pl.concat([bars(date.fromisoformat(day), SYMBOLS) for day in wanted]).sort(KEYS)
        assert pl.concat(parts).equals(expected.select(columns))
        assert sum(part["symbol"].n_unique() for part in parts) == 3
        assert len(parts) == (1 if at_once in (None, 10_000) else 3)


def test_a_history_of_an_earlier_release_has_no_flags_and_days_that_are_not_asked_for_stay_away(
    cells: Cells,
) -> None:
    days = [day for day in cells.entries if day.startswith("2022")]
    rows = pl.concat([bars(date.fromisoformat(day), SYMBOLS) for day in days]).sort(KEYS).drop("flags")
    facts = {"rule": RULES[HISTORY], "cells": {day: cells.entries[day].content_sha256 for day in days}}
    cells.store.put(object_key(HISTORY, "US", "2022"), encode(rows, facts))
    some = {day: cells.entries[day] for day in days[3:-2]}
    (found,) = year_rows(cells.store, "US", 2022, some, ("symbol", "date", "flags"))
    assert found["flags"].unique().to_list() == [""]
    assert found["date"].unique().sort().cast(pl.String).to_list() == days[3:-2]
    cells.store.delete(object_key(DAILY, "US", days[0]))
    with pytest.raises(ObjectNotFound, match="recorded in the manifest, and gone"):
        list(year_rows(cells.store, "US", 2021, {days[0]: cells.entries[days[0]]}, ("symbol", "date")))


def test_parts_are_worked_on_in_order_and_errors_are_raised() -> None:
    assert list(side_by_side(lambda number: 2 * number, range(9))) == list(range(0, 18, 2))
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda number: 1 / number, [1, 0, 2]))


def made_of_history(cells: Cells, wanted: dict[str, Inputs]) -> dict[str, pl.DataFrame]:
    return {k: v for year in weeks_of_history(cells.store, US, wanted, memory_mb=64) for k, v in year.items()}


def weeks(cells: Cells) -> dict[str, Inputs]:
    mondays = sorted({US.week_of(day) for day in SESSIONS})
    return {str(monday): week_inputs(US, monday, cells.entries) for monday in mondays}


def test_weeks_of_a_history_are_those_of_their_cells(cells: Cells) -> None:
    # One that is newer than the history has it, one that the history has more of.
    newer, gone = date(2022, 10, 26), date(2022, 11, 9)
    cells.put(newer, bars(newer, SYMBOLS).with_columns(close=10.5))
    del cells.entries[str(gone)]
    wanted = weeks(cells)
    found = made_of_history(cells, wanted)
    over_new_year, after_history = "2022-12-26", "2023-03-13"
    assert over_new_year in found
    others = {str(US.week_of(newer)), str(US.week_of(gone)), after_history}
    assert wanted.keys() - found.keys() == others
    for key, frame in found.items():
        calendar, missing = expectations([wanted[key]])
        daily = pl.concat([bars(date.fromisoformat(day), SYMBOLS) for day in wanted[key].days])
        assert frame.equals(weekly_bars(daily, calendar, US.first_weekday, missing=missing))
        assert frame.height == 3


def test_few_weeks_are_left_to_their_cells(cells: Cells) -> None:
    some = dict(list(weeks(cells).items())[:7])
    assert made_of_history(cells, some) == {}
    cells.store.delete(object_key(HISTORY, "US", "2022"))
    assert not any(key < "2023" for key in made_of_history(cells, weeks(cells)))


def test_eight_weeks_of_a_year_are_taken_from_its_history_and_of_each_year_by_itself(cells: Cells) -> None:
    every = weeks(cells)
    of_2022 = [key for key in every if key < "2022-12-26"]
    of_2023 = [key for key in every if "2023" <= key < "2023-03-13"]

    def found(*wanted: str) -> list[str]:
        return list(made_of_history(cells, {key: every[key] for key in wanted}))

    assert found(*of_2022[:8]) == of_2022[:8]
    # Few of one year, many of the next; or none that the history of the first year holds.
    assert found(*of_2022[:7], *of_2023[:8]) == of_2023[:8]
    # The week over New Year comes from both histories, or from none.
    both = [*of_2022[:8], "2022-12-26", *of_2023[:8]]
    assert found(*both) == both
    assert found(*both[:9]) == both[:8]
    cells.store.delete(object_key(HISTORY, "US", "2022"))
    assert found(*of_2022, "2022-12-26", *of_2023) == of_2023
