"""Exchanges of the user's own file (the form of `QUANT_ASSETS_EXCHANGES_FILE`) as venues of the replay server.

Read here anew, and not with the product's reader: see `venues`. Only what the server needs is read; the file says
nothing of when trading opens, so half past nine is taken. Entries that change an exchange which the server has a
venue for, told by the suffix, are passed over: its own idea of them is what they are tested against. Under a code of
the user's own, the venue goes by that code.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.venues import VENUES, Venue

_OPENS = time(9, 30)


def read_venues(path: Path) -> list[Venue]:
    """The exchanges of a file whose code the server does not know, in the file's order. Raises HistoryError."""
    import exchange_calendars
    import yaml

    try:
        # As texts: 17:25 is a time and no number of sixties.
        document = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HistoryError(f"{path}: not readable as YAML ({error}): name a file of exchanges") from error
    exchanges = (document or {}).get("exchanges") if isinstance(document or {}, dict) else None
    if not isinstance(exchanges, dict):
        raise HistoryError(f"{path}: no mapping of exchanges: write exchanges: and an entry for each below")
    calendars = set(exchange_calendars.get_calendar_names(include_aliases=True))
    ours, codes = {venue.suffix: venue for venue in VENUES}, {venue.code for venue in VENUES}
    found: list[Venue] = []
    for code, entry in exchanges.items():
        # Without a suffix an entry only changes one that ships.
        suffix = entry.get("suffix", "") if isinstance(entry, dict) else None
        if suffix not in ours:
            found.append(_venue(path, str(code), entry, calendars))
        elif suffix and code not in codes:
            found.append(replace(ours[suffix], code=str(code)))
    return found


def _venue(path: Path, code: str, entry: Any, calendars: set[str]) -> Venue:
    try:
        if entry["calendar"] not in calendars:
            raise ValueError(f"exchange_calendars has no calendar {entry['calendar']!r}")
        close = time.fromisoformat(entry["close"])
        return Venue(
            code=code,
            suffix=entry["suffix"].upper(),
            yahoo_code=entry["yahoo_codes"][0],
            full_name=entry["name"],
            zone=ZoneInfo(entry["zone"]).key,
            open=min(_OPENS, close),
            close=close,
            currency=entry["currencies"][0],
            calendar=entry["calendar"],
            region="other",
            closed=frozenset(date.fromisoformat(day) for day in entry.get("closed") or ()),
            opened=tuple(
                (date.fromisoformat(day), time.fromisoformat(at))
                for day, at in (entry.get("open") or {}).items()
            ),
        )
    except KeyError as error:
        raise HistoryError(
            f"{path}: exchange {code}: {error} is missing or unknown: correct it there"
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise HistoryError(f"{path}: exchange {code}: {error}: correct it there") from error
