"""Fetch reports: one object a run, none written over, the last ones first to hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectChanged, ObjectDamaged
from quant_assets.tables.fetch_reports import read_reports, write_report
from quant_assets.tables.layout import report_key

STARTED = datetime(2024, 3, 15, 22, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def test_keys_sort_by_the_moment_at_which_a_run_started_wherever_that_was() -> None:
    sydney = STARTED.astimezone(timezone(timedelta(hours=11)))
    assert report_key("US", sydney, "abcdef0123") == report_key("US", STARTED, "abcdef0123")
    assert report_key("US", STARTED, "abcdef0123") == (
        "fetch_reports/exchange=US/2024-03-15T22-00-00.000005Z-abcdef01.json"
    )
    moments = [STARTED + timedelta(microseconds=n) for n in (0, 1, 999_994, 999_995, 3_600_000_000)]
    keys = [report_key("US", moment, run) for moment, run in zip(moments, "zyxwv", strict=True)]
    assert keys == sorted(keys)


def test_the_last_reports_come_oldest_first_and_of_one_exchange(store: LocalObjectStore) -> None:
    assert read_reports(store, "US") == []
    for n in (2, 0, 1):
        write_report(
            store, "US", STARTED + timedelta(days=n), f"run{n}", {"n": n, "day": date(2024, 3, n + 1)}
        )
    write_report(store, "USX", STARTED, "other", {"n": 9})
    assert [report["n"] for report in read_reports(store, "US", last=2)] == [1, 2]
    assert read_reports(store, "US") == [{"n": 2, "day": "2024-03-03"}]
    assert [report["n"] for report in read_reports(store, "US", last=50)] == [0, 1, 2]


def test_no_report_is_written_over(store: LocalObjectStore) -> None:
    key = write_report(store, "US", STARTED, "run", {"n": 1})
    with pytest.raises(ObjectChanged):
        write_report(store, "US", STARTED, "run", {"n": 2})
    assert store.head(key) is not None
    assert read_reports(store, "US") == [{"n": 1}]


@pytest.mark.parametrize(
    "facts",
    [
        b"{", b"[]", b'{"requests": "many"}', b'{"requests": null}', b'{"failed": [1]}', b'{"failed": {"a": "b"}}',
        b'{"cells": 1}', b'{"seconds": {"fetch": null}}', b'{"run": 7}', b'{"started": "yesterday"}',
        b'{"started": 7}', b'{"result": {}}',
    ],
)  # fmt: skip
def test_a_report_that_is_none_is_named_and_hides_no_other(store: LocalObjectStore, facts: bytes) -> None:
    write_report(store, "US", STARTED, "good", {"requests": 1})
    store.put(key := report_key("US", STARTED + timedelta(days=1), "bad"), facts)
    with pytest.raises(ObjectDamaged, match=f"{store.uri(key)}: no .*; remove it"):
        read_reports(store, "US", last=2)
    damaged: dict[str, str] = {}
    assert read_reports(store, "US", last=2, damaged=damaged) == [{"requests": 1}]
    assert list(damaged) == [key]
