"""Historical membership from a CSV: read row by row, and refused with the line where it cannot be."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest

from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.membership_file import LARGEST, read_statement
from quant_assets.exchanges import exchange
from quant_assets.tables.membership import Spell, Statement

LAST, TODAY = date(2020, 6, 30), date(2024, 3, 15)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spx.csv"


def read(file: Path, content: str | bytes, first: date | None = None, last: date = LAST) -> Statement:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_statement(file, exchange("US"), first, last, TODAY)


def test_each_row_is_a_stretch(file: Path) -> None:
    text = (
        "symbol,joined,left\nOLD,1996-01-03,1999-06-01\n ibm , 1996-01-02,\nGE,1998-03-02,2001-05-01\n"
        'GE,2001-05-01,""\n'
    )
    statement = read(file, text)
    assert statement.spells == [
        Spell("OLD", date(1996, 1, 3), date(1999, 6, 1)),
        Spell("IBM", date(1996, 1, 2)),
        Spell("GE", date(1998, 3, 2), date(2001, 5, 1)),
        Spell("GE", date(2001, 5, 1)),
    ]
    assert (statement.first, statement.last) == (date(1996, 1, 2), LAST)
    assert (
        statement.evidence == f"stated in spx.csv (sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"
    )


def test_an_index_may_have_been_in_a_universe(file: Path) -> None:
    statement = read(file, "symbol,joined,left\n^GSPC,1996-01-02,\n")
    assert statement.spells == [Spell("^GSPC", date(1996, 1, 2))]
    with pytest.raises(CatalogError, match=r":2: \^TA125\.TA is no symbol of US"):
        read(file, "symbol,joined,left\n^TA125.TA,1996-01-02,\n")


def test_other_columns_a_byte_order_mark_and_windows_lines_do_no_harm(file: Path) -> None:
    text = '\ufeffJoined,Name,Symbol,Left\r\n2001-01-02,"Big, Blue",IBM,2001-01-03\r\n'
    statement = read(file, text)
    assert statement.spells == [Spell("IBM", date(2001, 1, 2), date(2001, 1, 3))]


def test_the_days_it_is_about_can_be_named(file: Path) -> None:
    text = "symbol,joined,left\nIBM,1990-01-02,\n"
    assert read(file, text, date(1996, 1, 2)).first == date(1996, 1, 2)
    assert read(file, text, date(2020, 6, 30)).first == LAST
    assert read(file, text, last=date(1990, 1, 2)).last == date(1990, 1, 2)
    with pytest.raises(CatalogError) as refused:
        read(file, text, date(2020, 7, 1))
    assert str(refused.value) == (
        f"{file}: it begins on 2020-07-01, after 2020-06-30, the last day that it can be about; name the days it is "
        "about with --from and --through"
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("A B,2001-01-02,", ":2: 'A B' is no symbol; write one as Yahoo spells it"),
        (",2001-01-02,", ":2: '' is no symbol"),
        ("../X,2001-01-02,", ":2: '../X' is no symbol"),
        ('"A\x1b[31m",2001-01-02,', ":2: 'A\\x1b[31m' is no symbol"),
        ("A" * 100_000 + ",2001-01-02,", "(100002 characters) is no symbol"),
        ("A" * 200_000 + ",2001-01-02,", ":2: no CSV (field larger than field limit (131072)); correct the line"),
        ("IBM,2001-01-02,\nBHP.AX,2001-01-02,", ":3: BHP.AX is no symbol of US"),
        ("BRK.B,2001-01-02,", ":2: BRK.B: Yahoo spells it BRK-B; write that"),
        ("IBM,2001-01-02,,2005-01-04", ":2: more fields than the header has; correct the line"),
        ("IBM,,", ":2: IBM: joined '' is no date; write YYYY-MM-DD"),
        ("IBM", ":2: IBM: joined '' is no date"),
        ("IBM,02.01.2001,", ":2: IBM: joined '02.01.2001' is no date"),
        ("IBM,20010102,", ":2: IBM: joined '20010102' is no date"),
        ("IBM,2001-01-02,never", ":2: IBM: left 'never' is no date"),
        ("IBM,2024-03-16,", ":2: IBM: joined 2024-03-16 is in the future; state what has happened"),
        ("IBM,2001-01-02,2024-03-16", ":2: IBM: left 2024-03-16 is in the future"),
        ("IBM,2001-01-02,2001-01-02", ":2: IBM left on 2001-01-02, not after it joined on 2001-01-02; left is the"),
        ("IBM,2001-01-02,2001-01-01", ":2: IBM left on 2001-01-01, not after it joined on 2001-01-02"),
        ("IBM,2001-01-02,\nIBM,2001-01-02,", ":3: IBM joined on 2001-01-02, and was in already (line 2); say when"),
        (
            "IBM,2005-01-03,\nGE,2001-01-02,\nIBM,2001-01-02,2005-01-04",
            ":2: IBM joined on 2005-01-03, and was in already (line 4)",
        ),
        ("IBM,2001-01-02,\nIBM,2006-01-02,2007-01-02", ":3: IBM joined on 2006-01-02, and was in already (line 2)"),
        ("", ": no rows; write one for each stretch in the universe: symbol,joined,left"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_row_that_cannot_be_is_named_with_its_line(file: Path, rows: str, told: str) -> None:
    with pytest.raises(CatalogError) as refused:
        read(file, f"symbol,joined,left\n{rows}\n")
    message = str(refused.value)
    assert message.startswith(f"{file}:")
    assert told in message
    assert message.isprintable()
    assert len(message) < 400


def test_what_happened_today_can_be_stated(file: Path) -> None:
    assert (
        read(file, "symbol,joined,left\nIBM,2001-01-02,2024-03-15\nGE,2024-03-15,\n").spells[1].joined
        == TODAY
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"symbol,joined\nIBM,2001-01-02\n", ":1: the header is 'symbol,joined'; write symbol,joined,left, each"),
        (b"symbol,joined,left,Left\n", ":1: the header is 'symbol,joined,left,left'; write"),
        (b"", ":1: the header is ''"),
        ("symbol,joined,left\nIBM,2001-01-02,\n\xdc,2001-01-02,\n".encode("latin-1"), ":3: not in UTF-8; save"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named(file: Path, content: bytes, told: str) -> None:
    with pytest.raises(CatalogError) as refused:
        read(file, content)
    assert str(refused.value).startswith(f"{file}{told}")


def test_a_file_that_is_not_there_or_too_large_is_named(file: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"spx\.csv: cannot be read \(No such file or directory\); name a CSV"
    ):
        read_statement(file, exchange("US"), None, LAST, TODAY)
    with file.open("wb") as large:
        large.truncate(LARGEST + 1)
    with pytest.raises(CatalogError) as refused:
        read_statement(file, exchange("US"), None, LAST, TODAY)
    assert (
        str(refused.value)
        == f"{file}: 20,000,001 bytes, and no more than 20,000,000 are read; take a part of it"
    )
    with file.open("wb") as large:
        large.truncate(LARGEST)
    with pytest.raises(CatalogError, match=r"spx\.csv:1: no CSV \(field larger"):
        read_statement(file, exchange("US"), None, LAST, TODAY)
