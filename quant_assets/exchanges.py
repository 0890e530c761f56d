"""The exchanges we know: what Yahoo calls them, when they trade, and when a day's bar is final.

The facts are in `exchanges.yaml` beside this module; a user's file in the same form adds to them or changes
them. Files are read on the first question, calendars are built on the first question about a day.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from quant_assets.errors import QuantAssetsError
from quant_assets.market.calendars import CalendarRules, TradingCalendar, calendar_names, trading_calendar

SHIPPED = "exchanges.yaml"
SHIPPED_SINCE = date(1970, 1, 1)
"""All calendars of the exchanges that we ship reach back to this day, New York's further."""


class ExchangeConfigError(QuantAssetsError, ValueError):
    """An exchange file is wrong: the message names the file, the key and what to write instead."""


class UnknownExchange(QuantAssetsError, ValueError):
    """No exchange has this code: the message names the known ones and the nearest."""


@dataclass(frozen=True)
class Exchange:
    """One exchange. `delay` is what has to pass after the close before the day's bar counts as final."""

    code: str
    name: str
    suffix: str
    yahoo_codes: tuple[str, ...]
    currencies: tuple[str, ...]
    delay: timedelta
    weekdays: str
    rules: CalendarRules
    other_suffixes: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def zone(self) -> str:
        """The exchange's IANA time zone."""
        return self.rules.zone

    @property
    def close(self) -> time:
        """The usual local close today; a given session's is `calendar().closes_at(session)`."""
        return self.rules.close

    def calendar(self) -> TradingCalendar:
        """The exchange's trading days; one per process."""
        return trading_calendar(self.rules)

    def session_weekdays(self) -> frozenset[int]:
        """Every weekday on which this exchange can have a session (0 is Sunday): its trading week, and the
        weekdays of its extra open days."""
        return _weekdays(self.weekdays) | {day.isoweekday() % 7 for day, _ in self.rules.open}

    def cron(self) -> str:
        """The cron line, in the exchange's time zone, of the moment when a usual session's bar is final."""
        minutes = self.close.hour * 60 + self.close.minute + int(self.delay.total_seconds()) // 60
        later, minutes = divmod(minutes, 24 * 60)
        days = _cron_days({(day + later) % 7 for day in self.session_weekdays()})
        return f"{minutes % 60} {minutes // 60} * * {days}"

    def owns(self, symbol: str) -> bool:
        """Whether a symbol in Yahoo's spelling is of this exchange, judged by its suffix.

        The exchange with no suffix owns what has no suffix of another: "BRK-B" and "BRK.B", not "BHP.AX", and
        no index ("^GSPC"), currency ("EURUSD=X") or future ("ES=F").
        """
        symbol = symbol.upper()
        if not symbol or symbol[0] in "^." or "=" in symbol:
            return False
        if self.suffix:
            return symbol.endswith(self.suffix) and symbol != self.suffix
        return not symbol.endswith(tuple(self.other_suffixes))


def known(extra: Path | None = None) -> dict[str, Exchange]:
    """All exchanges by code: the shipped ones, under those of the user's file if one is given.

    A file is read once per process. Raises `ExchangeConfigError`.
    """
    return dict(_known(extra))


def exchange(code: str, extra: Path | None = None) -> Exchange:
    """The exchange of that code. Raises `UnknownExchange`."""
    exchanges = _known(extra)
    if found := exchanges.get(code):
        return found
    near = difflib.get_close_matches(code.upper(), exchanges, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownExchange(f"unknown exchange {code!r}; known are {', '.join(sorted(exchanges))}{hint}")


def enabled(codes: Sequence[str], extra: Path | None = None) -> list[Exchange]:
    """The exchanges of these codes, in the given order, each once. Raises `UnknownExchange`."""
    return [exchange(code, extra) for code in dict.fromkeys(codes)]


def grid_weekdays(exchanges: Iterable[Exchange]) -> str:
    """Cron's day-of-week part that has every weekday on which one of these exchanges can have a session.

    Raises ValueError when there are none.
    """
    days = frozenset[int]().union(*(one.session_weekdays() for one in exchanges))
    if not days:
        raise ValueError("no exchange is enabled, so no weekday has a session")
    return _cron_days(days)


def calendars_begin_after(exchanges: Iterable[Exchange], start: date) -> tuple[Exchange, date] | None:
    """Where the calendars of `exchanges` begin, if that is after `start` for all of them: the first to begin.

    None when one of them reaches back to `start`. Those that we ship reach back to 1970 and are asked no further, so
    that the calendar library (two seconds) is imported only for earlier days, or for calendars of the user's alone.
    """
    shipped = {entry["calendar"] for entry in _shipped()[0].values()}
    if start >= SHIPPED_SINCE and any(one.rules.calendar in shipped for one in exchanges):
        return None
    first = min(((one.calendar().first_day, one.code, one) for one in exchanges), default=None)
    return None if first is None or first[0] <= start else (first[2], first[0])


def load(path: Path) -> dict[str, Exchange]:
    """The shipped exchanges, changed and extended by the user's file at `path`. Reads the file anew.

    An entry for a code that we ship replaces the keys it names; its closed and open days are added to ours
    and win over them. Raises `ExchangeConfigError`.
    """
    entries, suffixes = _shipped()
    where = dict.fromkeys(entries, SHIPPED)
    trusted = {entry["calendar"] for entry in entries.values()}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExchangeConfigError(f"{path}: cannot be read ({error}); name a YAML file in UTF-8") from error
    added, more = _parsed(text, str(path))
    for code, entry in added.items():
        name = entry.get("calendar")
        # Asking the library costs seconds, so only names that are new are checked.
        if name is not None and name not in trusted and name not in (names := calendar_names()):
            near = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.3) or ["XNYS", "XLON"]
            raise ExchangeConfigError(
                f"{path}: exchanges.{code}.calendar: pandas-market-calendars has no calendar {name!r}; "
                f"write one of its names, such as {', '.join(near)}"
            )
        entries[code] = _overlaid(entries.get(code, {}), entry)
        where[code] = str(path)
    return _built(entries, suffixes | more, where)


@cache
def _known(extra: Path | None) -> Mapping[str, Exchange]:
    if extra is not None:
        return load(extra)
    entries, suffixes = _shipped()
    return _built(entries, suffixes, dict.fromkeys(entries, SHIPPED))


def _shipped() -> tuple[dict[str, _Entry], frozenset[str]]:
    return _parsed(files("quant_assets").joinpath(SHIPPED).read_text("utf-8"), SHIPPED)


def _overlaid(old: _Entry, new: _Entry) -> _Entry:
    """The old entry under the new one; of two statements about one day, the new one holds."""
    closed = {day for day in old.get("closed", ()) if day not in new.get("open", {})}
    opened = {day: at for day, at in old.get("open", {}).items() if day not in new.get("closed", ())}
    return {
        **old,
        **new,
        "closed": tuple(sorted(closed.union(new.get("closed", ())))),
        "open": opened | new.get("open", {}),
    }


def _built(
    entries: Mapping[str, _Entry], suffixes: Collection[str], where: Mapping[str, str]
) -> dict[str, Exchange]:
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
    return {
        code: Exchange(
            code=code,
            name=entry["name"],
            suffix=entry["suffix"],
            yahoo_codes=entry["yahoo_codes"],
            currencies=entry["currencies"],
            delay=entry.get("delay", timedelta(minutes=30)),
            weekdays=entry.get("weekdays", "1-5"),
            rules=CalendarRules(
                calendar=entry["calendar"],
                zone=entry["zone"],
                close=entry["close"],
                closed=tuple(entry.get("closed", ())),
                open=tuple(sorted(entry.get("open", {}).items())),
            ),
            other_suffixes=frozenset(suffixes).union(owners) - {entry["suffix"], ""},
        )
        for code, entry in entries.items()
    }


# Reading a file. A parser takes what YAML holds and raises ValueError: what is wrong, and what to write.

_Entry = dict[str, Any]


class Texts(yaml.BaseLoader):
    """YAML with every scalar as it is written (16:00 is no number, NO no boolean) and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused by the base class
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _parsed(text: str, file: str) -> tuple[dict[str, _Entry], frozenset[str]]:
    try:
        document = yaml.load(text, Texts)
    except yaml.YAMLError as error:
        raise ExchangeConfigError(f"{file}: not readable as YAML ({error}); correct it there") from error
    top = _fields(file, "", document or {}, {"exchanges": _mapping, "other_suffixes": _listed(_suffix)})
    entries: dict[str, _Entry] = {}
    for code, fields in top.get("exchanges", {}).items():
        if not re.fullmatch(r"[A-Z][A-Z0-9]{0,11}", code):
            raise ExchangeConfigError(f"{file}: exchanges.{code}: write the code as up to 12 of A-Z and 0-9")
        entry = entries[code] = _fields(file, f"exchanges.{code}", fields, {**_REQUIRED, **_OPTIONAL})
        if both := set(entry.get("closed", ())).intersection(entry.get("open", {})):
            raise ExchangeConfigError(
                f"{file}: exchanges.{code}.open: {min(both)} is under closed too; take it out of one of them"
            )
    return entries, frozenset(top.get("other_suffixes", ()))


def _fields(file: str, where: str, fields: object, parsers: Mapping[str, Callable[[Any], Any]]) -> _Entry:
    dot = f"{where}." if where else ""
    if not isinstance(fields, dict):
        raise ExchangeConfigError(f"{file}: {where or 'the file'}: write a mapping of {', '.join(parsers)}")
    parsed: _Entry = {}
    for key, value in fields.items():
        if key not in parsers:
            near = difflib.get_close_matches(key, parsers, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(parsers)}"
            raise ExchangeConfigError(f"{file}: {dot}{key}: unknown key; {hint}")
        try:
            parsed[key] = parsers[key](value)
        except ValueError as error:
            raise ExchangeConfigError(f"{file}: {dot}{key}: {error}") from error
    return parsed


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


def _weekday_part(value: object) -> str:
    return _cron_days(_weekdays(_text(value)))


def _mapping(value: object) -> dict[str, object]:
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no mapping; write one key: value a line")
    return value


def _listed(parser: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    def parse(value: object) -> tuple[Any, ...]:
        if value == "":
            return ()
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list; write [one, two] or one a line behind a dash")
        return tuple(dict.fromkeys(parser(item) for item in value))

    return parse


def _some(parser: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    def parse(value: object) -> tuple[Any, ...]:
        if not (items := _listed(parser)(value)):
            raise ValueError("the list is empty; write at least one")
        return items

    return parse


def _day_times(value: object) -> dict[date, time]:
    return {_date(day): _time(at) for day, at in _mapping(value).items()}


def _weekdays(part: str) -> frozenset[int]:
    days: set[int] = set()
    for piece in part.split(","):
        found = re.fullmatch(r"([0-7])(?:-([0-7]))?", piece.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise ValueError(
                f'{part!r} are no weekdays; write cron\'s numbers (0 is Sunday) such as "1-5" or "0,2-4"'
            )
        days.update(day % 7 for day in range(first, last + 1))
    return frozenset(days)


def _cron_days(days: Collection[int]) -> str:
    """The shortest cron spelling: {1, 2, 3, 5} is "1-3,5"."""
    parts: list[str] = []
    for day in sorted(days):
        if day - 1 not in days:
            parts.append(str(day))
        elif day + 1 not in days:
            parts[-1] += f"-{day}"
    return ",".join(parts)


_REQUIRED: Mapping[str, Callable[[Any], Any]] = {
    "name": _text,
    "suffix": _suffix,
    "yahoo_codes": _some(_text),
    "calendar": _text,
    "zone": _zone,
    "close": _time,
    "currencies": _some(_text),
}
_OPTIONAL: Mapping[str, Callable[[Any], Any]] = {
    "delay": _minutes,
    "weekdays": _weekday_part,
    "closed": _listed(_date),
    "open": _day_times,
}
