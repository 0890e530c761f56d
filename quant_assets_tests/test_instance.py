"""Dagster's folder of a home: many first starts at once, and a disk without room."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.instance import HomeUnavailable, open_instance
from quant_assets.resources.settings import Settings


def _first_start(settings: Settings, barrier: object, failures: object) -> None:
    barrier.wait()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with open_instance(settings) as instance:
            assert instance.get_runs() == []
            instance.event_log_storage.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.RUN_START))
            instance.all_instigator_state()
    except BaseException as error:  # noqa: BLE001
        failures.put(repr(error))  # pyright: ignore[reportAttributeAccessIssue]


def test_eight_first_starts_at_once_on_an_empty_home(tmp_path: Path) -> None:
    # Forked, so that all have loaded Dagster and begin in the same moment.
    context = multiprocessing.get_context("fork")
    for number in range(3):
        settings = Settings(home=tmp_path / str(number))
        barrier, failures = context.Barrier(8), context.Queue()
        starters = [
            context.Process(target=_first_start, args=(settings, barrier, failures)) for _ in range(8)
        ]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join(120)
        found = [failures.get() for _ in range(failures.qsize())]
        assert found == []
        assert [starter.exitcode for starter in starters] == [0] * 8


def test_databases_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    (settings.dagster_home / "history" / "runs.db").mkdir(parents=True)
    with pytest.raises(HomeUnavailable, match=rf"{settings.dagster_home}.*QUANT_ASSETS_HOME"):
        open_instance(settings)
