"""What a job may be asked for: the parameters of each kind, checked at once, and the runs that they come to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from quant_assets.errors import QuantAssetsError
from quant_assets.tables.jobs import Part

if TYPE_CHECKING:
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


class JobRefused(QuantAssetsError, ValueError):
    """A job that was asked for cannot be done; the message names the parameter and the remedy."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    def parameters(self) -> dict[str, Any]:
        """What was said, as JSON values; what was left out is not there."""
        return self.model_dump(mode="json", exclude={"kind"}, exclude_defaults=True)


Symbols = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=40)]],
    Field(
        default_factory=list[str], max_length=20_000, description="Only these symbols; all where left out."
    ),
]
_Code = Annotated[
    str | None, Field(default=None, max_length=12, description="An exchange in use; all by default.")
]


def _iso_day(value: object) -> object:
    # pydantic takes a number for seconds since 1970.
    if isinstance(value, date) or (isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
        return value
    raise ValueError("write YYYY-MM-DD")


_Day = Annotated[date, BeforeValidator(_iso_day)]


class _OfSymbols(_Request):
    symbols: Symbols

    @field_validator("symbols", mode="before")
    @classmethod
    def _as_people_write_them(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("symbols")
    @classmethod
    def _in_capitals(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(symbol.upper() for symbol in value))


class UpdateDaily(_OfSymbols):
    """The prices of one session, then its valuations; what rests on them follows."""

    kind: Literal["update_daily"] = "update_daily"
    exchange: _Code
    date: Annotated[
        _Day | None, Field(default=None, description="The session; the last one that is over by default.")
    ]


class Backfill(_OfSymbols):
    """The cells of an exchange's range of days: `incremental` asks for what is missing, `force` for everything again,
    `verify` says what differs and changes nothing."""

    kind: Literal["backfill"] = "backfill"
    exchange: Annotated[str, Field(max_length=12, description="The exchange.")]
    start: Annotated[_Day | None, Field(default=None, description="The first day.")]
    start_year: Annotated[
        int | None,
        Field(default=None, ge=1900, le=2200, description="In place of `start`: from this year on."),
    ]
    end: Annotated[
        _Day | None, Field(default=None, description="The last day; the last session over by default.")
    ]
    mode: Literal["incremental", "force", "verify"] = "incremental"

    @model_validator(mode="after")
    def _one_start(self) -> Backfill:
        if (self.start is None) == (self.start_year is None):
            raise ValueError("give start or start_year, one of them")
        return self


class Sweep(_OfSymbols):
    """Compares the whole history of today's slice of symbols with the source."""

    kind: Literal["sweep"] = "sweep"
    exchange: _Code


class RefreshUniverse(_Request):
    """Brings universes up to date with their sources."""

    kind: Literal["refresh_universe"] = "refresh_universe"
    universes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]],
        Field(
            default_factory=list[str], max_length=1000, description="Only these; all enabled ones by default."
        ),
    ]


class ForceUpdate(_OfSymbols):
    """Asks again for a session that is there already, and reconciles it: what differs is a restatement."""

    kind: Literal["force_update"] = "force_update"
    exchange: _Code
    date: Annotated[
        _Day | None, Field(default=None, description="The session; the last one that is over by default.")
    ]


JobRequest = Annotated[
    UpdateDaily | Backfill | Sweep | RefreshUniverse | ForceUpdate, Field(discriminator="kind")
]
Kind = Literal["update_daily", "backfill", "sweep", "refresh_universe", "force_update"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_adapter: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


def parse_request(kind: str, parameters: dict[str, Any]) -> JobRequest:
    """A request from its parameters; those that are None count as left out. Raises JobRefused."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return _adapter.validate_python({"kind": kind, **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"] if one not in KINDS)
        raise JobRefused(f"{where + ': ' if where else ''}{in_words(first, kind)}") from None


def in_words(fault: Mapping[str, Any], kind: str = "") -> str:
    """What is wrong with a value and what to write, of one of pydantic's errors. `kind`: of the job asked for."""
    match str(fault["type"]):
        case "union_tag_not_found":
            return f"kind is missing: write {', '.join(KINDS)}"
        case "union_tag_invalid":
            return f"kind={str(fault['ctx']['tag'])[:80]!r}: write {', '.join(KINDS)}"
        case "missing":
            return "is missing"
        case "extra_forbidden":
            of = kind or next((str(one) for one in fault["loc"] if one in KINDS), "")
            return f"{of} takes no such parameter" if of else "there is no such parameter"
        case "json_invalid":
            return f"no JSON: {fault.get('ctx', {}).get('error', fault['msg'])}"
        case "model_attributes_type" | "model_type" | "dict_type":
            return "write a JSON object, with Content-Type: application/json"
        case "date_parsing" | "date_from_datetime_parsing" | "date_type" | "date_from_datetime_inexact":
            return "write YYYY-MM-DD"
        case _:
            return str(fault["msg"]).removeprefix("Value error, ")


def parts_of(request: JobRequest, settings: Settings, store: ObjectStore) -> list[Part]:
    """The runs that a request comes to, one an exchange, in the order in which they are launched.

    Raises JobRefused, StoreUnavailable, ExchangeConfigError.
    """
    return _Planner(settings, store).parts(request)


class _Planner:
    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._settings, self._store, self._now = settings, store, settings.clock()

    def parts(self, request: JobRequest) -> list[Part]:
        match request:
            case RefreshUniverse():
                return [Part("refresh", symbols=self._universes(request.universes))]
            case Sweep():
                return [
                    Part("sweep", one.code, symbols=symbols)
                    for one, symbols in self._of(request.exchange, request.symbols)
                ]
            case Backfill():
                ((exchange, symbols),) = self._of(request.exchange, request.symbols)
                first, last = self._range(exchange, request)
                task = "verify" if request.mode == "verify" else "daily"
                return [Part(task, exchange.code, str(first), str(last), symbols, request.mode)]
            case UpdateDaily() | ForceUpdate():
                return self._sessions(request)

    def _sessions(self, request: UpdateDaily | ForceUpdate) -> list[Part]:
        update = isinstance(request, UpdateDaily)
        chosen = self._of(request.exchange, request.symbols)
        parts: list[Part] = []
        for exchange, symbols in chosen:
            last = self._last_session(exchange)
            session = request.date or last
            if len(chosen) > 1 and not exchange.calendar().is_session(session):
                # The others may have traded.
                continue
            self._refuse_no_session(exchange, session)
            self._refuse_before_grid(session, "date")
            self._refuse_future(exchange, session, "date")
            if not grid_days(session, session, self._exchanges(None)):
                raise JobRefused(
                    f"date {session}: a {session:%A}, on which no exchange in use has sessions "
                    "(QUANT_ASSETS_EXCHANGES_FILE can name its weekdays)"
                )
            snapshot = update and not symbols and self._settings.valuations and session == last
            mode = "incremental" if update else "force"
            parts.append(Part("daily", exchange.code, str(session), str(session), symbols, mode, snapshot))
        if not parts:
            raise JobRefused(
                f"date {request.date}: none of {', '.join(e.code for e, _ in chosen)} has a session then"
            )
        return parts

    def _of(self, code: str | None, symbols: Sequence[str]) -> list[tuple[Exchange, list[str]]]:
        """The exchanges asked for, each with those of the symbols that are its own."""
        chosen = self._exchanges(code)
        if not symbols:
            return [(one, []) for one in chosen]
        own = self._catalog([one.code for one in chosen], symbols)
        return [(one, found) for one in chosen if (found := [s for s in symbols if own[s] == one.code])]

    def _exchanges(self, code: str | None) -> list[Exchange]:
        from quant_assets.exchanges import UnknownExchange, enabled, exchange

        settings = self._settings
        if code is None:
            return enabled(settings.exchanges, settings.exchanges_file)
        try:
            found = exchange(code.upper(), settings.exchanges_file)
        except UnknownExchange as error:
            raise JobRefused(f"exchange: {error}") from error
        if found.code not in settings.exchanges:
            raise JobRefused(
                f"exchange {found.code}: not enabled here (QUANT_ASSETS_EXCHANGES={','.join(settings.exchanges)})"
            )
        return [found]

    def _catalog(self, codes: Collection[str], symbols: Sequence[str]) -> dict[str, str]:
        """The exchange of each symbol, by the catalog. Refuses symbols that it does not have."""
        from quant_assets.resources.object_store import ObjectNotFound
        from quant_assets.tables.layout import CATALOG, object_key
        from quant_assets.tables.parquet import read_table

        try:
            catalog = read_table(self._store, object_key(CATALOG))
        except ObjectNotFound as error:
            raise JobRefused(
                f"symbols {', '.join(symbols[:5])}: the store has no catalog yet: materialize {CATALOG}, or ask for "
                "all symbols"
            ) from error
        of = {
            symbol: code for symbol, code in catalog.select("symbol", "exchange").iter_rows() if code in codes
        }
        if unknown := [symbol for symbol in symbols if symbol not in of]:
            near = sorted(
                {name for one in unknown[:20] for name in difflib.get_close_matches(one, of, 3, 0.6)}
            )
            hint = f"did you mean {', '.join(near)}? " if near else ""
            more = f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
            raise JobRefused(
                f"symbols: not in the catalog of {', '.join(codes)}: {', '.join(unknown[:20])}{more} ({hint}correct "
                "them, or add them to the universe file)"
            )
        return of

    def _universes(self, names: Sequence[str]) -> list[str]:
        from quant_assets.catalog.refresh import refreshable
        from quant_assets.catalog.universes_file import read_universes
        from quant_assets.exchanges import enabled

        settings = self._settings
        universes = read_universes(settings.universe, enabled(settings.exchanges, settings.exchanges_file))
        known = [one.name for one in refreshable(universes) if one.enabled]
        if unknown := [name for name in names if name not in known]:
            there = f"there are {', '.join(known)}" if known else "none is enabled that has a source"
            raise JobRefused(f"universes: {unknown[0]!r} is none that can be refreshed ({there})")
        return list(names)

    def _range(self, exchange: Exchange, request: Backfill) -> tuple[date, date]:
        over = self._last_session(exchange)
        last = request.end or over
        if request.start is not None:
            first, named = request.start, "start"
            self._refuse_before_grid(first, "start")
        else:
            # The grid's own first day, where it begins within the year.
            year, named = request.start_year or 0, "start_year"
            first = max(date(year, 1, 1), self._settings.start)
            if first.year > year:
                self._refuse_before_grid(date(year, 12, 31), "start_year")
        if last < first:
            until = (
                f"end {last}" if request.end else f"the last session of {exchange.code} that is over, {last}"
            )
            raise JobRefused(f"{named} {first} is after {until}")
        self._refuse_future(exchange, last, "end")
        days = grid_days(first, last, self._exchanges(None))
        if not days:
            raise JobRefused(f"{first} to {last}: no exchange has a session on these weekdays")
        return days[0], days[-1]

    def _last_session(self, exchange: Exchange) -> date:
        last = exchange.calendar().last_session_over(self._now, exchange.delay)
        if last is None:
            raise JobRefused(f"exchange {exchange.code}: no session of it is over")
        return last

    def _refuse_before_grid(self, day: date, name: str) -> None:
        if day < (start := self._settings.start):
            raise JobRefused(
                f"{name} {day}: before the first day of the grid, {start} (QUANT_ASSETS_START sets it)"
            )

    def _refuse_no_session(self, exchange: Exchange, day: date) -> None:
        from quant_assets.market.calendars import CalendarError

        try:
            exchange.calendar().closes_at(day)
        except CalendarError as error:
            raise JobRefused(f"date: {error}") from error

    def _refuse_future(self, exchange: Exchange, day: date, name: str) -> None:
        calendar, over = exchange.calendar(), self._last_session(exchange)
        if day > self._now.date() + timedelta(days=1):
            raise JobRefused(
                f"{name} {day}: in the future; the last session of {exchange.code} over is {over}"
            )
        if calendar.is_session(day) and not calendar.is_over(day, self._now, exchange.delay):
            ends: datetime = calendar.closes_at(day) + exchange.delay
            raise JobRefused(
                f"{name} {day}: the session of {exchange.code} is not over before {ends:%Y-%m-%d %H:%M} UTC; the "
                f"last session over is {over}"
            )


def grid_days(first: date, last: date, exchanges: Sequence[Exchange]) -> list[date]:
    """The days from first to last that have a cell: those on which one of the exchanges can have a session."""
    from quant_assets.market.weeks import weekday

    weekdays = frozenset[int]().union(*(one.session_weekdays() for one in exchanges))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in days if weekday(day) in weekdays]
