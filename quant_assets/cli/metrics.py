"""`quant-assets metrics`: what the store holds and what Dagster's runs came to, for Prometheus."""

from __future__ import annotations

import sys
import threading
from typing import Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("metrics")(metrics)


def metrics(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 9464,
    host: Annotated[
        str, typer.Option(help="The address to listen on; whoever reaches it reads all.")
    ] = "127.0.0.1",
    once: Annotated[
        bool, typer.Option("--once", help="Print them in Prometheus' text format, and end.")
    ] = False,
) -> None:
    """Serves metrics of the store and of Dagster's instance on /metrics: cells, freshness, requests, restatements,
    what is held, runs, sizes. The API has the same on its own /metrics."""
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.platform_collector import PlatformCollector
    from prometheus_client.process_collector import ProcessCollector

    from quant_assets.operations.metrics import Platform
    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    # A first look has no other one to fall back on, however long it takes.
    platform = Platform(settings, store, patience=None) if once else Platform(settings, store)
    registry = CollectorRegistry()
    registry.register(platform)
    if once:
        sys.stdout.write(generate_latest(registry).decode())
        platform.close()
        return
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageProblem(
            f"--host {host} --port {port}: {error.strerror or error}; choose another port (0 takes a free one)"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    print(
        f"metrics of {settings.store_location} on http://{shown}:{server.server_port}/metrics",
        file=sys.stderr,
    )
    try:
        threading.Event().wait()
    finally:
        server.shutdown()
        thread.join()
        platform.close()
