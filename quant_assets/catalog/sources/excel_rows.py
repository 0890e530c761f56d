"""Prints the rows of a sheet as JSON: run as a script, by `excel_table`, with the file on its standard input.

In a process of its own, since the reader makes room for every cell up to the last one: a file of 5 kB with a cell
in the last column of the last row asks for 500 GB, and the allocation that fails ends the process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

MOST_BYTES = 4_000_000_000
"""Address space of the process."""
MOST_CELLS = 2_000_000


def main() -> None:
    """Answers {"sheets": names, "rows": [cells as texts, null for none]} or {"error": what is wrong}."""
    sheet = sys.argv[1] if len(sys.argv) > 1 else None
    _bound()
    os.environ["POLARS_MAX_THREADS"] = "1"
    fastexcel: Any = importlib.import_module("fastexcel")

    try:
        workbook = fastexcel.read_excel(sys.stdin.buffer.read())
        names = workbook.sheet_names
        if sheet is not None and sheet not in names:
            # A name may end in a blank that nobody sees, and Excel takes capitals for the same.
            wanted = sheet.strip().casefold()
            sheet = next((name for name in names if name.strip().casefold() == wanted), sheet)
        if sheet is not None and sheet not in names:
            answer: dict[str, object] = {"sheets": names}
        else:
            # From the first row on, so that rows have the numbers that Excel shows.
            found = workbook.load_sheet(
                0 if sheet is None else sheet, header_row=None, skip_rows=0, dtypes="string"
            )
            if found.height * found.width > MOST_CELLS:
                answer = {
                    "error": f"{found.height} rows of {found.width} cells, of which {MOST_CELLS:,} are read"
                }
            else:
                answer = {"sheets": names, "rows": found.to_polars().rows() if found.width else []}
    except fastexcel.FastExcelError as error:
        answer = {"error": str(error).partition("\n")[0]}
    json.dump(answer, sys.stdout)


def _bound() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bound
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    bound = MOST_BYTES if most == resource.RLIM_INFINITY else min(MOST_BYTES, most)
    # macOS refuses it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (bound, most))


if __name__ == "__main__":
    main()
