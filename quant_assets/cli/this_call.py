"""Options that set something for one call: a store beside the home's own for a trial, and how many requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.usage import UsageProblem

if TYPE_CHECKING:
    from quant_assets.resources.settings import Settings

_LOCAL = "trial"
"""The folder of a home that --use-local names."""


@dataclass(slots=True)
class _ThisCall:
    store: str | None = None
    use_local: bool = False
    max_workers: int | None = None
    settings: Settings | None = None
    """What they make of the process's settings, once somebody has asked."""


_this_call = _ThisCall()


def _forget() -> None:
    global _this_call
    _this_call = _ThisCall()


def _take_store(context: typer.Context, value: str | None) -> str | None:
    if value is not None:
        _this_call.store = value
        context.call_on_close(_forget)
    return value


def _take_local(context: typer.Context, value: bool) -> bool:
    if value:
        _this_call.use_local = True
        context.call_on_close(_forget)
    return value


def _take_workers(context: typer.Context, value: int | None) -> int | None:
    if value is not None:
        _this_call.max_workers = value
        context.call_on_close(_forget)
    return value


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        callback=_take_store,
        help="For this call, a folder or gs://bucket/prefix in place of QUANT_ASSETS_STORE: a trial run, of which "
        "nothing shows in the home's own store and in its Dagster.",
    ),
]
LocalOption = Annotated[
    bool,
    typer.Option(
        "--use-local", callback=_take_local, help=f"Short for --store with the folder {_LOCAL} of the home."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--max-workers",
        callback=_take_workers,
        min=1,
        max=64,
        help="For this call, how many requests are under way at once (QUANT_ASSETS_CONCURRENCY).",
    ),
]


def with_options(settings: Settings) -> Settings:
    """The process's settings with what this call's options say. Raises UsageProblem."""
    if (_this_call.store, _this_call.use_local, _this_call.max_workers) == (None, False, None):
        return settings
    if _this_call.settings is None:
        if _this_call.store is not None and _this_call.use_local:
            raise UsageProblem("--store names a store and --use-local is another one; leave one out")
        made = settings
        if _this_call.store is not None:
            made = _on_trial(made, _this_call.store, "--store")
        elif _this_call.use_local:
            made = _on_trial(made, str(settings.home / _LOCAL), "--use-local")
        if _this_call.max_workers is not None:
            made = made.model_copy(update={"concurrency": _this_call.max_workers})
        _this_call.settings = made
    return _this_call.settings


def _on_trial(settings: Settings, location: str, option: str) -> Settings:
    """The settings for a trial store; as they are where it is their own. Raises UsageProblem."""
    from quant_assets.resources.object_store import StoreUnavailable, is_claimed
    from quant_assets.resources.open_store import open_store
    from quant_assets.resources.settings import TRIAL_RUNS, SettingsError
    from quant_assets.tables.layout import TOP_LEVEL

    if not location.strip():
        raise UsageProblem(
            f"{option} names no store; write a folder or gs://bucket/prefix, or leave it out for the home's own"
        )
    try:
        place = _place(location)
    except (RuntimeError, ValueError) as error:
        raise UsageProblem(f"{option} {location!r}: it is no folder's name: {error}") from error
    own = _place(settings.store_location)
    if place == own:
        return settings
    home = settings.home.absolute().resolve()
    # One store in another, or in what is not made of objects, would be taken for a part of it.
    others = [own, *(str(home / name) for name in ("dagster", "cache", TRIAL_RUNS))]
    if near := next((one for one in others if _lies_in(place, one) or _lies_in(one, place)), None):
        raise UsageProblem(f"{option} {location}: it cannot share its place with {near}; name another folder")
    try:
        # A folder with other things in it is told before anything is done.
        if "://" not in place and Path(place).exists() and not Path(place).is_dir():
            raise UsageProblem(f"{option} {location}: it is no folder; name one, or gs://bucket/prefix")
        is_claimed(open_store(place), TOP_LEVEL)
    except (SettingsError, StoreUnavailable) as error:
        text = str(error).replace("QUANT_ASSETS_STORE=", f"{option} ")
        raise UsageProblem(text.replace("QUANT_ASSETS_STORE", option)) from error
    return settings.for_trial(place)


def _place(location: str) -> str:
    """A store's location in the one form in which two can be compared."""
    if "://" in location:
        return location.rstrip("/") if location.startswith("gs://") and location != "gs://" else location
    return str(Path(location).expanduser().absolute().resolve())


def _lies_in(place: str, other: str) -> bool:
    return place == other or place.startswith(f"{other.rstrip('/')}/")
