"""`quant-assets alerts`: what is open, a look now, and a test of the channels."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from quant_assets.cli.tables import JsonOption
from quant_assets.cli.usage import UsageProblem, load

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from quant_assets.resources.notify import Channel
    from quant_assets.resources.settings import Settings

T = TypeVar("T")
_app = typer.Typer(
    no_args_is_help=True,
    help="Who is told when something is late, missing or broken (QUANT_ASSETS_ALERT_URLS), and what is open.",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(_app, name="alerts")


@_app.command("list")
def listed(as_json: JsonOption = False) -> None:
    """The alerts of the last day and those that are open, and the channels that take no messages."""
    import polars as pl

    from quant_assets.cli.tables import show
    from quant_assets.defs.alerts.watch import remembered

    memory = _on_instance(load(), remembered)
    waits = "waits for the end of quiet hours"
    rows = [
        {
            "state": "over" if kept.over else "open", "kind": kept.alert.kind.value, "subject": kept.alert.subject,
            "since": f"{kept.since[:16]}Z", "told": f"{kept.told[:16]}Z" if kept.told else waits,
            "reason": kept.alert.text,
        }
        for kept in memory.alerts.values()
    ]  # fmt: skip
    if as_json:
        print(json.dumps({"alerts": rows, "dead_channels": memory.dead}, indent=2))
        return
    show(pl.DataFrame(rows), as_json=False, empty="no alerts in the last day")
    for name, why in memory.dead.items():
        print(f"channel {name} takes no messages: {why}")


@_app.command()
def check() -> None:
    """Looks once and tells what is new, as the sensor `alerts` does every two minutes: for a cron without Dagster's
    daemon."""
    from quant_assets.defs.alerts.watch import STORE_PATIENCE_SECONDS, look, rules_of
    from quant_assets.exchanges import enabled
    from quant_assets.resources.notify import channels
    from quant_assets.resources.open_store import open_store

    settings = load()
    told = _some(channels(settings))
    store = open_store(settings.store_location, patience=STORE_PATIENCE_SECONDS)
    rules = rules_of(settings, enabled(settings.exchanges, settings.exchanges_file))
    looked = _on_instance(settings, lambda instance: look(instance, store, rules, told, settings.clock()))
    print(f"alerts: {looked}")
    if looked.dead:
        sys.exit(2)


@_app.command()
def test() -> None:
    """Sends a message to every channel, and exits with 1 if any does not take it."""
    from quant_assets.cli.console import print_error
    from quant_assets.resources.notify import channels

    failed = False
    for channel in _some(channels(load())):
        why = channel.send("quant-assets: test", "A test of this channel: nothing is wrong.", calm=True)
        failed |= bool(why)
        if why:
            print_error(f"channel {channel.name} takes no messages: {why}")
        else:
            print(f"channel {channel.name} took the message")
    if failed:
        sys.exit(1)


def _some(found: list[Channel]) -> list[Channel]:
    if not found:
        raise UsageProblem(
            "nobody is told: set QUANT_ASSETS_ALERT_URLS to addresses as apprise has them, separated by spaces, e.g. "
            "mailtos://user:password@example.com"
        )
    return found


def _on_instance(settings: Settings, ask: Callable[[DagsterInstance], T]) -> T:
    from quant_assets.instance import databases_of, open_instance

    with open_instance(settings) as instance, databases_of(settings):
        return ask(instance)
