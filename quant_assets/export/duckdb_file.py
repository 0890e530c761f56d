"""A DuckDB file: daily prices as traded and adjusted both ways, weekly bars and the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.export.chosen import Chosen, ExportError
from quant_assets.market.corporate_actions import Adjust

TABLES: dict[str, Adjust] = {"as_traded": "none", "split": "split", "total_return": "total_return"}
_VIEW = """
create view daily as
select t.*, s.close as split_close, r.close as total_return_close
from as_traded t
join split s using (symbol, date)
join total_return r using (symbol, date)
"""


def write_duckdb(chosen: Chosen, made: Path, about: dict[str, Any]) -> int:
    """Writes the file and answers how many rows a table of daily prices has.

    Tables as_traded, split, total_return (the columns of a CSV export, by symbol and date), weekly (not of a past
    moment), catalog and about; a view daily with all three closes. Raises ExportError where duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ExportError("a DuckDB file needs duckdb: pip install 'quant-assets[duckdb]'") from error
    rows = 0
    with duckdb.connect(str(made)) as connection:
        for code, symbols in chosen.batches():
            for table, adjust in TABLES.items():
                frame = chosen.daily(code, symbols, adjust)
                if adjust == "none":
                    rows += frame.height
                else:
                    # A volume on another share basis is no whole number any more.
                    frame = frame.with_columns(pl.col("volume").cast(pl.Float64))
                _append(connection, table, frame)
            if chosen.as_of is None:
                _append(connection, "weekly", chosen.weekly(symbols))
        _append(connection, "catalog", chosen.catalog)
        _append(connection, "about", pl.DataFrame({name: [value] for name, value in about.items()}))
        connection.execute(_VIEW)
    return rows


def _append(connection: Any, table: str, frame: pl.DataFrame) -> None:
    connection.register("incoming", frame.to_arrow())
    connection.execute(f"create table if not exists {table} as select * from incoming limit 0")
    connection.execute(f"insert into {table} select * from incoming")
    connection.unregister("incoming")
