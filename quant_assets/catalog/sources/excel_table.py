"""Constituents from a sheet of an Excel file (.xlsx, .xlsm, .xls)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from quant_assets.catalog.configured import ConfiguredSymbol, short
from quant_assets.catalog.sources.failed import SourceFailed
from quant_assets.catalog.sources.outside import read
from quant_assets.catalog.sources.tables import Table, listed
from quant_assets.catalog.universe import ExcelSource, Universe
from quant_assets.exchanges import Exchange
from quant_assets.resources.documents import Documents, shown

_SECONDS = 120.0
_BEGINNINGS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def read_excel(
    universe: Universe, source: ExcelSource, exchange: Exchange, documents: Documents
) -> list[ConfiguredSymbol]:
    """The constituents that the sheet names. Raises SourceFailed."""
    data = read(universe, source.path, source.megabytes, documents)
    where = shown(source.path)
    answer = _rows(universe, source, data, where)
    if error := answer.get("error"):
        raise SourceFailed(
            universe,
            f"{where}: no Excel file that can be read ({error})",
            "save it as .xlsx, or correct `path`",
        )
    sheets: list[str] = answer["sheets"]
    if "rows" not in answer:
        raise SourceFailed(
            universe,
            f"{where}: there is no sheet {short(source.sheet)}; its sheets are {', '.join(map(short, sheets))}",
            "correct `sheet`",
        )
    where = f"{where}, sheet {short(source.sheet or sheets[0])}"
    rows: list[tuple[int, list[str]]] = [
        (number, ["" if cell is None else cell for cell in cells])
        for number, cells in enumerate(answer["rows"], start=1)
        if number > source.skip and any(cells)
    ]
    if not rows:
        raise SourceFailed(universe, f"{where}: nothing in it", "correct `sheet`, or `skip`")
    # Beyond the last header there may be notes.
    headers = rows[0][1]
    return listed(Table(where, headers, rows[1:]), universe, source, exchange)


def _rows(universe: Universe, source: ExcelSource, data: bytes, where: str) -> dict[str, Any]:
    if not data.startswith(_BEGINNINGS):
        return {"error": "it is of another format"}
    script = str(Path(__file__).with_name("excel_rows.py"))
    sheet = [] if source.sheet is None else [source.sheet]
    try:
        done = subprocess.run(
            # -P: the script's folder has modules of names that other packages have, too.
            [sys.executable, "-P", script, *sheet],
            input=data,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(
            universe, f"{where}: not read within {_SECONDS:g} s", "save it anew, with nothing but the list"
        ) from error
    if done.returncode:
        # The last line that it wrote is not the one that says why.
        return {"error": f"its reader gave up with status {done.returncode}; is a cell far beyond the list?"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
