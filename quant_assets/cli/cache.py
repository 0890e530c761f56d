"""`quant-assets cache`: the Redis in which the API keeps its answers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from quant_assets.cli.tables import JsonOption
from quant_assets.cli.usage import UsageProblem, load

if TYPE_CHECKING:
    from quant_assets.resources.cache import FarCache

cache = typer.Typer(help="The Redis in which the API keeps its answers: what it holds, and how to clear it.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(cache, name="cache")


@cache.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: JsonOption = False) -> None:
    """What the Redis of the settings holds, and whether it answers; exits with 1 if it does not."""
    if context.invoked_subcommand is not None:
        return
    far = _redis()
    facts = far.facts()
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        limit = facts.get("limit_bytes")
        held = f" entries={facts['entries']} bytes={facts['bytes']}" if "entries" in facts else ""
        print(
            f"cache: {facts['state']} {facts['location']}{held}"
            + (f" limit={limit}" if limit else "")
            + (f": {facts['reason']}" if facts["reason"] else "")
        )
    far.close()
    if facts["state"] != "ok":
        sys.exit(1)


@cache.command()
def clear() -> None:
    """Forgets the answers of this store that are kept in Redis. Never needed for answers to be right: what is stale
    is not found."""
    far = _redis()
    try:
        print(f"cache: cleared removed={far.clear()}")
    finally:
        far.close()


def _redis() -> FarCache:
    from quant_assets.resources.open_cache import open_cache

    far = open_cache(load()).far
    if far is None:
        raise UsageProblem(
            "QUANT_ASSETS_CACHE names no Redis: the answers are kept in the memory of each `quant-assets serve`, "
            "which GET /v1/cache tells of and DELETE /v1/cache clears"
        )
    return far
