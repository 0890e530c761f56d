"""Dagster's storages in PostgreSQL, through the driver that they bring.

SQLAlchemy 2.1 takes psycopg for `postgresql://`, and dagster-postgres 0.29 installs psycopg2: without a word on the
driver an address that is right fails with a missing module. Named in the instance file (`instance.POSTGRES_FILE`).

dagster-postgres 0.29 makes a connection for every statement, several an event, and the server a process for each; and
unless it is told to, Dagster stores events one by one. Of a backfill's cell both take ten times as long as all else.
"""

from __future__ import annotations

import logging
import os
import re
import time
import weakref
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

from quant_assets.defs.event_log import take_events_in_batches

_CONNECT_SECONDS = 5

_AGAIN_SECONDS = 60.0


class OpenPostgresEventLog(PostgresEventLogStorage):
    """Dagster's event log with one connection that stays open; others, of threads at the same time, do not."""

    def __init__(self, url: str) -> None:
        # The tables have been made by Dagster's own.
        super().__init__(url, should_autocreate_tables=False)
        # A connection that a restart of the server has ended is made anew.
        self._engine = create_pg_engine(
            url, None, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=-1, pool_pre_ping=True
        )
        log = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _leave_to_the_parent(log()))

    def dispose(self) -> None:
        """Closes what is open."""
        super().dispose()
        self._engine.dispose()


def _leave_to_the_parent(log: OpenPostgresEventLog | None) -> None:
    if log is not None:
        log._engine.dispose(close=False)


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's own, at an address as everybody writes it, with events in batches."""

    def __init__(
        self, url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(url, should_autocreate_tables, inst_data)
        take_events_in_batches()
        self._event_log_storage = OpenPostgresEventLog(url)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> PostgresStorage:
        """The storages that an instance file describes."""
        log = logging.getLogger()
        if not any(isinstance(one, _RetriesInALine) for one in log.filters):
            log.addFilter(_RetriesInALine())
        return cls(
            with_driver(pg_url_from_config(config_value)),
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


class _RetriesInALine(logging.Filter):
    """Of a database that is away Dagster logs four lines at every try; this leaves one, and that once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged; shortens it."""
        text = record.getMessage()
        if not text.startswith("Retrying failed database connection"):
            return True
        record.msg, record.args = text.splitlines()[0], None
        now = time.monotonic()
        if now - self._told.get(record.msg, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        self._told[record.msg] = now
        return True


def with_driver(address: str) -> str:
    """An address of PostgreSQL with the driver in it that dagster-postgres installs (SQLAlchemy takes another one by
    itself), and with an end to waiting for a server that does not answer; what it says of either stays."""
    named = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", address)
    if re.search(r"[?&]connect_timeout=", named):
        return named
    return f"{named}{'&' if '?' in named else '?'}connect_timeout={_CONNECT_SECONDS}"
