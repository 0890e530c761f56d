"""The tables of a web page as rows of texts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from quant_assets.catalog.sources.tables import MOST_CELLS, plain

Grid = tuple[list[str], list[tuple[int, list[str]]]]
"""The headers of a table, and its rows with their numbers on the page, from 1."""

MOST_SPANNED = 1000
"""Rows or columns that one cell may reach over, as browsers have it for columns."""
_NOT_TEXT = ("script", "style", "template", "table")


def tables_of(data: bytes, skip: int = 0) -> list[Grid] | None:
    """The headers and the rows, from 1, of every table of a page, a table inside another one by itself; None for
    what is no page.

    The headers are the first row after `skip` others, none where there are no more rows; rows that are headers once
    more, as under a header of several columns, are left out. A cell that reaches over several rows or columns stands
    in each of them.
    """
    etree: Any = importlib.import_module("lxml.etree")
    html: Any = importlib.import_module("lxml.html")
    parser = html.HTMLParser(encoding=_encoding(data), remove_comments=True, remove_pis=True)
    room = [MOST_CELLS]
    tables: list[Grid] = []
    try:
        for table in html.document_fromstring(data, parser=parser).iter("table"):
            grid = list(_grid(table, room))
            if grid:
                headers = grid[skip][1] if skip < len(grid) else []
                others = enumerate(grid[skip + 1 :], start=skip + 2)
                rows = [(number, cells) for number, (only, cells) in others if not only]
                tables.append((headers, rows))
    except (etree.LxmlError, ValueError, RecursionError):
        return None
    return tables


def _encoding(data: bytes) -> str | None:
    """UTF-8 where it is that; else the page has to say it."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _grid(table: Any, room: list[int]) -> Iterator[tuple[bool, list[str]]]:
    """Each row: whether it is of headers only, and its cells. `room` has how many cells may still be made."""
    # Cells that reach down: by column, for how many rows more, and the text.
    above: dict[int, tuple[int, str]] = {}
    for row in _rows(table):
        cells: list[str] = []
        below: dict[int, tuple[int, str]] = {}
        own = [cell for cell in row if cell.tag in ("td", "th")]
        for cell in own:
            _reach_down(above, cells, below)
            text, down = _text(cell), _span(cell, "rowspan")
            for _ in range(_span(cell, "colspan")):
                if down > 1:
                    below[len(cells)] = (down - 1, text)
                cells.append(text)
        _reach_down(above, cells, below)
        above |= below
        room[0] -= len(cells)
        if room[0] < 0:
            raise ValueError(f"more than {MOST_CELLS} cells")
        if cells:
            yield all(cell.tag == "th" for cell in own), cells


def _reach_down(
    above: dict[int, tuple[int, str]], cells: list[str], below: dict[int, tuple[int, str]]
) -> None:
    while (at := len(cells)) in above:
        more, text = above.pop(at)
        if more > 1:
            below[at] = (more - 1, text)
        cells.append(text)


def _rows(table: Any) -> Iterator[Any]:
    for part in table:
        if part.tag == "tr":
            yield part
        elif part.tag in ("thead", "tbody", "tfoot"):
            yield from (row for row in part if row.tag == "tr")


def _span(cell: Any, name: str) -> int:
    text = str(cell.get(name) or "1").strip()
    return min(max(int(text), 1), MOST_SPANNED) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _text(cell: Any) -> str:
    """What a reader sees of a cell, without the marks of footnotes."""
    parts: list[str] = []

    def add(element: Any) -> None:
        for child in element:
            hidden = "display:none" in str(child.get("style") or "").replace(" ", "").lower()
            footnote = child.tag == "sup" and (
                "reference" in str(child.get("class") or "").split()
                or (child.text_content() or "").startswith("[")
            )
            if child.tag in _NOT_TEXT or hidden or footnote:
                pass
            else:
                if child.tag in ("br", "p", "div", "li"):
                    parts.append(" ")
                parts.append(child.text or "")
                add(child)
            parts.append(child.tail or "")

    parts.append(cell.text or "")
    add(cell)
    return plain("".join(parts))
