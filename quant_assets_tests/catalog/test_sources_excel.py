"""Sheets of Excel files: what stands in the cells, whatever Excel takes it for, and what is no sheet of a list."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.sources import SourceFailed
from quant_assets_tests.catalog.conftest import Ask
from quant_assets_tests.web import Web

Sheets = Mapping[str, Sequence[Sequence[object]]]


def write(path: Path, sheets: Sheets) -> Path:
    """An Excel file with these sheets, each a list of rows of cells; None is no cell."""
    workbook: Any = importlib.import_module("xlsxwriter").Workbook(
        str(path), {"default_date_format": "yyyy-mm-dd"}
    )
    for name, rows in sheets.items():
        sheet = workbook.add_worksheet(name)
        for number, cells in enumerate(rows):
            for at, cell in enumerate(cells):
                if cell is not None:
                    sheet.write(number, at, cell)
    workbook.close()
    return path


COLUMNS = {"symbol": "Stock Code", "name": "Name of Securities"}


def test_a_sheet_is_read_row_by_row_from_any_place_in_the_file(ask: Ask, tmp_path: Path, web: Web) -> None:
    path = write(
        tmp_path / "list.xlsx",
        {
            "Cover": [["As at", date(2024, 3, 15)]],
            "Members": [
                ["Updated 15/03/2024"],
                [],
                [None, "Stock Code", "Name of Securities", "Listed", "Note"],
                [None, 5, "HSBC  HOLDINGS", date(2000, 1, 3), 1.5],
                [],
                [None, "00700", "TENCENT", None, None, "beside the headers"],
                [None, True, '=CONCATENATE("A","B")', None, None],
            ],
        },
    )
    source = {
        "kind": "excel", "sheet": "Members", "skip": "1", "pad": "4", "suffix": ".HK",
        "columns": {**COLUMNS, "listed_on": "Listed"},
    }  # fmt: skip
    expected = [
        ConfiguredSymbol.model_validate(
            {"symbol": "0005.HK", "name": "HSBC HOLDINGS", "listed_on": "2000-01-03"}
        ),
        ConfiguredSymbol(symbol="00700.HK", name="TENCENT"),
        # What a formula came to is in the file only when Excel saved it; a cell that says TRUE is a text here.
        ConfiguredSymbol(symbol="TRUE.HK", name="0"),
    ]
    assert ask("HKEX", path=str(path), **source) == expected
    assert ask("HKEX", path=web.put("/list.xlsx", path.read_bytes()), **source) == expected


def test_the_first_sheet_is_taken_unless_one_is_named(ask: Ask, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", {"One": [["symbol"], ["AAPL"]], "Two": [["symbol"], ["IBM"]]})
    assert ask("US", kind="excel", path=str(path)) == [ConfiguredSymbol(symbol="AAPL")]
    assert ask("US", kind="excel", path=str(path), sheet="Two") == [ConfiguredSymbol(symbol="IBM")]
    # As it is seen in Excel: blanks at the ends do not show, and capitals tell no two sheets apart.
    path = write(tmp_path / "b.xlsx", {"One": [["symbol"], ["AAPL"]], "Two ": [["symbol"], ["IBM"]]})
    assert ask("US", kind="excel", path=str(path), sheet="two") == [ConfiguredSymbol(symbol="IBM")]


@pytest.mark.parametrize(
    ("sheets", "source", "told"),
    [
        ({"One": []}, {}, "a.xlsx, sheet 'One': nothing in it; correct `sheet`, or `skip`"),
        ({"One": [["symbol"], ["AAPL"]]}, {"skip": "2"}, "sheet 'One': nothing in it"),
        ({"One": [["symbol"]]}, {}, "sheet 'One': no row under the headers"),
        ({"One": [], "Two": []}, {"sheet": "Tow"}, "there is no sheet 'Tow'; its sheets are 'One', 'Two'"),
        ({"One": [["Code"], ["A"]]}, {}, "sheet 'One': there is no column 'symbol'; its headers are 'Code'"),
        ({"One": [[], ["symbol"], ["A"], [], ["A"]]}, {}, "there twice: A (rows 3 and 5)"),
        ({"One": [["symbol"], ["A B"]]}, {}, "row 2: symbol 'A B': a symbol is made of letters"),
        ({"One": [["symbol", "n"], [None, "x"]]}, {}, "row 2: no symbol"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_named_with_the_place(
    ask: Ask, tmp_path: Path, sheets: Sheets, source: dict[str, str], told: str
) -> None:
    path = write(tmp_path / "a.xlsx", sheets)
    with pytest.raises(SourceFailed) as refused:
        ask("US", kind="excel", path=str(path), **source)
    assert str(refused.value).startswith(f"ours (excel): {path}")
    assert told in str(refused.value)


def test_a_file_that_is_no_excel_file_is_refused(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    whole = write(tmp_path / "whole.xlsx", {"One": [["symbol"], ["AAPL"]]}).read_bytes()
    for data, why in (
        (b"", "it is of another format"),
        (b"symbol\nAAPL\n", "it is of another format"),
        (b"<html><table></table></html>", "it is of another format"),
        (whole[: len(whole) // 2], "calamine error: Cannot detect file format"),
        (b"PK\x03\x04" + bytes(100), "calamine error: Cannot detect file format"),
    ):
        path.write_bytes(data)
        with pytest.raises(SourceFailed) as refused:
            ask("US", kind="excel", path=str(path))
        assert str(refused.value) == (
            f"ours (excel): {path}: no Excel file that can be read ({why}); save it as .xlsx, or correct `path`"
        )


def test_a_small_file_that_asks_for_much_memory_is_refused_and_ends_no_process_of_ours(
    ask: Ask, tmp_path: Path
) -> None:
    path = tmp_path / "far.xlsx"
    workbook: Any = importlib.import_module("xlsxwriter").Workbook(str(path))
    sheet = workbook.add_worksheet()
    sheet.write(0, 0, "symbol")
    sheet.write(1_048_575, 16_383, "AAPL")
    workbook.close()
    assert path.stat().st_size < 10_000
    with pytest.raises(SourceFailed, match=r"its reader gave up with status .*a cell far beyond the list"):
        ask("US", kind="excel", path=str(path))


def test_more_cells_than_a_list_has_are_refused(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "wide.xlsx"
    workbook: Any = importlib.import_module("xlsxwriter").Workbook(str(path))
    sheet = workbook.add_worksheet()
    sheet.write(0, 0, "symbol")
    sheet.write(20_000, 100, "AAPL")
    workbook.close()
    with pytest.raises(SourceFailed, match=r"20001 rows of 101 cells, of which 2,000,000 are read"):
        ask("US", kind="excel", path=str(path))
