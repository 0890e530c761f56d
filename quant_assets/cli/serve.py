"""`quant-assets serve`: the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_assets.cli.usage import load


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
) -> None:
    """Serves the API on this store, until interrupted."""
    import uvicorn

    from quant_assets.api.app import create_app

    uvicorn.run(create_app(load()), host=host, port=port, log_level="warning")
