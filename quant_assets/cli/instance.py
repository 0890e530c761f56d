"""The commands that care for Dagster's instance: its runs, events and what its pages show."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load

_app = typer.Typer(no_args_is_help=True, help="Dagster's instance of this home: its runs and events.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("rebuild-instance")(rebuild_instance)
    app.add_typer(_app, name="instance")


def rebuild_instance() -> None:
    """Tells Dagster of all that the store holds and Dagster does not show: after its instance was lost.

    Asks the source for nothing and changes nothing in the store. Schedules are for you to switch on again.
    """
    from quant_assets.cli.console import console, progress
    from quant_assets.cli.store import there
    from quant_assets.local_runs import Runner

    settings = load()
    # Before a home is made of it: an empty store would look like one that is all told.
    there(settings.store_location)
    with progress() as watcher, Runner(settings, watcher, writes=False) as runner:
        counts = runner.rebuild_instance()
    failed = counts.pop("failed", 0)
    told = " ".join(f"{table}={count}" for table, count in sorted(counts.items()))
    print(f"rebuild-instance: ok {told} failed_cells={failed}")
    console.print("schedules are off on a new instance: switch them on in the UI (Automation)")


@_app.command()
def prune(
    keep: Annotated[
        str | None,
        typer.Option(help="How many days to keep, e.g. 90d. Default: QUANT_ASSETS_KEEP_RUNS_DAYS."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Removes old runs, their logs, ticks and backfills; what Dagster's pages show of cells and checks stays."""
    from datetime import UTC, datetime, timedelta

    from quant_assets.defs.retention import prune as remove
    from quant_assets.instance import databases_of, open_instance

    settings = load()
    days = settings.keep_runs_days if keep is None else _days(keep)
    if not days:
        raise UsageProblem("nothing is old: QUANT_ASSETS_KEEP_RUNS_DAYS is 0; say --keep 90d")
    with open_instance(settings) as instance, databases_of(settings):
        pruned = remove(instance, datetime.now(UTC) - timedelta(days=days), dry_run=dry_run)
    counts = " ".join(f"{name}={count}" for name, count in asdict(pruned).items())
    print(f"prune: {'dry-run' if dry_run else 'ok'} older_than={days}d {counts}")


def _days(text: str) -> int:
    found = re.fullmatch(r"(\d{1,5})d?", text.strip())
    if found is None or not int(found[1]):
        raise UsageProblem(f"--keep {text!r}: write a number of days, e.g. 90d")
    return int(found[1])
