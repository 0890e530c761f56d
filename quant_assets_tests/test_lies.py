"""The judge of the lies and the list of those that cannot be told: `make lies` plays them."""

from __future__ import annotations

from datetime import date
from fnmatch import fnmatchcase

import polars as pl
import pytest

from benchmarks.lies.cases import KINDS
from benchmarks.lies.judge import holes, wrong_values
from benchmarks.lies.market import EVENINGS, Slot, market
from benchmarks.lies.undetectable import UNDETECTABLE, why_undetectable

DAY = date(2024, 3, 11)


def _rows(**values: object) -> pl.DataFrame:
    row = {
        "symbol": "AAA", "date": DAY, "open": 10.1, "high": 10.4, "low": 9.9, "close": 10.2, "volume": 700,
        "dividend": 0.25, "split_ratio": 1.0,
    }  # fmt: skip
    return pl.DataFrame([{**row, **values}])


def test_what_is_stored_right_is_not_wrong() -> None:
    assert wrong_values(_rows(), _rows()).is_empty()
    assert holes(_rows(), _rows()).is_empty()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("open", 10.1001), ("high", 1040.0), ("low", 0.099), ("close", 10.2001), ("volume", 702), ("dividend", 0.0),
        ("dividend", 0.2501), ("split_ratio", 2.0),
    ],
)  # fmt: skip
def test_every_wrong_value_is_found(field: str, value: float) -> None:
    found = wrong_values(_rows(**{field: value}), _rows())
    assert found.select("field", "stored").rows() == [(field, value)]


def test_what_is_unknown_or_held_is_not_wrong_but_absent() -> None:
    held = _rows(dividend=None, volume=None)
    assert wrong_values(held, _rows()).is_empty()
    assert holes(held, _rows())["field"].to_list() == ["dividend"]
    without_bar = _rows(open=None, high=None, low=None, close=None, volume=0)
    assert wrong_values(without_bar, _rows()).is_empty()
    assert holes(without_bar, _rows())["field"].to_list() == ["row"]


def test_a_row_of_a_day_without_trading_is_wrong() -> None:
    found = wrong_values(_rows(date=date(2024, 3, 10)), _rows())
    assert found["field"].to_list() == ["row"]


def test_volume_after_a_reverse_split_is_off_by_a_few_shares() -> None:
    truth = pl.concat([_rows(), _rows(date=date(2024, 3, 12), split_ratio=0.1)])
    assert wrong_values(_rows(volume=705), truth).is_empty()
    assert wrong_values(_rows(volume=706), truth).height == 1


def test_each_entry_of_the_list_of_undetectable_lies_is_about_a_case() -> None:
    names = [
        (kind.name, lie.variant)
        for kind in KINDS.by_name.values()
        for lie in kind.make(Slot(market(kind.market), 1))
    ]
    for entry in UNDETECTABLE:
        about = [
            name for name in names if name[0] == entry.kind and fnmatchcase(f"{name[1]} ", entry.variant)
        ]
        assert about, entry
    assert why_undetectable("corrected_bar", "at 0 volume", "first", 1)
    assert not why_undetectable("rescaled_bars", "whole x1.1 plain", "established", 5)
    told = ("dividend_factor", "x1.37 adjusted at -4", "established")
    assert why_undetectable(*told, 5)
    assert not why_undetectable(*told, 2)


@pytest.mark.parametrize("evenings", EVENINGS)
def test_variants_of_a_kind_have_names_of_their_own(evenings: int) -> None:
    for kind in KINDS.by_name.values():
        names = [lie.variant for lie in kind.make(Slot(market(kind.market), evenings))]
        assert len(names) == len(set(names)) > 0, kind.name
