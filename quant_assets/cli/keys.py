"""`quant-assets keys`: who may ask the API for more than reading on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load

if TYPE_CHECKING:
    from quant_assets.operations.keys import Scope

_FileOption = Annotated[
    Path | None, typer.Option("--file", help="The file of keys. Default: QUANT_ASSETS_API_KEYS_FILE.")
]

keys = typer.Typer(no_args_is_help=True, help="Keys of the API: made, listed, revoked.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Who will use it: what the audit record names.")],
    scope: Annotated[
        str,
        typer.Option(help="read; operate: start and cancel jobs, too; admin: the cache and the audit, too."),
    ] = "read",
    file: _FileOption = None,
) -> None:
    """Makes a key and prints it, once: what is kept is its hash, in the file of keys."""
    from quant_assets.cli.console import errors
    from quant_assets.operations.keys import add_key, new_key

    text, key = new_key(name, _scope(scope))
    place = file or load().api_keys_file
    if place is not None:
        add_key(place, key)
        where = f"its hash is in {place}: a service that reads this file takes the key from now on"
    else:
        where = f"let the service know: QUANT_ASSETS_API_KEYS={key.entry()} (or a line of QUANT_ASSETS_API_KEYS_FILE)"
    errors.print(f"the key of {name} ({scope}), shown this once; {where}", markup=False, soft_wrap=True)
    print(text)


@keys.command("list")
def list_keys(file: _FileOption = None) -> None:
    """The names and scopes of the keys."""
    from quant_assets.operations.keys import KeyRing

    settings = load()
    ring = KeyRing("", file) if file is not None else KeyRing(settings.api_keys, settings.api_keys_file)
    for key in ring.all():
        print(f"{key.name} {key.scope} sha256:{key.sha256[:12]}…")


@keys.command()
def revoke(name: str, file: _FileOption = None) -> None:
    """Takes a key out of the file of keys; services that read it refuse the key from then on."""
    from quant_assets.operations.keys import revoke_key

    place = file or load().api_keys_file
    if place is None:
        raise UsageProblem("name the file of keys with --file, or in QUANT_ASSETS_API_KEYS_FILE")
    revoke_key(place, name)
    print(f"revoked {name}")


def _scope(text: str) -> Scope:
    from quant_assets.operations.keys import SCOPES

    for scope in SCOPES:
        if scope == text:
            return scope
    raise UsageProblem(f"--scope {text!r}: write {', '.join(SCOPES)}")
