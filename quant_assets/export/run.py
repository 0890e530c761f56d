"""One export from beginning to end: chosen, written beside its place, and put there as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from quant_assets import reader
from quant_assets.export.chosen import ExportError, choose
from quant_assets.export.csv_files import write_csv
from quant_assets.export.duckdb_file import write_duckdb
from quant_assets.export.qlib_files import write_qlib
from quant_assets.export.replacing import ABOUT, replacing
from quant_assets.export.zipline_bundle import bundle_name, write_zipline
from quant_assets.market.corporate_actions import Adjust
from quant_assets.resources.settings import load_settings

Tool = Literal["csv", "duckdb", "qlib", "zipline"]
DEFAULTS: dict[Tool, Adjust | None] = {"csv": "none", "duckdb": None, "qlib": "total_return", "zipline": None}
"""How prices are adjusted where it is not said; None: it cannot be."""


@dataclass(frozen=True)
class Exported:
    """What came of an export: where it is, its rows, what is worth knowing, and how the tool opens it."""

    dest: Path
    rows: int
    symbols: int
    notes: Sequence[str]
    opened_by: str


def export(
    tool: Tool,
    dest: Path,
    *,
    symbols: Sequence[str] = (),
    exchange: str | None = None,
    universe: str | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: Adjust | None = None,
    as_of: datetime | date | str | None = None,
    force: bool = False,
    store: reader.Store = None,
) -> Exported:
    """Writes prices of a store as `tool` reads them.

    Args:
        dest: a file for DuckDB, and for CSV where it ends in .csv; else a folder. It appears when all is written.
        symbols, exchange, universe: what is exported; nothing named: the whole catalog.
        start, end, as_of, store: as for `quant_assets.prices`.
        adjust: of CSV and qlib; not of DuckDB (which gets all three) and zipline (which adjusts by itself).
        force: replaces what an earlier export left at `dest`.

    Raises:
        ExportError: nothing to export, `dest` is taken, an adjustment that the tool does not take, a tool that is
            not installed, no row in the range.
        As `quant_assets.prices` does.
    """
    if adjust is not None and DEFAULTS[tool] is None:
        has = (
            "as-traded and both adjusted series"
            if tool == "duckdb"
            else "as-traded bars with their adjustments"
        )
        raise ExportError(f"--adjust says nothing to {tool}, which gets {has}: leave it out")
    how = adjust or DEFAULTS[tool] or "none"
    chosen = choose(
        reader_store(store),
        symbols=symbols,
        exchange=exchange,
        universe=universe,
        start=start,
        end=end,
        as_of=as_of,
    )
    about = chosen.about(
        how if DEFAULTS[tool] else "all" if tool == "duckdb" else "none", load_settings().clock()
    )
    notes: list[str] = []
    with replacing(dest, force) as made:
        folder = True
        match tool:
            case "csv":
                folder = dest.suffix.lower() != ".csv"
                rows = write_csv(chosen, made, how, one_file=not folder)
                opened = f'polars.read_csv("{dest if not folder else dest / "*.csv"}", try_parse_dates=True)'
            case "duckdb":
                folder = False
                rows = write_duckdb(chosen, made, about)
                opened = f'duckdb {dest} -c "select * from split limit 5"'
            case "qlib":
                rows = write_qlib(chosen, made, how)
                opened = f'qlib.init(provider_uri="{dest}")'
            case "zipline":
                rows, notes = write_zipline(chosen, made)
                opened = (
                    f"ZIPLINE_ROOT={dest} zipline ingest -b {bundle_name(next(iter(chosen.by_exchange)))}"
                )
        if not rows:
            raise ExportError(
                f"no prices of what was asked for are stored between {start or '…'} and {end or '…'}"
            )
        if folder:
            (made / ABOUT).write_text(
                json.dumps({"to": tool, **about, "rows": rows}, indent=2), encoding="utf-8"
            )
    return Exported(dest, rows, about["symbols"], notes, opened)


def reader_store(store: reader.Store) -> reader.Store:
    """The store that is meant: the settings' one, where none is named."""
    return load_settings().store_location if store is None else store
