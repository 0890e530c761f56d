"""Settings: one place, read from the environment (`QUANT_ASSETS_…`), with defaults that work on a laptop."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.alert_settings import AlertSettings

PREFIX = "QUANT_ASSETS_"
MOST_WORKERS = 64
# Beyond these a value is a slip, and what it is given to (sockets, dates) fails with words of its own.
_DAY, _MOST_MB, _MOST_A_MINUTE = 86_400, 10_000_000, 100_000_000
_FIRST_YEAR, _LAST_YEAR = 1950, 2100
_MOST_SHOWN = 100
TRIAL_RUNS = "trial-runs"
"""The folder of a home that has, for each trial store, what goes with it: Dagster's files, rows under way."""
_NOT_SHOWN = ("source_url", "cache", "api_keys", "alert_urls", "dagster_db", "shared_redis")
_CACHES = "write memory, off, redis://[user:password@]host[:port][/db], or rediss://… for TLS"
_SHARED = "write redis://[user:password@]host[:port][/db], or rediss://… for TLS; it is not shown here"
_ADDRESS = "write http://host[:port] or https://host[:port], with a path if need be, and nothing after it"


class SettingsError(QuantAssetsError, ValueError):
    """A setting cannot be used; the message names its environment variable, the value and the remedy."""


class Settings(AlertSettings):
    """Everything that can be set. Each field is read from QUANT_ASSETS_<NAME>; only `cache`,
    `alert_urls`, `dagster_db` and `shared_redis` may hold a secret."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Path(".quant-assets")
    """Folder of everything local: the default store, Dagster's own files, caches and spill files."""
    store: str = ""
    """Where the tables live: a folder, or gs://bucket/prefix. Empty: `<home>/store`."""
    exchanges: Annotated[tuple[str, ...], NoDecode] = ("ASX", "US")
    """Codes of the exchanges in use, comma-separated in the environment."""
    exchanges_file: Path | None = None
    """A YAML file that adds to or overrides the exchanges we know."""
    universe: Path | None = None
    """A YAML file with the symbols per exchange. None: the small list that ships with the package."""
    universe_shrink: float = Field(default=10.0, ge=0, le=100)
    """Percent of a universe's constituents that one refresh may lose; of a source that has lost more nothing is
    taken."""
    discovery: Literal["off", "propose", "automatic"] = "off"
    """What the weekly look at all listings of the exchanges does: nothing, propose those that stand in no list, or
    follow them at once."""
    discovery_types: Annotated[tuple[Literal["equity", "etf"], ...], NoDecode] = ("equity",)
    """The types of assets that it looks for, comma-separated in the environment."""
    start: date = date(2000, 1, 3)
    """First day of the partition grid, and of a new symbol's history."""
    source_url: str = ""
    """Base URL that speaks Yahoo's protocol, e.g. a replay server. Empty: Yahoo itself."""
    requests_per_second: float = Field(default=2.0, ge=0, le=10_000)
    """Pace of requests to the source, over all processes of this home; 0: unpaced (loopback only)."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """How many requests to the source may be under way at once."""
    attempts: int = Field(default=4, ge=1, le=20)
    """How often one symbol is asked in all when the source fails in a passing way."""
    timeout_seconds: float = Field(default=15.0, gt=0, le=3600)
    """How long one request may take."""
    rate_limit_budget_seconds: float = Field(default=300.0, ge=0, le=_DAY)
    """How long one run waits in all because of rate limits before it stops asking."""
    retry_wait_seconds: float = Field(default=0.5, ge=0, le=3600)
    """First pause before asking again after a failure; doubles, with jitter."""
    cool_down_seconds: float = Field(default=5.0, ge=0, le=_DAY)
    """Pause for all requests after a 429 that names none; doubles while they go on."""
    look_back_sessions: int = Field(default=15, ge=0, le=25)
    """How many sessions before the last one asked for a run reconciles with the same answers."""
    min_coverage: Annotated[dict[str, float], NoDecode] = Field(default={"*": 95.0})
    """Percent of the expected symbols below which a cell is failed, by exchange; `*` is for all others."""
    sweep_days: int = Field(default=30, ge=1, le=36_500)
    """In how many days the sweep has compared every symbol's whole history with the source once."""
    valuations: bool = True
    """Whether the daily job takes a snapshot of the valuations after the prices."""
    memory_mb: int = Field(default=512, ge=64, le=_MOST_MB)
    """Megabytes that the rows may take which a step works on at once; more of them are taken in batches."""
    cache: SecretStr = SecretStr("memory")
    """Where the API keeps encoded answers: `memory` (of each process), `off`, or the URL of a Redis, which may hold
    a password: shown nowhere."""
    cache_mb: int = Field(default=256, ge=0, le=_MOST_MB)
    """Megabytes of answers kept in each process of the API, in front of Redis as well; 0: none."""
    cache_seconds: float = Field(default=86_400.0, gt=0, le=36_500 * _DAY)
    """How long an answer is kept at most."""
    cache_warm: int = Field(default=100, ge=0, le=1_000_000)
    """How many of the answers asked for most are made anew once their data has changed; 0: none."""
    local_copy_mb: int = Field(default=0, ge=0, le=_MOST_MB)
    """Megabytes of a bucket's objects of which the API keeps copies on disk, to go on reading while the bucket is
    away; 0: none."""
    owner: str = "team:quant-assets"
    """Whom Dagster's pages name as the owner of all there is: an e-mail address or `team:name`."""
    code_url: str = ""
    """Where the code is on the web, e.g. https://github.com/somebody/quant-assets/tree/main. Empty: local files."""
    dagster_url: str = "http://127.0.0.1:3000"
    """Where people reach Dagster's pages, for links to runs, cells and tables. Empty: the page has no links."""
    api_keys: str = Field(default="", repr=False)
    """Keys of the API as `quant-assets keys create` prints them, comma-separated: name:scope:sha256, no key."""
    api_keys_file: Path | None = None
    """A file with more of them, one a line; read again whenever it changes."""
    api_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names by which the API may be read without a key, beside those of this machine itself, comma-separated."""
    api_cors: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins (https://host[:port]) whose pages may ask the API from a browser, comma-separated; `*`: all."""
    api_rate: int = Field(default=6000, ge=0, le=_MOST_A_MINUTE)
    """How many requests a minute a key may make; 0: any number."""
    api_operating_rate: int = Field(default=60, ge=0, le=_MOST_A_MINUTE)
    """How many of them may start, cancel or change something; 0: any number."""
    api_threads: int = Field(default=8, ge=1, le=256)
    """How many requests to the HTTP API read from the store at a time; others wait."""
    api_timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long the HTTP API lets one read take, its waiting included, before it answers that it took too long."""
    api_streams: int = Field(default=16, ge=1, le=10_000)
    """How many large answers the HTTP API sends at a time, each with a batch of rows in memory."""
    dagster_db: SecretStr = SecretStr("")
    """Where Dagster keeps runs and events: postgresql://user:password@host[:port]/database. Empty: SQLite."""
    shared_redis: SecretStr = SecretStr("")
    """The Redis that workers on several machines share: pace, turns, marks and the queue of runs; may hold a
    password. Empty: all run on one machine, and files of the home do."""
    workers: int = Field(default=0, ge=0, le=MOST_WORKERS)
    """How many celery workers (`quant-assets worker`) take Dagster's runs, one run each; 0: runs are processes of the
    machine of the code server."""
    keep_runs_days: int = Field(default=90, ge=0, le=36_500)
    """How long Dagster keeps runs, their logs and ticks, in days; 0: for ever."""
    now: datetime | None = None
    """The present moment as the platform sees it, for replaying the past. None: the real clock."""

    _trial: str | None = PrivateAttr(default=None)

    @field_validator("home", "exchanges_file", "universe", "api_keys_file", "store", mode="before")
    @classmethod
    def _empty_is_not_set(cls, value: object, info: ValidationInfo) -> object:
        # As compose files and manifests hand on what is not set; Path("") would be the current folder.
        if isinstance(value, str) and not value.strip() and info.field_name:
            return cls.model_fields[info.field_name].default
        return value

    @field_validator("exchanges", "discovery_types", "api_hosts", "api_cors", mode="before")
    @classmethod
    def _split_codes(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(code.strip() for code in value.split(",") if code.strip())
        return value

    @field_validator("exchanges")
    @classmethod
    def _some_exchange(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one exchange, e.g. ASX,US")
        return tuple(dict.fromkeys(value))

    @field_validator("discovery_types")
    @classmethod
    def _some_type(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one type, equity or etf")
        return tuple(dict.fromkeys(value))

    @field_validator("min_coverage", mode="before")
    @classmethod
    def _split_coverage(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        shares: dict[str, str] = {}
        for part in filter(None, (piece.strip() for piece in value.split(","))):
            code, equals, percent = part.rpartition("=")
            shares[code.strip() if equals else "*"] = percent.strip()
        return {"*": 95.0, **shares}

    @field_validator("min_coverage")
    @classmethod
    def _some_percent(cls, value: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= percent <= 100 for percent in value.values()):
            raise ValueError(
                "write percent from 0 to 100, for all exchanges or by exchange, e.g. 95 or ASX=90,US=99"
            )
        return value

    @field_validator("owner")
    @classmethod
    def _owner_is_known_to_dagster(cls, value: str) -> str:
        if not re.fullmatch(r"team:[\w.-]+|[^@\s:]+@[^@\s:]+\.[^@\s:]+", value):
            raise ValueError("write an e-mail address, or team:name")
        return value

    @field_validator("code_url")
    @classmethod
    def _code_url_names_a_branch(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^@\s]+/tree/[^\s]+", value):
            raise ValueError("write e.g. https://github.com/somebody/quant-assets/tree/main")
        return value

    @field_validator("cache")
    @classmethod
    def _kind_of_cache(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if text not in ("memory", "off") and not _is_redis(text):
            # Not the cause: it holds the value.
            raise ValueError(_CACHES) from None
        return SecretStr(text)

    @field_validator("api_cors")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in value if one != "*" and not re.fullmatch(r"https?://[^/@\s?#]+", one)]:
            raise ValueError(
                f"{wrong[0]!r} is no origin; write https://host[:port] with no path, comma-separated, or *"
            )
        return value

    @field_validator("source_url", "dagster_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        # They are shown in errors, Dagster's run records and the page: no place for a secret.
        if not value:
            return value
        try:
            parts = urlsplit(value)
            wrong = not parts.hostname or parts.scheme not in ("http", "https") or parts.port == 0
        except ValueError:
            raise ValueError(_ADDRESS) from None
        if "@" in parts.netloc:
            raise ValueError(
                "holds a user name or password, which would end up in logs: leave it out "
                "(a proxy that HTTPS_PROXY names can add it)"
            )
        if (
            wrong
            or parts.query
            or parts.fragment
            or any(not sign.isprintable() or sign == " " for sign in value)
        ):
            raise ValueError(_ADDRESS)
        return value

    @field_validator("dagster_db")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        address = value.get_secret_value()
        if address and not re.fullmatch(r"postgres(ql)?(\+psycopg2)?://[^\s/]+/[^\s/?]+(\?\S*)?", address):
            raise ValueError("write postgresql://user:password@host[:port]/database; it is not shown here")
        return value

    @field_validator("shared_redis")
    @classmethod
    def _is_a_redis(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if text and not _is_redis(text):
            raise ValueError(_SHARED) from None
        return SecretStr(text)

    @field_validator("workers")
    @classmethod
    def _workers_share_a_redis(cls, value: int, info: ValidationInfo) -> int:
        shared = info.data.get("shared_redis")
        if value and shared is not None and not shared.get_secret_value():
            raise ValueError(
                "workers have their runs from the Redis that QUANT_ASSETS_SHARED_REDIS names: set it"
            )
        return value

    @field_validator("now", mode="before")
    @classmethod
    def _now_is_no_number(cls, value: object) -> object:
        # pydantic takes a number for seconds since 1970: 20130301 would be a day in August of that year.
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[\d.]+\s*", value):
            raise ValueError("write a moment with its time zone, e.g. 2013-03-01T23:00:00Z")
        return value

    @field_validator("now")
    @classmethod
    def _now_has_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, e.g. 2013-03-01T23:00:00Z")
        if value is not None and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
            raise ValueError(f"write a moment of the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return value

    def least_coverage(self, exchange: str) -> float:
        """The share (0 to 1) of expected symbols below which a cell of the exchange is failed."""
        return self.min_coverage.get(exchange, self.min_coverage.get("*", 95.0)) / 100

    @property
    def store_location(self) -> str:
        """The store's location with the default filled in."""
        return self.store or str(self.home.absolute() / "store")

    def for_trial(self, store: str) -> Settings:
        """These settings on another store of the same home, for a trial.

        Dagster's folder and that of runs are apart, so that no cell of the trial shows as made in the home's own
        store. The pace is one for both: the source sees them as one.
        """
        trial = self.model_copy(update={"store": store, "dagster_db": SecretStr(""), "workers": 0})
        trial._trial = hashlib.sha256(store.encode()).hexdigest()[:12]
        return trial

    @property
    def _kept(self) -> Path:
        """The folder of what goes with the store and does not lie in it."""
        home = self.home.absolute()
        return home / TRIAL_RUNS / self._trial if self._trial else home

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder (runs, events, schedules)."""
        return self._kept / "dagster"

    @property
    def spill_folder(self) -> Path:
        """Where a fill keeps rows between fetching and writing them."""
        return self._kept / "cache" / "spill"

    @property
    def locks_folder(self) -> Path:
        """Where the processes of this home hold their locks."""
        return self.home.absolute() / "cache" / "locks"

    @property
    def copies_folder(self) -> Path:
        """Where the API keeps copies of a bucket's objects; apart for each bucket."""
        asked = hashlib.sha256(self.store_location.encode()).hexdigest()[:12]
        return self.home.absolute() / "cache" / "copies" / asked

    @property
    def answers_folder(self) -> Path:
        """Where a fill keeps answers until their cells are written; apart for each address that is asked."""
        asked = hashlib.sha256(self.source_url.encode()).hexdigest()[:8] if self.source_url else "yahoo"
        return self.home.absolute() / "cache" / "answers" / asked

    def clock(self) -> datetime:
        """The present moment, UTC."""
        return self.now.astimezone(UTC) if self.now else datetime.now(UTC)


def _is_redis(address: str) -> bool:
    try:
        parts = urlsplit(address)
        redis = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return redis and re.fullmatch(r"/?\d*", parts.path) is not None


def load_settings() -> Settings:
    """The settings of this process. Raises SettingsError."""
    return _settings(frozenset((n, v) for n, v in os.environ.items() if n.upper().startswith(PREFIX)))


@lru_cache(maxsize=8)
def _settings(environment: frozenset[tuple[str, str]]) -> Settings:
    """Those that the variables of `environment` make: nothing else is asked, and asking takes milliseconds."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        given = repr(first["input"])
        given = f"{given[:_MOST_SHOWN]}…" if len(given) > _MOST_SHOWN else given
        shown = name if first["loc"][0] in _NOT_SHOWN else f"{name}={given}"
        # Not the cause: it holds the value, and tracebacks show causes.
        raise SettingsError(
            f"{shown}: {first['msg'].removeprefix('Value error, ')} "
            f"(change or unset {name}; the README lists the settings)"
        ) from None
