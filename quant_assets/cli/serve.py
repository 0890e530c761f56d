"""`quant-assets serve`: the HTTP API."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load
from quant_assets.errors import QuantAssetsError

if TYPE_CHECKING:
    from quant_assets.resources.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("serve")(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on; another than this machine's own takes keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Serves the API on this store, until interrupted."""
    import uvicorn

    from quant_assets.api.app import create_app
    from quant_assets.api.serving import OPTIONS
    from quant_assets.operations.keys import KeyRing

    settings = load()
    near = _is_loopback(host)
    if not near and not KeyRing(settings.api_keys, settings.api_keys_file).all():
        raise UsageProblem(
            f"--host {host}: whoever reaches this address could read everything, and there is no key: make one "
            "(quant-assets keys create --name me --scope read), or listen on 127.0.0.1"
        )
    app = create_app(settings, open_reading=near)
    print(
        f"serving {settings.store_location} on http://{f'[{host}]' if ':' in host else host}:{port}",
        file=sys.stderr,
    )
    Thread(target=_warm_up, args=(settings,), daemon=True).start()
    uvicorn.run(app, host=host, port=port, log_level="warning", **OPTIONS)


def _warm_up(settings: Settings) -> None:
    from quant_assets.operations.jobs import warm_up

    # What is wrong is told to whoever asks for a job.
    with contextlib.suppress(QuantAssetsError, OSError):
        warm_up(settings)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
