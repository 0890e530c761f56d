"""What commands are given: options read and checked, each refusal a `UsageProblem` that names option and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.errors import QuantAssetsError

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.catalog.universe import Universe
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


UniverseOption = Annotated[
    str | None, typer.Option("--universe", help="Only these universes of the universe file, comma-separated.")
]
PhaseOption = Annotated[int | None, typer.Option("--phase", help="Only the universes of this phase.")]


class UsageProblem(QuantAssetsError, ValueError):
    """Something asked for on the command line cannot be done; the message names it and the remedy. Exit code 2."""


def load() -> Settings:
    """The settings of this process, with what this call's options set. Raises SettingsError, UsageProblem."""
    from quant_assets.cli.this_call import with_options
    from quant_assets.resources.settings import load_settings

    return with_options(load_settings())


def chosen(code: str | None, settings: Settings) -> list[Exchange]:
    """The exchange that an option names, which must be enabled, or all that are enabled. Raises UsageProblem."""
    from quant_assets.exchanges import enabled

    if code is not None:
        return [one_enabled(code, settings)]
    return enabled(settings.exchanges, settings.exchanges_file)


def one_enabled(code: str, settings: Settings) -> Exchange:
    """The exchange that --exchange names. Raises UsageProblem when it is unknown or not enabled."""
    from quant_assets.exchanges import UnknownExchange, exchange

    try:
        found = exchange(code, settings.exchanges_file)
    except UnknownExchange as error:
        raise UsageProblem(f"--exchange: {error}") from error
    if found.code not in settings.exchanges:
        raise UsageProblem(
            f"{found.code} is not enabled; add it to QUANT_ASSETS_EXCHANGES={','.join(settings.exchanges)}"
        )
    return found


def read_date(text: str, option: str) -> date:
    """A date as an option gives it. Raises UsageProblem."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageProblem(f"{option} {text!r} is no date; write YYYY-MM-DD") from error


def read_symbols(text: str | None, option: str) -> list[str]:
    """The symbols of a comma-separated option, in capitals; none when it is left out. Raises UsageProblem."""
    if text is None:
        return []
    symbols = [part.strip().upper() for part in text.split(",") if part.strip()]
    if not symbols:
        raise UsageProblem(f"{option} {text!r} names no symbol; leave it out to ask for all")
    return symbols


def check_symbols(symbols: Collection[str], known: Collection[str], option: str) -> None:
    """Refuses symbols that are not among the known ones, naming near ones. Raises UsageProblem."""
    unknown = sorted(set(symbols) - set(known))
    if not unknown:
        return
    near = sorted({name for symbol in unknown for name in difflib.get_close_matches(symbol, known, 3, 0.6)})
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise UsageProblem(
        f"{option}: not in the catalog: {', '.join(symbol[:40] for symbol in unknown)} "
        f"({hint}correct the option, or add them to the universe file)"
    )


def check_in_catalog(
    store: ObjectStore, symbols: Collection[str], option: str, codes: Collection[str]
) -> None:
    """Refuses symbols that the store's catalog does not have under one of the exchanges. Raises UsageProblem."""
    if symbols:
        catalog = catalog_of(store, codes, f"{option} {','.join(symbols)}")
        check_symbols(symbols, catalog["symbol"].to_list(), option)


def catalog_of(store: ObjectStore, codes: Collection[str], asked: str) -> pl.DataFrame:
    """The rows of the store's catalog that are of some exchanges. Raises UsageProblem, naming what was asked, where
    there is no catalog."""
    import polars as pl

    from quant_assets.resources.object_store import ObjectNotFound
    from quant_assets.tables.layout import CATALOG, object_key
    from quant_assets.tables.parquet import read_table

    try:
        catalog = read_table(store, object_key(CATALOG))
    except ObjectNotFound as error:
        raise UsageProblem(f"{asked}: {store.location} has no catalog yet: backfill a range first") from error
    return catalog.filter(pl.col("exchange").is_in(list(codes)))


def chosen_universes(universes: Sequence[Universe], names: str | None, phase: int | None) -> list[str]:
    """The names of the enabled universes that --universe and --phase choose: all where both are left out.

    Raises UsageProblem for a name that is not there or not enabled, and where nothing is left to choose.
    """
    enabled = {one.name: one for one in universes if one.enabled}
    if names is None and phase is None:
        return list(enabled)
    if not enabled:
        raise UsageProblem(
            "--universe and --phase: the universe file (QUANT_ASSETS_UNIVERSE) has no enabled universe; "
            "docs/catalog.md shows how they are written"
        )
    wanted = list(enabled)
    if names is not None:
        wanted = [part.strip() for part in names.split(",") if part.strip()]
        if not wanted:
            raise UsageProblem(f"--universe {names!r} names no universe; leave it out to take all")
        for name in wanted:
            if name in enabled:
                continue
            if any(one.name == name for one in universes):
                raise UsageProblem(
                    f"--universe {name}: it is not enabled; say enabled: true in the universe file"
                )
            near = difflib.get_close_matches(name, enabled, 1, 0.6)
            raise UsageProblem(
                f"--universe {name}: the universe file has no such universe ("
                + (f"did you mean {near[0]}?)" if near else f"there are {', '.join(sorted(enabled))})")
            )
    if phase is not None:
        wanted = [name for name in wanted if enabled[name].phase == phase]
        if not wanted:
            phases = ", ".join(str(one) for one in sorted({one.phase for one in enabled.values()}))
            raise UsageProblem(
                f"--phase {phase}: no universe asked for is of that phase; the phases are {phases}"
            )
    return list(dict.fromkeys(wanted))
