"""Files of exchanges: the YAML that ships with the package, and a user's in the same form, read and checked.

Every error is an `ExchangeConfigError` of one line that names the file, the key (`exchanges.ASX.close`), the value
and what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from quant_assets.errors import QuantAssetsError
from quant_assets.market.calendars import calendar_names
from quant_assets.market.weeks import cron_of_weekdays, weekdays_of_cron
from quant_assets.yaml_texts import read_texts

SHIPPED = "exchanges.yaml"

Item = TypeVar("Item")


class ExchangeConfigError(QuantAssetsError, ValueError):
    """An exchange file is wrong: the message names the file, the key and what to write instead."""


@dataclass(frozen=True)
class ConfiguredExchange:
    """One exchange as configured: the keys of a file, with those that we ship under a user's."""

    name: str
    suffix: str
    yahoo_codes: tuple[str, ...]
    calendar: str
    zone: str
    close: time
    currencies: tuple[str, ...]
    delay: timedelta = timedelta(minutes=30)
    weekdays: str = "1-5"
    first_weekday: int | None = None
    closed: tuple[date, ...] = ()
    open: Mapping[date, time] = field(default_factory=dict[date, time])
    known_from: date | None = None
    known_until: date | None = None


def read_exchanges(user_file: Path | None) -> tuple[dict[str, ConfiguredExchange], frozenset[str]]:
    """The shipped exchanges by code, changed and extended by a user's file, and all `other_suffixes`.

    A user's entry for a code that we ship replaces the keys it names; its closed and open days are added to ours and
    win over them. A user's exchange under a code of its own stands in place of ours with its suffix. Reads the files
    anew. Raises ExchangeConfigError.
    """
    shipped = _parsed(files("quant_assets").joinpath(SHIPPED).read_text("utf-8"), SHIPPED)
    entries = {code: _stated(changes) for code, changes in shipped.exchanges.items()}
    where = dict.fromkeys(entries, SHIPPED)
    suffixes = frozenset(shipped.other_suffixes)
    if user_file is not None:
        users = _read(user_file)
        suffixes |= frozenset(users.other_suffixes)
        _refuse_unknown_calendars(users, user_file, {entry["calendar"] for entry in entries.values()})
        for code, changes in users.exchanges.items():
            entries[code] = _overlaid(entries.get(code, {}), _stated(changes))
            where[code] = str(user_file)
        taken = {entry.get("suffix") for code, entry in entries.items() if code not in shipped.exchanges}
        # Stores name their cells by the code, so whoever had an exchange before we shipped it keeps its own.
        replaced = {code for code in shipped.exchanges if entries[code].get("suffix") in taken}
        entries = {c: entry for c, entry in entries.items() if c in users.exchanges or c not in replaced}
    _refuse_incomplete(entries, where)
    return {code: ConfiguredExchange(**entry) for code, entry in entries.items()}, suffixes


# What a key may hold. A parser takes what YAML holds and raises ValueError: what is wrong, and what to write.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no text; write a name")
    return value.strip()


def _suffix(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(\.[A-Z]{1,4})?", value):
        raise ValueError(f'{value!r} is no suffix; write a dot and capitals such as .AX, or ""')
    return value


def _zone(value: object) -> str:
    try:
        return ZoneInfo(_text(value)).key
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write an IANA name such as Europe/Paris") from error


def _time(value: object) -> time:
    if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        raise ValueError(f'{value!r} is no local time; write hours and minutes such as "16:30"')
    return time.fromisoformat(value)


def _date(value: object) -> date:
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"{value!r} is no day; write year-month-day such as 2024-05-18")


def _minutes(value: object) -> timedelta:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,4}", value) or int(value) > 24 * 60:
        raise ValueError(f"{value!r} is no delay; write whole minutes from 0 to 1440")
    return timedelta(minutes=int(value))


def _weekdays(value: object) -> str:
    return cron_of_weekdays(weekdays_of_cron(_text(value)))


def _weekday(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]", value):
        raise ValueError(f"{value!r} is no weekday; write one of cron's numbers, from 0 (Sunday) to 6")
    return int(value) % 7


def _code(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z][A-Z0-9]{0,11}", value):
        raise ValueError("write the code as up to 12 of A-Z and 0-9")
    return value


def _list(value: object) -> object:
    if value == "":
        return ()
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list; write [one, two] or one a line behind a dash")
    return value


def _mapping(value: object) -> object:
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no mapping; write one key: value a line")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Suffix = Annotated[str, BeforeValidator(_suffix)]
Day = Annotated[date, BeforeValidator(_date)]
LocalTime = Annotated[time, BeforeValidator(_time)]
Listed = Annotated[tuple[Item, ...], BeforeValidator(_list)]
SomeTexts = Annotated[Listed[Text], Field(min_length=1)]


class _Mapping(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"write a mapping of {', '.join(cls.model_fields)}, not {value!r}")
        return value


class Changes(_Mapping):
    """An entry of a file. None of the keys has to be there: a user's file may change single ones of ours."""

    name: Text | None = None
    suffix: Suffix | None = None
    yahoo_codes: SomeTexts | None = None
    calendar: Text | None = None
    zone: Annotated[str, BeforeValidator(_zone)] | None = None
    close: LocalTime | None = None
    currencies: SomeTexts | None = None
    delay: Annotated[timedelta, BeforeValidator(_minutes)] | None = None
    weekdays: Annotated[str, BeforeValidator(_weekdays)] | None = None
    first_weekday: Annotated[int, BeforeValidator(_weekday)] | None = None
    closed: Listed[Day] | None = None
    open: Annotated[dict[Day, LocalTime], BeforeValidator(_mapping)] | None = None
    known_from: Day | None = None
    known_until: Day | None = None

    @pydantic.field_validator("known_until")
    @classmethod
    def _after_known_from(cls, value: date | None, info: pydantic.ValidationInfo) -> date | None:
        if value and (first := info.data.get("known_from")) and value < first:
            raise ValueError(f"{value} is before known_from; write a later day")
        return value

    @pydantic.field_validator("open")
    @classmethod
    def _not_closed_as_well(cls, value: dict[date, time], info: pydantic.ValidationInfo) -> dict[date, time]:
        if both := set(info.data.get("closed") or ()).intersection(value):
            raise ValueError(f"{min(both)} is under closed too; take it out of one of them")
        return value


class ExchangesFile(_Mapping):
    """A whole file."""

    exchanges: Annotated[dict[Annotated[str, BeforeValidator(_code)], Changes], BeforeValidator(_mapping)] = (
        Field(default_factory=dict)
    )
    other_suffixes: Listed[Suffix] = ()


_REQUIRED = ("name", "suffix", "yahoo_codes", "calendar", "zone", "close", "currencies")


def _read(path: Path) -> ExchangesFile:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExchangeConfigError(f"{path}: cannot be read ({error}); name a YAML file in UTF-8") from error
    return _parsed(text, str(path))


def _parsed(text: str, file: str) -> ExchangesFile:
    try:
        document = read_texts(text)
    except yaml.YAMLError as error:
        raise ExchangeConfigError(f"{file}: not readable as YAML ({error}); correct it there") from error
    try:
        return ExchangesFile.model_validate(document or {})
    except ValidationError as error:
        raise ExchangeConfigError(f"{file}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """The first of pydantic's errors in our words: the key, and what to write."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if part != "[key]"]
    where = ".".join(parts) or "the file"
    if first["type"] == "extra_forbidden":
        keys = ExchangesFile.model_fields if len(parts) == 1 else Changes.model_fields
        near = difflib.get_close_matches(parts[-1], keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(keys)}"
        return f"{where}: unknown key; {hint}"
    if first["type"] == "too_short":
        return f"{where}: the list is empty; write at least one"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _stated(changes: Changes) -> dict[str, Any]:
    return {name: getattr(changes, name) for name in Changes.model_fields if name in changes.model_fields_set}


def _overlaid(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old entry under the new one; of two statements about one day, the new one holds."""
    if new.get("calendar", old.get("calendar")) != old.get("calendar"):
        # How far our calendar reaches says nothing about another.
        old = {key: value for key, value in old.items() if key not in ("known_from", "known_until")}
    closed = {day for day in old.get("closed", ()) if day not in new.get("open", {})}
    opened = {day: at for day, at in old.get("open", {}).items() if day not in new.get("closed", ())}
    return {
        **old,
        **new,
        "closed": tuple(sorted(closed.union(new.get("closed", ())))),
        "open": opened | new.get("open", {}),
    }


def _refuse_unknown_calendars(users: ExchangesFile, file: Path, trusted: set[str]) -> None:
    for code, changes in users.exchanges.items():
        name = changes.calendar
        # Asking the library costs seconds, so only names that are new are checked.
        if name is not None and name not in trusted and name not in (names := calendar_names()):
            near = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.3) or ["XNYS", "XLON"]
            raise ExchangeConfigError(
                f"{file}: exchanges.{code}.calendar: pandas-market-calendars has no calendar {name!r}; "
                f"write one of its names, such as {', '.join(near)}"
            )


def _refuse_incomplete(entries: Mapping[str, Mapping[str, Any]], where: Mapping[str, str]) -> None:
    owners: dict[str, str] = {}
    # Shipped entries come first, so that of two that clash the user's is named.
    for code in sorted(entries, key=lambda code: where[code] != SHIPPED):
        entry = entries[code]
        if missing := [key for key in _REQUIRED if key not in entry]:
            raise ExchangeConfigError(f"{where[code]}: exchanges.{code}: {missing[0]} is missing; add it")
        suffix = entry["suffix"]
        if suffix in owners:
            raise ExchangeConfigError(
                f"{where[code]}: exchanges.{code}.suffix: {suffix!r} is that of {owners[suffix]} already; "
                "symbols tell their exchange by it, so give each exchange its own"
            )
        owners[suffix] = code
