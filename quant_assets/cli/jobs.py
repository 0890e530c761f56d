"""`quant-assets jobs`: what the API does with jobs, from the command line, over the same records."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from quant_assets.cli.usage import UsageProblem, load

if TYPE_CHECKING:
    from quant_assets.operations.jobs import JobDesk, JobState

jobs = typer.Typer(
    no_args_is_help=True,
    help="Jobs that Dagster's daemon runs: asked for, listed, followed, cancelled (the API's POST /v1/jobs).",
)
_JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
_LOOK_SECONDS = 1.0
_FEW = 3
_CODES = {"completed": 0, "partial": 2, "cancelled": 1, "failed": 1}


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(jobs, name="jobs")


@jobs.command()
def start(
    kind: Annotated[
        str, typer.Argument(help="update_daily, backfill, sweep, refresh_universe or force_update.")
    ],
    exchange: Annotated[str | None, typer.Option(help="Exchange code, e.g. ASX.")] = None,
    start: Annotated[str | None, typer.Option(help="First day of a backfill, YYYY-MM-DD.")] = None,
    start_year: Annotated[int | None, typer.Option(help="In place of --start: from this year on.")] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day of a backfill. Default: the last session over.")
    ] = None,
    day: Annotated[
        str | None, typer.Option("--date", help="The session of update_daily and force_update.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, comma-separated.")] = None,
    universe: Annotated[
        str | None, typer.Option(help="Only these universes of refresh_universe, comma-separated.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Of a backfill: incremental, force or verify.")] = None,
    key: Annotated[
        str, typer.Option("--key", help="A text of your own: the same request sent twice with it is one job.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Show how it goes on, until it ends.")] = False,
    as_json: _JsonOption = False,
) -> None:
    """Asks for a job, which Dagster's daemon runs, and prints its id.

    With --follow the exit code is 0 for completed, 2 for partial, 1 for failed and cancelled.
    """
    from quant_assets.operations.job_requests import parse_request
    from quant_assets.operations.who import this_user

    given = {
        "exchange": exchange, "start": start, "start_year": start_year, "end": end, "date": day,
        "symbols": symbols, "mode": mode,
        "universes": [one.strip() for one in universe.split(",") if one.strip()] if universe else None,
    }  # fmt: skip
    desk = _desk()
    state, new = desk.request(parse_request(kind, given), this_user(), "cli", key)
    if not new:
        _errors(f"--key {key}: this request is job {state.id} already")
    if follow:
        _follow(desk, state.id, as_json)
    elif as_json:
        print(state.model_dump_json(indent=2))
    else:
        print(state.id)


@jobs.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only those of this status.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only those about this exchange.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest of them, so many.")] = 20,
    as_json: _JsonOption = False,
) -> None:
    """The jobs that were asked for, the latest first."""
    from typing import get_args

    from quant_assets.cli.tables import print_rows
    from quant_assets.operations.job_requests import KINDS
    from quant_assets.operations.jobs import Status

    for option, value, known in (("--status", status, get_args(Status)), ("--kind", kind, KINDS)):
        if value is not None and value not in known:
            raise UsageProblem(f"{option} {value!r}: write {', '.join(known)}")
    found, _ = _desk().list(status=status, kind=kind, exchange=exchange, limit=limit)
    if as_json:
        print(json.dumps([state.model_dump() for state in found], indent=2))
        return
    if not found:
        print("no such job was asked for")
        return
    rows = [
        (
            state.id,
            state.kind,
            " ".join(state.exchanges),
            " ".join(f"{n}={_short(v)}" for n, v in state.parameters.items() if n != "exchange"),
            state.status,
            state.requested_by,
            (state.note or "; ".join(state.warnings))[:200],
        )
        for state in found
    ]
    print_rows(("id", "kind", "exchanges", "asked for", "status", "by", "note"), rows)


@jobs.command()
def show(job: str, as_json: _JsonOption = False) -> None:
    """A job as it stands: progress, warnings, result, and links to its runs."""
    _print(_desk().state(job), as_json)


@jobs.command()
def follow(job: str, as_json: _JsonOption = False) -> None:
    """Shows how a job goes on, until it ends. Exit codes: 0 completed, 2 partial, 1 failed or cancelled."""
    _follow(_desk(), job, as_json)


@jobs.command()
def cancel(job: str, as_json: _JsonOption = False) -> None:
    """Cancels a job: one that has not begun is over at once, one under way finishes the requests that it has sent."""
    from quant_assets.operations.who import this_user

    _print(_desk().cancel(job, this_user()), as_json)


def _desk() -> JobDesk:
    from quant_assets.operations.jobs import JobDesk
    from quant_assets.resources.open_store import open_store

    settings = load()
    return JobDesk(settings, open_store(settings.store_location))


def _follow(desk: JobDesk, job: str, as_json: bool) -> None:
    shown = ""
    while True:
        state = desk.state(job)
        if (line := _line(state)) != shown and not state.ended:
            _errors(line)
            shown = line
        if state.ended:
            _print(state, as_json)
            raise typer.Exit(_CODES[state.status])
        time.sleep(_LOOK_SECONDS)


def _print(state: JobState, as_json: bool) -> None:
    if as_json:
        print(state.model_dump_json(indent=2))
        return
    print(_line(state))
    for warning in state.warnings:
        print(f"warning: {warning}")
    for part in state.result.get("parts", []):
        cells = [f"{name}={count}" for name, count in part.get("cells", {}).items()]
        counts = [f"{n}={part[n]}" for n in ("requested", "succeeded", "requests") if n in part]
        # Of a refresh of universes, and of what had nothing to ask for, there is no more than its run.
        if cells or counts:
            print(f"{part.get('exchange') or 'run'}: {' '.join([*cells, *counts])}")
    for run in state.runs:
        print(f"{' '.join(word for word in ('run', run.part, run.status) if word)}: {run.url}")


def _line(state: JobState) -> str:
    of = state.progress
    counts = {"symbols": (of.symbols_done, of.symbols), "cells": (of.cells_done, of.cells)}
    done = "".join(f" {name}={some}/{among}" for name, (some, among) in counts.items() if among)
    return f"{state.id} {state.kind} {state.status}{done}" + (f": {state.note}" if state.note else "")


def _short(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    names = cast("list[str]", value)
    return ",".join(names) if len(names) <= _FEW else f"{len(names)} of them"


def _errors(text: str) -> None:
    from quant_assets.cli.console import errors

    errors.print(text, markup=False, soft_wrap=True)
