"""`quant-assets audit`: who did what to the store; and that commands which change something are written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from quant_assets.cli.tables import JsonOption
from quant_assets.cli.usage import UsageProblem, load, read_date
from quant_assets.errors import QuantAssetsError

OPERATING = frozenset(
    {
        "backfill", "update-daily", "sweep", "refresh-universe", "rebuild-manifest", "rebuild-instance",
        "migrate", "catalog import-membership", "catalog discover", "catalog accept", "catalog reject",
        "catalog review", "quarantine accept", "quarantine reject", "jobs cancel", "cache clear",
    }
)  # fmt: skip
"""The commands that change something, or ask the source. A job that is started is on record by itself."""
_DAYS = 30


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("audit")(audit)


def audit(
    since: Annotated[
        str | None, typer.Option(help=f"First day, YYYY-MM-DD (UTC). Default: {_DAYS} days ago.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Only what this key, user, schedule or sensor did.")] = None,
    via: Annotated[str | None, typer.Option(help="Only this way in: api, cli or dagster.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest of them, so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Who did what to the store, when, and what came of it: over the API, by commands, by Dagster. Latest first."""
    from quant_assets.operations.audit import audit_trail
    from quant_assets.resources.open_store import open_store

    if via not in (None, "api", "cli", "dagster"):
        raise UsageProblem(f"--via {via!r}: write api, cli or dagster")
    first = read_date(since, "--since") if since else (datetime.now(UTC) - timedelta(days=_DAYS)).date()
    found = audit_trail(open_store(load().store_location), first, who=who, via=via, limit=limit)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    if not found:
        print(f"nothing was done since {first} that is on record")
        return
    from quant_assets.cli.console import console

    for one in found:
        when = datetime.fromisoformat(one.at).astimezone(UTC)
        told = " ".join(f"{name}={value}" for name, value in one.parameters.items())
        line = f"{when:%Y-%m-%d %H:%M:%S} {one.via} {one.who}: {one.what} {told[:200]}".rstrip()
        why = f" ({one.detail})" if one.detail else ""
        console.print(f"{line} → {one.result}{why}", markup=False, soft_wrap=True)


def record_operations(app: typer.Typer) -> None:
    """Has every command of OPERATING leave a record when it ends."""
    for name, command in commands_of(app):
        if name in OPERATING and command.callback is not None:
            command.callback = _recorded(name, command.callback)


def commands_of(app: typer.Typer, group: str = "") -> Iterator[tuple[str, CommandInfo]]:
    """All commands with their names, `catalog accept`."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        yield f"{group}{name}", command
    for more in app.registered_groups:
        if more.typer_instance is not None:
            yield from commands_of(more.typer_instance, f"{group}{more.name} ")


def _recorded(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def run(**given: Any) -> Any:
        from quant_assets.operations.audit import operation, word_of
        from quant_assets.operations.who import this_user
        from quant_assets.resources.open_store import open_store

        if given.get("dry_run") or (name == "catalog review" and not (given["link"] or given["separate"])):
            return command(**given)
        try:
            store = open_store(load().store_location)
        except QuantAssetsError:
            # What is wrong is for the command to say.
            return command(**given)
        # Standard error is for what the command itself has to say.
        logging.getLogger("quant_assets.tables.audit").addHandler(logging.NullHandler())
        shown = {key: _plain(value) for key, value in given.items() if value not in (None, False, "")}
        with operation(store, this_user(), "cli", name, shown) as attempt:
            try:
                return command(**given)
            except UsageProblem:
                # Nothing was begun.
                attempt.kept = False
                raise
            except typer.Exit as left:
                attempt.result = word_of(left.exit_code)
                raise

    return run


def _plain(value: object) -> object:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
