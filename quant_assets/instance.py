"""Dagster's own folder of a home: its settings, and its databases, made by one process at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import OperationalError

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.locks import one_at_a_time
from quant_assets.resources.settings import Settings

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
_REST = """\
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
concurrency:
  runs:
    # The source is paced over all processes, so more runs at once would not be faster.
    max_concurrent_runs: 2
"""
INSTANCE_FILE = _BEGIN + _STORAGE + _REST
_FORMER_FILES = frozenset({_BEGIN + _REST})
"""What earlier versions wrote; a file that somebody has changed since stays as it is."""


class HomeUnavailable(QuantAssetsError):
    """Dagster's databases cannot be written; the message names the folder and the remedy."""


def prepare_instance(settings: Settings) -> Path:
    """Makes Dagster's folder with its settings and databases, and has this process use it.

    Raises OSError, HomeUnavailable.
    """
    open_instance(settings).dispose()
    return settings.dagster_home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of a home; dispose of it when done. Raises OSError, HomeUnavailable."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    # On an empty home every process creates and stamps the databases, and all but the first to do so fail.
    with one_at_a_time(home / ".first-start.lock"), databases_of(settings):
        file = home / "dagster.yaml"
        if not file.exists() or file.read_text(encoding="utf-8") in _FORMER_FILES:
            file.write_text(INSTANCE_FILE, encoding="utf-8")
        return dg.DagsterInstance.from_config(str(home))


@contextmanager
def databases_of(settings: Settings) -> Generator[None]:
    """Has what SQLite cannot do be said in one line. Raises HomeUnavailable."""
    try:
        yield
    except OperationalError as error:
        raise HomeUnavailable(
            f"Dagster's databases in {settings.dagster_home} cannot be used: {error.orig} "
            "(check the folder's permissions and free space, or point QUANT_ASSETS_HOME elsewhere)"
        ) from error


_watched: dict[Path, dg.DagsterInstance] = {}
"""Instances that are looked at again and again: opening one takes a second, and the databases of it anew."""
_opening = threading.Lock()


def watched_instance(settings: Settings) -> dg.DagsterInstance | None:
    """The instance of a home, which stays open in this process; None where no Dagster has run there yet.

    Raises OSError, HomeUnavailable.
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

    Raises OSError, HomeUnavailable.
    """
    with databases_of(settings):
        instance = watched_instance(settings)
        beats = instance.get_daemon_heartbeats() if instance is not None else {}
    return max((beat.timestamp for beat in beats.values()), default=None)
