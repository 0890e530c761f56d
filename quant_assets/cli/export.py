"""`quant-assets export`: prices in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load, read_symbols

_TOOLS = ("csv", "duckdb", "qlib", "zipline")
_ADJUST = ("none", "split", "total_return")


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("export")(export)


def export(
    dest: Annotated[Path, typer.Argument(help="A file (*.csv, DuckDB) or a folder (CSV, qlib, zipline).")],
    to: Annotated[str, typer.Option("--to", help="csv, duckdb, qlib or zipline.")],
    exchange: Annotated[str | None, typer.Option(help="Only symbols of this exchange.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, comma-separated.")] = None,
    universe: Annotated[str | None, typer.Option(help="Only who is in this universe now.")] = None,
    start: Annotated[str | None, typer.Option(help="The first session, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option(help="The last session, YYYY-MM-DD.")] = None,
    adjust: Annotated[
        str | None,
        typer.Option(
            help="none, split or total_return; CSV: none if not given, qlib: total_return. DuckDB gets all, zipline "
            "adjusts by itself."
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What was known at this moment: a date or an instant.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="A folder, gs://bucket/prefix or an API's address, instead of the settings' store."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what an earlier export left there.")
    ] = False,
) -> None:
    """Writes prices as CSV, a DuckDB file, qlib's binary format or a zipline bundle."""
    if to not in _TOOLS:
        raise UsageProblem(f"--to {to!r}: write {', '.join(_TOOLS)}")
    if adjust is not None and adjust not in _ADJUST:
        raise UsageProblem(f"--adjust {adjust!r}: write {', '.join(_ADJUST)}")
    from quant_assets.export.chosen import ExportError
    from quant_assets.export.run import export as run

    settings = load()
    try:
        done = run(
            to,
            dest,
            symbols=read_symbols(symbols, "--symbols"),
            exchange=exchange,
            universe=universe,
            start=start,
            end=end,
            adjust=adjust,
            as_of=as_of,
            force=force,
            store=store or settings.store_location,
        )
    except (ExportError, ValueError) as error:
        raise UsageProblem(f"export: {error}") from error
    for note in done.notes:
        print(f"note: {note}")
    print(f"export: {done.rows} rows of {done.symbols} symbols to {done.dest}")
    print(f"open it: {done.opened_by}")
