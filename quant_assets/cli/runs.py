"""`quant-assets runs` and `status`: what became of Dagster's runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.tables import JsonOption
from quant_assets.cli.usage import UsageProblem, load
from quant_assets.words import number_of

if TYPE_CHECKING:
    from quant_assets.defs.run_outcomes import RunOutcome, RunsKept

_EXIT_CODES = {"PARTIAL": 2, "FAILED": 1, "CANCELED": 1}
_LEAST_LETTERS = 4
_COLUMNS = ("run", "outcome", "started (UTC)", "seconds", "job", "partitions", "cells", "requests")


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("runs")(runs)
    app.command("status")(status)


def runs(
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many runs, the newest ones.")] = 20,
    outcome: Annotated[
        str | None,
        typer.Option(help="Of them only these: success, partial, failed, canceled, running, queued."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The last runs, newest first, and what became of each: SUCCESS, PARTIAL or FAILED."""
    from quant_assets.cli.console import print_error
    from quant_assets.cli.tables import print_rows
    from quant_assets.defs.run_outcomes import OUTCOMES, recent

    if outcome is not None and outcome.upper() not in OUTCOMES:
        raise UsageProblem(f"--outcome {outcome!r}: write one of {', '.join(OUTCOMES).lower()}")
    damaged: dict[str, str] = {}
    found = _asked(lambda kept: recent(kept, last, damaged))
    for why in damaged.values():
        print_error(why)
    none = "no runs yet: `quant-assets update-daily` and `quant-assets backfill` make some"
    if outcome is not None and found:
        none = f"none of the last {number_of(len(found), 'run')} is {outcome.lower()}; --last N looks further back"
        found = [one for one in found if one.outcome == outcome.upper()]
    if as_json:
        print(json.dumps([one.facts() for one in found], indent=2))
        return
    if not found:
        print(none)
        return
    print_rows(_COLUMNS, (_row(one) for one in found))


def status(
    run: Annotated[str, typer.Argument(help="A run's id, or its first letters, as `runs` lists it.")],
    as_json: JsonOption = False,
) -> None:
    """What became of a run: symbols by outcome, what is missing, held or restated, requests, phases, and what to do
    next. Exits with 0 (SUCCESS, or not over yet), 2 (PARTIAL) or 1 (FAILED)."""
    from quant_assets.cli.console import console
    from quant_assets.defs.run_outcomes import find

    if len(run) < _LEAST_LETTERS:
        raise UsageProblem(f"RUN {run!r}: write at least {_LEAST_LETTERS} letters of the run's id")
    found = _asked(lambda kept: find(kept, run))
    if not found:
        raise UsageProblem(
            f"RUN {run!r}: no run of this home or store has such an id; `quant-assets runs` lists them"
        )
    if len(found) > 1:
        raise UsageProblem(
            f"RUN {run!r} may be any of {', '.join(one.run for one in found)}: write more letters"
        )
    (one,) = found
    if as_json:
        print(json.dumps(one.facts(), indent=2, default=str))
    else:
        console.print(_in_words(one), markup=False, soft_wrap=True)
    sys.exit(_EXIT_CODES.get(one.outcome, 0))


def _asked(ask: Callable[[RunsKept], list[RunOutcome]]) -> list[RunOutcome]:
    """What `ask` finds in this home and store."""
    from datetime import UTC, datetime

    from quant_assets.defs.run_outcomes import RunsKept
    from quant_assets.instance import databases_of, open_instance
    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    with open_instance(settings) as instance, databases_of(settings):
        # Runs are timed by the real clock, whatever QUANT_ASSETS_NOW says.
        return ask(RunsKept(instance, store, settings.exchanges, settings.locks_folder, datetime.now(UTC)))


def _row(one: RunOutcome) -> tuple[str, ...]:
    return (
        one.run[:8],
        one.outcome,
        f"{one.started or one.queued:%Y-%m-%d %H:%M:%S}" if one.started or one.queued else "",
        "" if one.seconds is None else f"{one.seconds:,.1f}",
        one.job or "(told by its report)",
        one.partitions or one.exchange,
        one.cells,
        "" if one.requests is None else str(one.requests),
    )


def _in_words(one: RunOutcome) -> str:
    facts = one.facts()
    reports = facts.pop("reports", [])
    lines = [f"{name:<10}  {value}" for name, value in facts.items()]
    from quant_assets.ingest.report_text import as_markdown

    return "\n".join(
        [*lines, *("\n" + (report.get("markdown") or as_markdown(report)).rstrip() for report in reports)]
    )
