"""The commands that care for Dagster's instance: its runs, events and what its pages show."""

from __future__ import annotations

import typer

from quant_assets.cli.usage import load


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("rebuild-instance")(rebuild_instance)


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
    with progress() as watcher, Runner(settings, watcher) as runner:
        counts = runner.rebuild_instance()
    failed = counts.pop("failed", 0)
    told = " ".join(f"{table}={count}" for table, count in sorted(counts.items()))
    print(f"rebuild-instance: ok {told} failed_cells={failed}")
    console.print("schedules are off on a new instance: switch them on in the UI (Automation)")
