"""Dagster's folder of a home: many first starts at once, and a disk without room."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.event import listen
from sqlalchemy.pool import QueuePool

from quant_assets.defs.postgres_storage import PostgresStorage, _RetriesInALine, with_driver
from quant_assets.instance import POSTGRES_FILE, HomeUnavailable, open_instance
from quant_assets.operations.jobs import JobDesk
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings, SettingsError, load_settings
from quant_assets.tables.jobs import JobRecord, Part, moment, put_job


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


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        HomeUnavailable, match=r"file/home/dagster cannot be used: Not a dir.*QUANT_ASSETS_HOME"
    ):
        open_instance(Settings(home=tmp_path / "file" / "home"))


def test_a_damaged_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    open_instance(settings).dispose()
    store = LocalObjectStore(tmp_path / "store")
    for file in settings.dagster_home.rglob("*.db"):
        file.write_bytes(b"no database" * 1000)
    job = JobRecord("20130301-230000-0123456789ab", "sweep", {}, [Part("sweep", "US")], moment(), "me", "cli")
    put_job(store, job)
    with pytest.raises(HomeUnavailable, match=r"damaged: .*rebuild-instance"):
        JobDesk(settings, store).state(job.id)


def test_postgresql_is_one_setting_and_its_password_stands_in_no_file_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("QUANT_ASSETS_DAGSTER_DB", "postgresql://quant:s3cret@127.0.0.1:9/dagster")
    settings = load_settings()
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)
    with pytest.raises(
        HomeUnavailable, match=r"PostgreSQL \(QUANT_ASSETS_DAGSTER_DB\).*Connection refused"
    ) as refused:
        open_instance(settings)
    file = settings.dagster_home / "dagster.yaml"
    assert file.read_text() == POSTGRES_FILE
    assert "s3cret" not in f"{refused.value} {settings!r} {file.read_text()}"
    # A trial has its own folder and no database of others; without the setting a home is back at SQLite.
    assert settings.for_trial("/elsewhere").dagster_db.get_secret_value() == ""
    monkeypatch.delenv("QUANT_ASSETS_DAGSTER_DB")
    with open_instance(load_settings()) as instance:
        assert instance.get_runs() == []
    for wrong in ("mysql://quant:s3cret@host/dagster", "postgresql://host", "s3cret"):
        monkeypatch.setenv("QUANT_ASSETS_DAGSTER_DB", wrong)
        with pytest.raises(SettingsError, match="write postgresql://") as refusal:
            load_settings()
        assert "s3cret" not in str(refusal.value)


def test_events_go_to_postgresql_in_batches_over_a_connection_that_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is done to dagster-postgres 0.29, by its own names; `make postgres-test` has the database."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "")
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    storage = PostgresStorage(with_driver("postgresql://quant@127.0.0.1:9/dagster"), False)
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "500"
    log = storage.event_log_storage
    assert isinstance(log, PostgresEventLogStorage)
    made: list[object] = []
    listen(log._engine, "do_connect", lambda *_: made.append(None))
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)
    for _ in range(2):
        with pytest.raises(DagsterPostgresException), log._connect():
            pass
    assert made
    assert isinstance(log._engine.pool, QueuePool)
    assert log._engine.pool.size() == 1
    storage.event_log_storage.dispose()


@pytest.mark.parametrize("address", ["postgres://h/d", "postgresql://h/d", "postgresql+psycopg2://h/d"])
def test_an_address_of_postgresql_gets_the_driver_that_dagster_brings(address: str) -> None:
    assert with_driver(address) == "postgresql+psycopg2://h/d?connect_timeout=5"
    own = f"{address}?connect_timeout=1&sslmode=require"
    assert with_driver(own) == "postgresql+psycopg2://h/d?connect_timeout=1&sslmode=require"


def test_a_database_that_is_away_is_said_in_one_line_and_not_at_every_try(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = _RetriesInALine()
    log = logging.getLogger()
    monkeypatch.setattr(log, "filters", [keep])
    for _ in range(5):
        logging.warning("Retrying failed database connection: refused\n\tIs it running?\n\n(Background)")
    logging.warning("another")
    assert [one.getMessage() for one in caplog.records] == [
        "Retrying failed database connection: refused",
        "another",
    ]
