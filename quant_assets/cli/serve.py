"""`quant-assets serve`: the HTTP API."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from pathlib import Path
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
    demo: Annotated[bool, typer.Option("--demo", help="The demo's data, as they stood on its day.")] = False,
) -> None:
    """Serves the page and the API on this store, until interrupted."""
    import uvicorn

    from quant_assets.api.app import create_app
    from quant_assets.api.serving import OPTIONS
    from quant_assets.operations.keys import KeyRing
    from quant_assets.tables.layout import CATALOG, object_key

    settings = _of_the_demo(load()) if demo else load()
    near = _is_loopback(host)
    if not near and not KeyRing(settings.api_keys, settings.api_keys_file).all():
        raise UsageProblem(
            f"--host {host}: whoever reaches this address could read everything, and there is no key: make one "
            "(quant-assets keys create --name me --scope read), or listen on 127.0.0.1"
        )
    # Before anything is said of it: whether the address can be had, and which port that is.
    listening = _listen(host, port)
    app = create_app(settings, open_reading=near)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening[0].getsockname()[1]}"
    print(f"serving {settings.store_location} on {address} (the API: {address}/docs)", file=sys.stderr)
    if (
        "://" not in settings.store_location
        and not Path(settings.store_location, object_key(CATALOG)).exists()
    ):
        print(
            "this store is empty yet: quant-assets backfill fills it; quant-assets demo fills one to look at, "
            "which serve --demo serves",
            file=sys.stderr,
        )
    Thread(target=_warm_up, args=(settings,), daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **OPTIONS))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=listening)
    if not server.started:
        raise typer.Exit(1)


def _of_the_demo(settings: Settings) -> Settings:
    """Raises UsageProblem."""
    from quant_assets.dev.demo import demo_settings

    found = demo_settings(settings.home, settings.source_url)
    if not Path(found.store_location).exists():
        raise UsageProblem(f"--demo: nothing is in {found.store_location} yet: quant-assets demo fills it")
    return found


def _listen(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of a name, all with one port. Raises UsageProblem."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageProblem(f"--host {host}: no address that there is ({error})") from None
    made: list[socket.socket] = []
    for family, kind, protocol, _, address in found:
        one = socket.socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((address[0], port or (made[0].getsockname()[1] if made else 0), *address[2:]))
        except OSError as error:
            one.close()
            if made and error.errno == errno.EADDRNOTAVAIL:
                # localhost may have an address of a protocol that this machine does not speak.
                continue
            for other in made:
                other.close()
            raise UsageProblem(_why_not(host, port, error)) from None
        made.append(one)
    return made


def _why_not(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"--port {port}: another program listens there already; end it, or choose another one (0: any)"
        case errno.EACCES:
            return f"--port {port}: this user may not listen there; choose a port from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"--host {host}: no address of this machine; 127.0.0.1 and 0.0.0.0 always are"
        case _:
            return f"--host {host} --port {port}: {error.strerror}"


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
