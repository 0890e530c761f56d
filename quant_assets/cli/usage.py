"""What commands are given: options read and checked, each refusal a `UsageProblem` that names option and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING

from quant_assets.errors import QuantAssetsError

if TYPE_CHECKING:
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


class UsageProblem(QuantAssetsError, ValueError):
    """Something asked for on the command line cannot be done; the message names it and the remedy. Exit code 2."""


def load() -> Settings:
    """The settings of this process. Raises SettingsError."""
    from quant_assets.resources.settings import load_settings

    return load_settings()


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
    import polars as pl

    from quant_assets.resources.object_store import ObjectNotFound
    from quant_assets.tables.layout import CATALOG, object_key
    from quant_assets.tables.parquet import read_table

    if not symbols:
        return
    try:
        catalog = read_table(store, object_key(CATALOG))
    except ObjectNotFound as error:
        raise UsageProblem(
            f"{option} {','.join(symbols)}: {store.location} has no catalog yet: backfill a range first"
        ) from error
    check_symbols(symbols, catalog.filter(pl.col("exchange").is_in(list(codes)))["symbol"].to_list(), option)
