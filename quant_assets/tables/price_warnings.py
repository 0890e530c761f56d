"""What a read of prices warns of: what it does not know, and the caller might take for known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import absent_days
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.restatements import Ledger
from quant_assets.tables.user_warnings import warn_user


def warn_of_absent_sessions(
    store: ObjectStore, code: str, known: Exchange | None, first: date | None
) -> None:
    """An action on a day that was never fetched is not known here, and prices before it come out wrong."""
    cells = (entry.partition for entry in Manifest(store, DAILY).all(code))
    absent = absent_days(cells, known.session_weekdays()) if known else absent_days(cells)
    absent = [day for day in absent if first is None or day >= first]
    if known and absent:
        sessions = set(known.calendar().sessions(absent[0], absent[-1]))
        absent = [day for day in absent if day in sessions]
    if absent:
        warn_user(
            f"{len(absent)} session(s) of {code} have no cell, the first {absent[0]}: a split or dividend on one of "
            f"them is not applied (quant-assets backfill --missing --exchange {code})"
        )


def warn_of_days_never_asked(
    store: ObjectStore, code: str, first: date | None, last: date | None, today: date
) -> None:
    """Days of which nothing was ever asked for give nothing, which looks like a symbol without prices. What begins
    `today` or later has its time to come."""
    low, high = first or date.min, last or date.max
    if low >= today:
        return
    manifest = Manifest(store, DAILY)
    years = {*manifest.shards(code), *manifest.object_years(code)}
    of_years = manifest.years(code, {year for year in years if low.year <= year <= high.year})
    if any(str(low) <= day <= str(high) for entries in of_years.values() for day in entries):
        return
    span = f" from {first}" if first else ""
    span += f" through {last}" if last else " on" if first else ""
    warn_user(
        f"no session of {code}{span} has a cell: nothing was ever asked for "
        f"(quant-assets backfill --exchange {code}{f' --start {first}' if first else ''})"
    )


def warn_of_held_dividends(used: pl.DataFrame) -> None:
    """A dividend that waits for a decision is applied to no price."""
    held = used.filter(pl.col("dividend").is_null()).select("symbol", "date")
    if held.height:
        symbol, day = held.row(0)
        warn_user(
            f"{held.height} dividend(s) are in doubt and not applied, the first of {symbol} on {day} "
            "(quant-assets quarantine list)"
        )


def warn_of_nothing_known(store: ObjectStore, code: str, symbols: Sequence[str], moment: datetime) -> None:
    """A moment before the first row became known gives nothing, which looks like a symbol without prices."""
    replaced = Ledger(store, code).replaced_after(datetime.min.replace(tzinfo=UTC))
    known = [
        rows.filter(pl.col("symbol").is_in(symbols))["fetched_at"].min()
        for rows in (read_daily(store, code, symbols=symbols), replaced)
    ]
    first = min((at for at in known if isinstance(at, datetime)), default=None)
    if first is not None and first > moment:
        names = ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
        warn_user(
            f"as_of={_text(moment)}: nothing was known yet of {names}; the first row became known at {_text(first)}"
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
