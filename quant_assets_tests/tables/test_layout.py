"""Keys: what is made is taken apart again, and nothing else is taken for ours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quant_assets.tables.layout import (
    AUDIT,
    CATALOG,
    COMPANY_EVENTS,
    DAILY,
    DISCOVERED,
    EXCHANGES,
    EXPECTED,
    FETCH_REPORTS,
    HISTORY,
    JOBS,
    LISTING_EVENTS,
    MANIFEST,
    PROFILE_SUMS,
    PROFILES,
    QUARANTINE,
    RECORDS,
    REPLACED,
    REPORT_PAGES,
    REQUESTED,
    RESTATEMENTS,
    SYMBOL_FACTS,
    TIME_DIMENSION,
    TOP_LEVEL,
    UNIVERSE_EVENTS,
    UNIVERSES,
    VALUATIONS,
    WEEKLY,
    after_year,
    audit_key,
    company_events_key,
    described_table,
    discovered_key,
    events_key,
    exchange_of,
    expected_key,
    job_claim_key,
    job_key,
    ledger_key,
    manifest_key,
    membership_key,
    object_key,
    partition_of,
    partitions_prefix,
    profile_sums_key,
    quarantine_key,
    report_key,
    report_page_key,
    requested_key,
    symbol_facts_key,
    table_of,
    universe_key,
    universe_of,
    year_of,
    year_of_group,
)

STARTED = datetime(2024, 3, 15, 21, 5, 6, 7, tzinfo=UTC)
KEYS = {
    object_key(CATALOG): (CATALOG, None, None),
    object_key(EXCHANGES): (EXCHANGES, None, None),
    object_key(PROFILES, "ASX"): (PROFILES, "ASX", None),
    object_key(DAILY, "ASX", "2024-03-15"): (DAILY, "ASX", 2024),
    object_key(WEEKLY, "ASX", "2024-03-11"): (WEEKLY, "ASX", 2024),
    object_key(HISTORY, "ASX", "2024"): (HISTORY, "ASX", 2024),
    object_key(VALUATIONS, "ASX", "2024-03-15"): (VALUATIONS, "ASX", 2024),
    profile_sums_key("US", 2024): (PROFILE_SUMS, "US", 2024),
    report_page_key("US"): (REPORT_PAGES, "US", None),
    report_page_key(None): (REPORT_PAGES, None, None),
    manifest_key(DAILY, "US", 1999): (MANIFEST, "US", 1999),
    manifest_key(HISTORY, "US", 2024): (MANIFEST, "US", 2024),
    ledger_key(RESTATEMENTS, "US", 2024): (RESTATEMENTS, "US", 2024),
    ledger_key(REPLACED, "US", 2024): (REPLACED, "US", 2024),
    quarantine_key("US"): (QUARANTINE, "US", None),
    events_key("US"): (LISTING_EVENTS, "US", None),
    discovered_key("US"): (DISCOVERED, "US", None),
    symbol_facts_key("US"): (SYMBOL_FACTS, "US", None),
    company_events_key("US"): (COMPANY_EVENTS, "US", None),
    requested_key("US"): (REQUESTED, "US", None),
    report_key("US", STARTED, "the first run of all"): (FETCH_REPORTS, "US", None),
    expected_key("US", "0a" * 32): (EXPECTED, "US", None),
    audit_key(STARTED, "0a1b2c3d"): (AUDIT, None, None),
    job_key("20240315-220000-0a1b2c3d4e5f"): (JOBS, None, None),
    job_claim_key("0a" * 32): (JOBS, None, None),
    universe_key("sp-500_x"): (UNIVERSES, None, None),
    membership_key("sp-500_x"): (UNIVERSE_EVENTS, None, None),
}
STRAYS = (
    "notes.txt",
    "daily_prices.parquet",
    "daily_prices/notes.txt",
    "daily_prices/exchange=US",
    "daily_prices/exchange=US/notes.txt",
    "daily_prices/exchange=US/date=foo.parquet",
    "daily_prices/exchange=US/date=2024-02-30.parquet",
    "daily_prices/exchange=US/date=20240301.parquet",
    "daily_prices/exchange=US/date=2024-03-01.parquet.bak",
    "daily_prices/exchange=US/date=2024-03-01.parquet/inside",
    "daily_prices/exchange=US/copy/date=2024-03-01.parquet",
    "daily_prices/exchange=us/date=2024-03-01.parquet",
    "price_history/exchange=US/year=20x4.parquet",
    "price_history/exchange=US/year=2024-03-01.parquet",
    "price_history/exchange=US/year=٢٠٢٤.parquet",
    "manifest/daily_prices/exchange=US/year=20x4.json",
    "manifest/other/exchange=US/year=2024.json",
    "manifest/daily_prices/exchange=US/notes.txt",
    "restatements/exchange=US/year=.parquet",
    "fetch_reports/exchange=US/notes.txt",
    "expected_symbols/exchange=US/short.json",
    "requested/exchange=US.json~",
    "universes/.parquet",
    "universes/a b.parquet",
    "universes/sp500/copy.parquet",
    "universe_events/sp500.json",
    "report_pages/exchange=US.htm",
    "report_pages/us.html",
    "jobs/20240315.json",
    "jobs/key-short.json",
    "jobs/20240315-220000-0a1b2c3d4e5f.json/inside",
    "audit/20240315-220000-000005-0a1b2c3d.json",
    "universe_events/sp500.parquet.bak",
)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_taken_apart_as_it_was_made(key: str) -> None:
    assert (table_of(key), exchange_of(key), year_of(key)) == KEYS[key]


def test_every_table_and_record_has_a_key_here() -> None:
    assert {made for made, _, _ in KEYS.values()} == TOP_LEVEL >= set(RECORDS)


@pytest.mark.parametrize("key", STRAYS)
def test_what_is_not_written_by_us_is_no_key_of_ours(key: str) -> None:
    assert (table_of(key), exchange_of(key), year_of(key)) == (None, None, None)
    assert all(partition_of(table, key) is None for table in TIME_DIMENSION)


def test_what_is_kept_of_a_universe_says_of_which() -> None:
    assert universe_key("sp500") == "universes/sp500.parquet"
    assert membership_key("sp500") == "universe_events/sp500.parquet"
    assert [universe_of(key) for key in (universe_key("sp500"), membership_key("A-1_b"))] == [
        "sp500",
        "A-1_b",
    ]
    assert {universe_of(key) for key in (events_key("US"), object_key(CATALOG), *STRAYS)} == {None}


def test_a_shard_says_which_table_it_is_about() -> None:
    assert {described_table(manifest_key(table, "US", 2024)) for table in TIME_DIMENSION} == set(
        TIME_DIMENSION
    )
    assert described_table(object_key(DAILY, "US", "2024-03-15")) is None


@pytest.mark.parametrize("table", TIME_DIMENSION)
def test_years_are_the_groups_of_a_tables_keys(table: str) -> None:
    partition = "2024" if table == HISTORY else "2024-03-11"
    key, prefix = object_key(table, "US", partition), partitions_prefix(table, "US")
    assert key.startswith(partitions_prefix(table, "US", 2024))
    assert key.startswith(prefix)
    group = prefix + key[len(prefix) :].partition(after_year(table))[0] + after_year(table)
    assert year_of_group(table, "US", group) == 2024
    for stray in ("foo", "20x4", "", "02024"):
        assert year_of_group(table, "US", f"{prefix}{stray}{after_year(table)}") is None
