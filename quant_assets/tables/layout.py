"""Where each table and record lies in the store. Keys are made and taken apart here and nowhere else.

`…_key` makes a key, `…_of` takes one apart and answers None for a key that has not exactly the form that is written:
whatever else lies in a store's folders is not ours and is passed over by readers.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from quant_assets.resources.object_store import MARKER

CATALOG = "symbol_catalog"
DAILY = "daily_prices"
HISTORY = "price_history"
WEEKLY = "weekly_prices"
PROFILES = "symbol_profiles"
VALUATIONS = "symbol_valuations"
EXCHANGES = "exchange_profiles"
PROFILE_SUMS = "profile_sums"
"""What profiles are made from, by exchange and year: no table, and made anew whenever it is not there."""

TIME_DIMENSION = {DAILY: "date", HISTORY: "year", WEEKLY: "week", VALUATIONS: "date"}
"""The tables that are partitioned by exchange and time, and what the time is called."""

RESTATEMENTS = "restatements"
REPLACED = "replaced_rows"
QUARANTINE = "quarantine"
LISTING_EVENTS = "listing_events"
SYMBOL_FACTS = "symbol_facts"
COMPANY_EVENTS = "company_events"
FETCH_REPORTS = "fetch_reports"
EXPECTED = "expected_symbols"
REQUESTED = "requested"
UNIVERSES = "universes"
UNIVERSE_EVENTS = "universe_events"
DISCOVERED = "discovered_listings"
JOBS = "jobs"
AUDIT = "audit"

RECORDS = (
    AUDIT, COMPANY_EVENTS, DISCOVERED, EXPECTED, FETCH_REPORTS, JOBS, LISTING_EVENTS, QUARANTINE, REPLACED, REQUESTED,
    RESTATEMENTS, SYMBOL_FACTS, UNIVERSES, UNIVERSE_EVENTS,
)  # fmt: skip
"""What is kept beside the tables: what runs have learned, decided and done. It cannot be derived from anything."""

MANIFEST = "manifest"

REPORT_PAGES = "report_pages"
"""HTML for people, by exchange and over all: made anew from the rest whenever somebody likes."""
ALL_EXCHANGES = "all"
"""What the page over all exchanges is called."""

TOP_LEVEL = frozenset(
    {*TIME_DIMENSION, CATALOG, PROFILES, PROFILE_SUMS, EXCHANGES, MANIFEST, REPORT_PAGES, *RECORDS}
)
"""What the first part of a key can be in a store of ours."""

_KEPT_ONCE = (
    PROFILES, MANIFEST, EXPECTED, LISTING_EVENTS, SYMBOL_FACTS, COMPANY_EVENTS, QUARANTINE, REQUESTED,
)  # fmt: skip
READ_ONCE = (
    MARKER,
    f"{CATALOG}.parquet",
    f"{EXCHANGES}.parquet",
    *(f"{name}/" for name in _KEPT_ONCE),
)
"""What one run reads at most once. Not the cells and histories, which are large; not the ledgers, of which what
others have recorded meanwhile counts."""
LISTED_ONCE = tuple(f"{name}/" for name in (*TIME_DIMENSION, MANIFEST, DISCOVERED))
"""What one run lists at most once."""

_EXCHANGE = r"exchange=(?P<exchange>[A-Z][A-Z0-9]{0,11})"
_YEAR = r"year=(?P<year>\d{4})"
_UNIVERSE = r"(?P<universe>[A-Za-z0-9_-]+)"
_JOB = r"\d{8}-\d{6}-[0-9a-f]{12}"
_RECORD_FORMS = {
    AUDIT: r"\d{4}-\d\d/\d{8}-\d{6}-\d{6}-[0-9a-f]{8}\.json",
    DISCOVERED: rf"{_EXCHANGE}\.parquet",
    EXPECTED: rf"{_EXCHANGE}/[0-9a-f]{{64}}\.json",
    FETCH_REPORTS: rf"{_EXCHANGE}/\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{6}}Z-[^/]+\.json",
    JOBS: rf"(key-[0-9a-f]{{64}}|{_JOB})\.json",
    LISTING_EVENTS: rf"{_EXCHANGE}\.parquet",
    SYMBOL_FACTS: rf"{_EXCHANGE}\.parquet",
    COMPANY_EVENTS: rf"{_EXCHANGE}\.parquet",
    QUARANTINE: rf"{_EXCHANGE}\.parquet",
    REPLACED: rf"{_EXCHANGE}/{_YEAR}\.parquet",
    REQUESTED: rf"{_EXCHANGE}\.json",
    RESTATEMENTS: rf"{_EXCHANGE}/{_YEAR}\.parquet",
    UNIVERSES: rf"{_UNIVERSE}\.parquet",
    UNIVERSE_EVENTS: rf"{_UNIVERSE}\.parquet",
}
_FORMS = {
    **{name: re.compile(rf"{name}/{form}") for name, form in _RECORD_FORMS.items()},
    **{
        table: re.compile(rf"{table}/{_EXCHANGE}/{time}=(?P<partition>[0-9-]+)\.parquet")
        for table, time in TIME_DIMENSION.items()
    },
    REPORT_PAGES: re.compile(rf"{REPORT_PAGES}/({ALL_EXCHANGES}|{_EXCHANGE})\.html"),
    PROFILES: re.compile(rf"{PROFILES}/{_EXCHANGE}\.parquet"),
    PROFILE_SUMS: re.compile(rf"{PROFILE_SUMS}/{_EXCHANGE}/{_YEAR}\.parquet"),
    MANIFEST: re.compile(rf"{MANIFEST}/(?P<table>{'|'.join(TIME_DIMENSION)})/{_EXCHANGE}/{_YEAR}\.json"),
}


def object_key(table: str, exchange: str | None = None, partition: str | None = None) -> str:
    """The key of a table's object: `daily_prices/exchange=ASX/date=2024-03-15.parquet`, `symbol_catalog.parquet`."""
    if exchange is None:
        return f"{table}.parquet"
    if partition is None:
        return f"{table}/exchange={exchange}.parquet"
    return f"{partitions_prefix(table, exchange)}{partition}.parquet"


def partition_of(table: str, key: str) -> str | None:
    """The time partition in an object's key ("2024-03-15"), or None when the key is not one of the table's."""
    found = _FORMS[table].fullmatch(key)
    return found["partition"] if found and _is_partition(table, found["partition"]) else None


def partitions_prefix(table: str, exchange: str, year: int | None = None) -> str:
    """What the keys of a table's partitions begin with: all of an exchange, or those of a year."""
    of_year = "" if year is None else f"{year:04d}"
    return f"{table}/exchange={exchange}/{TIME_DIMENSION[table]}={of_year}"


def after_year(table: str) -> str:
    """The character that ends the year in the keys of a table's partitions."""
    return "." if table == HISTORY else "-"


def year_of_group(table: str, exchange: str, group: str) -> int | None:
    """The year in the beginning of a partition's key, up to `after_year` and with it."""
    year = group.removeprefix(partitions_prefix(table, exchange)).removesuffix(after_year(table))
    return int(year) if re.fullmatch(r"\d{4}", year) else None


def manifest_key(table: str, exchange: str, year: int) -> str:
    """Where a table's entries of one exchange and year are kept."""
    return f"{manifest_prefix(table, exchange)}year={year:04d}.json"


def manifest_prefix(table: str, exchange: str) -> str:
    """What the keys of an exchange's manifest shards begin with."""
    return f"{MANIFEST}/{table}/exchange={exchange}/"


def ledger_key(table: str, exchange: str, year: int) -> str:
    """Where RESTATEMENTS or REPLACED of an exchange are kept, by the year in which they were found."""
    return f"{ledger_prefix(table, exchange)}year={year:04d}.parquet"


def ledger_prefix(table: str, exchange: str) -> str:
    """What the keys of an exchange's RESTATEMENTS or REPLACED begin with."""
    return f"{table}/exchange={exchange}/"


def profile_sums_key(exchange: str, year: int) -> str:
    """Where PROFILE_SUMS of an exchange's year are kept."""
    return f"{PROFILE_SUMS}/exchange={exchange}/year={year:04d}.parquet"


def quarantine_key(exchange: str) -> str:
    """Where an exchange's quarantine is kept."""
    return f"{QUARANTINE}/exchange={exchange}.parquet"


def events_key(exchange: str) -> str:
    """Where an exchange's listing events are kept."""
    return f"{LISTING_EVENTS}/exchange={exchange}.parquet"


def discovered_key(exchange: str) -> str:
    """Where it is kept what was discovered on an exchange, and decided about it."""
    return f"{DISCOVERED}/exchange={exchange}.parquet"


def symbol_facts_key(exchange: str) -> str:
    """Where it is kept what the source and the lists have said of an exchange's symbols."""
    return f"{SYMBOL_FACTS}/exchange={exchange}.parquet"


def company_events_key(exchange: str) -> str:
    """Where it is kept which company an exchange's symbols stood for, and when."""
    return f"{COMPANY_EVENTS}/exchange={exchange}.parquet"


def universe_key(universe: str) -> str:
    """Where the constituents of a universe are kept, as last refreshed."""
    return f"{UNIVERSES}/{universe}.parquet"


def membership_key(universe: str) -> str:
    """Where it is kept who joined and left a universe."""
    return f"{UNIVERSE_EVENTS}/{universe}.parquet"


def requested_key(exchange: str) -> str:
    """Where it is kept which days of an exchange have been asked for."""
    return f"{REQUESTED}/exchange={exchange}.json"


def expected_key(exchange: str, sha256: str) -> str:
    """Where a set of symbols is kept by its hash."""
    return f"{EXPECTED}/exchange={exchange}/{sha256}.json"


def report_key(exchange: str, started: datetime, run: str) -> str:
    """Where a run's report is kept; keys sort by the moment the run started."""
    moment = started.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    return f"{reports_prefix(exchange)}{moment}-{run[:8]}.json"


def report_page_key(exchange: str | None) -> str:
    """Where the report page of an exchange is kept; None: that over all."""
    return f"{REPORT_PAGES}/{ALL_EXCHANGES if exchange is None else f'exchange={exchange}'}.html"


def run_in(key: str) -> str:
    """The first characters of the id of the run whose report a key names."""
    return key.rpartition("Z-")[2].removesuffix(".json")


def reports_prefix(exchange: str) -> str:
    """What the keys of an exchange's fetch reports begin with."""
    return f"{FETCH_REPORTS}/exchange={exchange}/"


def job_key(job: str) -> str:
    """Where the record of a job is kept; ids, and so keys, sort by the moment of the request."""
    return f"{JOBS}/{job}.json"


def job_of(key: str) -> str | None:
    """The id of the job whose record has this key; None for any other key."""
    name = key.removeprefix(f"{JOBS}/").removesuffix(".json")
    return name if is_job(name) and key == job_key(name) else None


def is_job(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    return re.fullmatch(_JOB, text) is not None


def job_claim_key(sha256: str) -> str:
    """Where it is kept which job a client's key of its own stands for, by the hash of both."""
    return f"{JOBS}/key-{sha256}.json"


def audit_key(moment: datetime, name: str) -> str:
    """Where one operation is kept; keys sort by the moment it began. `name`: eight hexadecimal digits."""
    at = moment.astimezone(UTC)
    return f"{audit_prefix(at.year, at.month)}{at:%Y%m%d-%H%M%S-%f}-{name}.json"


def audit_prefix(year: int, month: int) -> str:
    """What the keys of a month's operations begin with."""
    return f"{AUDIT}/{year:04d}-{month:02d}/"


def table_of(key: str) -> str | None:
    """The table, the record or MANIFEST that a key belongs to; None when it has not the form that is written."""
    top = key.partition("/")[0]
    if key in (object_key(CATALOG), object_key(EXCHANGES)):
        return top.removesuffix(".parquet")
    if top in TIME_DIMENSION:
        return top if partition_of(top, key) is not None else None
    form = _FORMS.get(top)
    return top if form is not None and form.fullmatch(key) else None


def exchange_of(key: str) -> str | None:
    """The exchange in a key; None when there is none, or the key has not the form that is written."""
    found = _match(key)
    return found.groupdict().get("exchange") if found else None


def universe_of(key: str) -> str | None:
    """The universe in the key of its constituents or its membership; None in any other."""
    found = _match(key)
    return found.groupdict().get("universe") if found else None


def year_of(key: str) -> int | None:
    """The year in the key of a manifest shard, a ledger's object or a partition; None in any other."""
    found = _match(key)
    if not found:
        return None
    parts = found.groupdict()
    year = parts.get("year") or (parts.get("partition") or "")[:4]
    return int(year) if year else None


def described_table(key: str) -> str | None:
    """The table that a manifest shard is about; None for any other key."""
    found = _FORMS[MANIFEST].fullmatch(key)
    return found["table"] if found else None


def _match(key: str) -> re.Match[str] | None:
    table = table_of(key)
    return _FORMS[table].fullmatch(key) if table in _FORMS else None


def _is_partition(table: str, text: str) -> bool:
    if table == HISTORY:
        return re.fullmatch(r"\d{4}", text) is not None
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
