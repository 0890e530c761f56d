"""`quant-assets worker`: takes Dagster's runs, on whatever machine it is started."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from quant_assets.cli.usage import UsageProblem, load


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("worker")(worker)


def worker(
    name: Annotated[
        str, typer.Option(help="What the worker is called, beside the machine's name; no two alike.")
    ] = "worker",
) -> None:
    """Takes Dagster's runs from the queue, one at a time, until interrupted.

    On SIGTERM it ends the run that it has first; when it is killed the run is done again by another one.
    """
    from quant_assets.cli.console import print_error
    from quant_assets.instance import prepare_instance, workers_apart

    settings = load()
    if not settings.workers:
        raise UsageProblem(
            "there is no queue of runs: set QUANT_ASSETS_SHARED_REDIS, and QUANT_ASSETS_WORKERS to the number of "
            "workers, here and where Dagster's daemon runs"
        )
    prepare_instance(settings)
    if apart := workers_apart(settings):
        print_error(f"{apart} (name one PostgreSQL in QUANT_ASSETS_DAGSTER_DB, here and there)")
    try:
        runs: Any = importlib.import_module("quant_assets.defs.celery_runs")
    except ModuleNotFoundError as error:
        raise UsageProblem(f"{error.name} is missing: pip install 'quant-assets[celery]'") from error
    runs.worker_app(settings).worker_main(
        ["worker", "-n", f"{name}@%h", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    )
