"""Dagster's own folder of a home: its settings, and its databases, made by one process at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from sqlalchemy import create_engine, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.settings import MOST_WORKERS, Settings

_BEGIN = """\
# Dagster's own settings for a laptop: everything in this folder, nothing sent anywhere.
"""
_STORAGE = """\
storage:
  # Dagster's SQLite databases, with connections that stay open.
  custom:
    module: quant_assets.defs.event_log
    class: OpenSqliteStorage
    config:
      base_dir:
        env: DAGSTER_HOME
"""
_POSTGRES = """\
storage:
  # The address with its password is that of the environment, and stands nowhere else.
  custom:
    module: quant_assets.defs.postgres_storage
    class: PostgresStorage
    config:
      postgres_url:
        env: QUANT_ASSETS_DAGSTER_DB
"""
_QUIET = """\
telemetry:
  enabled: false
nux:
  enabled: false
"""
_HERE = """\
run_monitoring:
  enabled: true
concurrency:
  runs:
    # The source is paced over all processes, so more runs at once would not be faster.
    max_concurrent_runs: 2
"""
_COORDINATOR = """\
run_coordinator:
  # The queue, which gives the runs of a backfill their exchange's tag.
  module: quant_assets.defs.run_queue
  class: ExchangeRunCoordinator
"""
_WORKERS = """\
run_launcher:
  # Celery, over the Redis of QUANT_ASSETS_SHARED_REDIS.
  module: quant_assets.defs.celery_runs
  class: WorkersRunLauncher
run_monitoring:
  enabled: true
  poll_interval_seconds: 15
  # A run may wait for a worker that is busy.
  start_timeout_seconds: 21600
run_retries:
  enabled: true
  max_retries: 3
  # Runs whose worker was killed, and not those that have failed.
  retry_on_asset_or_op_failure: false
concurrency:
  runs:
    # A run for each worker; a second one of an exchange would only wait for the first.
    max_concurrent_runs: {workers}
    tag_concurrency_limits:
      - key: quant_assets/exchange
        value:
          applyLimitPerUniqueValue: true
        limit: 1
"""
_REST = _QUIET + _HERE
_NOT_CAPTURED = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}
INSTANCE_FILE = _BEGIN + _STORAGE + _REST
POSTGRES_FILE = _BEGIN + _POSTGRES + _REST


def instance_file(*, postgres: bool, workers: int) -> str:
    """Dagster's settings: where runs and events lie, and who takes runs (0 workers: processes of this machine)."""
    rest = _QUIET + _COORDINATOR + _WORKERS.format(workers=workers) if workers else _REST
    return _BEGIN + (_POSTGRES if postgres else _STORAGE) + rest


_OUR_FILES = frozenset(
    {
        _BEGIN + _REST,
        *(instance_file(postgres=db, workers=n) for db in (False, True) for n in range(MOST_WORKERS + 1)),
        *(
            instance_file(postgres=db, workers=n).replace(_COORDINATOR, "")
            for db in (False, True)
            for n in range(1, MOST_WORKERS + 1)
        ),
    }
)
"""What this and earlier versions write; a file that somebody has changed since stays as it is."""


class HomeUnavailable(QuantAssetsError):
    """Dagster's databases cannot be written; the message names the folder and the remedy."""


def prepare_instance(settings: Settings) -> Path:
    """Makes Dagster's folder with its settings and databases, and has this process use it.

    Raises HomeUnavailable.
    """
    open_instance(settings).dispose()
    return settings.dagster_home


def workers_apart(settings: Settings) -> str:
    """Why workers of other homes would find no run of this one, in a line; "" where they do, or there are none."""
    file = settings.dagster_home / "dagster.yaml"
    if not settings.workers or settings.dagster_db.get_secret_value():
        return ""
    if file.exists() and "OpenSqliteStorage" not in file.read_text(encoding="utf-8"):
        return ""
    return (
        f"QUANT_ASSETS_WORKERS is {settings.workers}, and Dagster's runs are in SQLite: a worker with another home "
        f"than {settings.home.absolute()} loses the runs that it takes"
    )


def check_database(settings: Settings) -> None:
    """Asks the PostgreSQL that the settings name, if they do. Raises HomeUnavailable."""
    if not (address := settings.dagster_db.get_secret_value()):
        return
    with databases_of(settings):
        from quant_assets.defs.postgres_storage import with_driver

        engine = create_engine(with_driver(address), poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(select(1))


def open_instance(settings: Settings, *, captured: bool = True) -> dg.DagsterInstance:
    """The instance of a home; dispose of it when done. Raises HomeUnavailable.

    Args:
        captured: whether runs in this process have their output kept, as the instance's file says: four processes a
            run, of which each output is shown by one and that one watched by another (Dagster 1.13.27).
    """
    try:
        return _opened(settings, captured=captured)
    except OSError as error:
        raise HomeUnavailable(
            f"Dagster's folder {settings.dagster_home} cannot be used: {error.strerror or error} "
            "(check its permissions and free space, or point QUANT_ASSETS_HOME elsewhere)"
        ) from error


def _opened(settings: Settings, *, captured: bool) -> dg.DagsterInstance:
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    # On an empty home every process creates and stamps the databases, and all but the first to do so fail.
    with one_at_a_time(home / ".first-start.lock"), databases_of(settings):
        file = home / "dagster.yaml"
        database = settings.dagster_db.get_secret_value()
        if database:
            os.environ["QUANT_ASSETS_DAGSTER_DB"] = database
        wanted = instance_file(postgres=bool(database), workers=settings.workers)
        if not file.exists() or ((text := file.read_text(encoding="utf-8")) != wanted and text in _OUR_FILES):
            file.write_text(wanted, encoding="utf-8")
        overrides = {} if captured else {"compute_logs": _NOT_CAPTURED}
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))


@contextmanager
def databases_of(settings: Settings) -> Generator[None]:
    """Has what SQLite cannot do be said in one line. Raises HomeUnavailable."""
    try:
        yield
    except ModuleNotFoundError as error:
        if settings.workers and error.name in ("celery", "dagster_celery"):
            raise HomeUnavailable(
                "QUANT_ASSETS_WORKERS says that celery takes the runs: pip install 'quant-assets[celery]'"
            ) from error
        if settings.dagster_db.get_secret_value() and error.name in ("dagster_postgres", "psycopg2"):
            raise HomeUnavailable(
                "QUANT_ASSETS_DAGSTER_DB names PostgreSQL, which needs an extra: pip install 'quant-assets[postgres]'"
            ) from error
        raise
    except OperationalError as error:
        if settings.dagster_db.get_secret_value():
            raise _no_database(error.orig or error) from None
        raise HomeUnavailable(
            f"Dagster's databases in {settings.dagster_home} cannot be used: {error.orig} "
            "(check the folder's permissions and free space, or point QUANT_ASSETS_HOME elsewhere)"
        ) from error
    except DatabaseError as error:
        # Those of its kinds that are named for what the program asks are faults of the program.
        if type(error) is not DatabaseError or settings.dagster_db.get_secret_value():
            raise
        raise HomeUnavailable(
            f"one of Dagster's databases in {settings.dagster_home} is damaged: {error.orig} (move it away, and have "
            "`quant-assets rebuild-instance` tell Dagster of what the store holds)"
        ) from error
    except Exception as error:
        # By its name: the class comes with an extra that SQLite does without. All others go on as they are.
        if type(error).__name__ != "DagsterPostgresException":
            raise
        raise _no_database(error) from None


_watched: dict[Path, dg.DagsterInstance] = {}
"""Instances that are looked at again and again: opening one takes a second, and the databases of it anew."""
_opening = threading.Lock()


def watched_instance(settings: Settings) -> dg.DagsterInstance | None:
    """The instance of a home, which stays open in this process; None where no Dagster has run there yet.

    Raises HomeUnavailable.
    """
    home = settings.dagster_home
    with _opening:
        if home not in _watched:
            if not (home / "dagster.yaml").exists():
                return None
            _watched[home] = open_instance(settings)
        return _watched[home]


def newest_heartbeat(settings: Settings) -> float | None:
    """When Dagster's daemon of a home last showed that it lives, in seconds since 1970; None: never.

    Raises HomeUnavailable.
    """
    with databases_of(settings):
        instance = watched_instance(settings)
        beats = instance.get_daemon_heartbeats() if instance is not None else {}
    return max((beat.timestamp for beat in beats.values()), default=None)


def _no_database(error: BaseException) -> HomeUnavailable:
    # What the driver says names host and user, and no password.
    cause = error.__cause__ or error
    why = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return HomeUnavailable(
        f"Dagster's PostgreSQL (QUANT_ASSETS_DAGSTER_DB) cannot be used: {why} (is it running, and are host, user, "
        "password and database right? The store is as it was)"
    )
