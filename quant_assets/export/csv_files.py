"""CSV: one file, or a folder with a file for each symbol."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from quant_assets.export.chosen import Chosen
from quant_assets.market.corporate_actions import Adjust


def file_name(symbol: str) -> str:
    """A symbol as the name of a file, without its ending: what no file system takes is written as %2F."""
    return quote(symbol, safe="^=.-+ &$")


def write_csv(chosen: Chosen, made: Path, adjust: Adjust, *, one_file: bool) -> int:
    """Writes all rows (`chosen.COLUMNS`) and answers how many. Doubles are written so that they are read back as they
    were; a null is an empty field."""
    rows = 0
    if not one_file:
        made.mkdir()
    for code, symbols in chosen.batches():
        frame = chosen.daily(code, symbols, adjust)
        if one_file:
            with made.open("ab") as file:
                frame.write_csv(file, include_header=rows == 0 and file.tell() == 0)
        else:
            for (symbol,), part in frame.partition_by("symbol", as_dict=True, maintain_order=True).items():
                part.write_csv(made / f"{file_name(str(symbol))}.csv")
        rows += frame.height
    return rows
