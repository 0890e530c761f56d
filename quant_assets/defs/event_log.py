"""Dagster's SQLite databases with connections that stay open, and a batch of events in one transaction.

Dagster 1.13.27 opens and closes up to four connections an event, and each close writes the database's log back and
waits for the disk: several milliseconds for every cell of a backfill. Databases, schema and reads are Dagster's own:
a folder that was begun with one storage goes on with the other. An event that was stored survives a kill of its
process at any moment; a power failure may take the last of them (`synchronous=NORMAL`), and the cells are the truth.

Named in the instance file (`instance.INSTANCE_FILE`), which gives the folder as DAGSTER_HOME.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.event import listen
from sqlalchemy.pool import NullPool, QueuePool

_RUNS_OPEN = 16
"""Databases of runs whose connection is kept: a process works on few runs at a time, and looks at many."""


_WAIT = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
_BATCH = "500"
"""Events that Dagster hands over at once, where nothing else is configured."""


class OpenEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log in SQLite, with one open connection for each database that is in use."""

    _empty: ClassVar[bytes | None] = None
    """The database of a run without events, once this process has made one."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, tuple[Engine, int]] = OrderedDict()
        self._process = os.getpid()
        self._tables: set[str] = set()
        self._has_index_columns = False
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: SqliteStorageConfig
    ) -> OpenEventLogStorage:
        """The storage that an instance file describes."""
        return cls(inst_data=inst_data, **config_value)

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        """The database of a run, or the index, made if need be. Another process may have removed it meanwhile."""
        if self._process != os.getpid():
            # SQLite's connections and locks do not survive a fork, and must not be closed by the child.
            for engine, _ in self._engines.values():
                engine.dispose(close=False)
            self._engines.clear()
            self._process = os.getpid()
        path = Path(self.path_for_shard(shard))
        known = self._engines.get(shard)
        if known is not None:
            if _inode(path) == known[1]:
                self._engines.move_to_end(shard)
                return known[0]
            self._forget(shard)
        where = self.conn_string_for_shard(shard)
        if _inode(path) is None and shard != INDEX_SHARD_NAME:
            self._begin(path)
        elif shard not in self._initialized_dbs or _inode(path) is None:
            self._initdb(create_engine(where, poolclass=NullPool, connect_args=_WAIT))
        self._initialized_dbs.add(shard)
        engine = create_engine(
            where,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={**_WAIT, "check_same_thread": False},
        )
        listen(engine, "connect", _without_waiting_for_the_disk)
        self._engines[shard] = engine, _inode(path) or 0
        if len(self._engines) > _RUNS_OPEN:
            self._forget(next(name for name in self._engines if name != INDEX_SHARD_NAME))
        return engine

    def _begin(self, path: Path) -> None:
        """Makes a run's database: Dagster takes 40 ms for its tables, a copy of empty ones takes one."""
        if OpenEventLogStorage._empty is None:
            with tempfile.TemporaryDirectory() as folder:
                empty = Path(folder, "empty.db")
                self._initdb(create_engine(f"sqlite:///{empty}", poolclass=NullPool))
                OpenEventLogStorage._empty = empty.read_bytes()
        copy = path.with_name(f"{path.name}.{uuid.uuid4()}")
        copy.write_bytes(OpenEventLogStorage._empty)
        try:
            # Whole at once, and not in the place of one that another process has made meanwhile.
            os.link(copy, path)
        except FileExistsError:
            pass
        except OSError:
            # A file system without hard links.
            self._initdb(create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args=_WAIT))
        finally:
            copy.unlink()

    def _forget(self, shard: str) -> None:
        self._engines.pop(shard)[0].dispose()

    def _close(self) -> None:
        with self._db_lock:
            for shard in list(self._engines):
                self._forget(shard)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores events in their order, those of assets of one run in one transaction of each database."""
        for (run, of_assets), group in groupby(events, lambda one: (one.run_id, _is_of_asset(one))):
            if of_assets:
                self._store_asset_events(run, list(group))
            else:
                for one in group:
                    self.store_event(one)

    def _store_asset_events(self, run: str, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(one) for one in events]
        with self.run_connection(run) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        # What Dagster's store_event puts into the index, event by event.
        with self.index_transaction() as connection:
            # SQLite numbers rows one by one, and from the first on nobody else can write.
            first = connection.execute(SqlEventLogStorageTable.insert(), rows[0]).inserted_primary_key
            assert first is not None
            if rows[1:]:
                connection.execute(SqlEventLogStorageTable.insert(), rows[1:])
            ids = list(range(first[0], first[0] + len(rows)))
            self._store_asset_event_tags(connection, events, ids)
            # An asset's own row holds its latest event of each type.
            latest = {
                (one.get_dagster_event().asset_key, one.dagster_event_type): n for n, one in enumerate(events)
            }
            for number in sorted(latest.values()):
                self._store_asset_event(connection, events[number], ids[number])

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table: asked for every event, and a table never goes away."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        if not self._has_index_columns:
            self._has_index_columns = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Raises DagsterInvariantViolationError where DAGSTER_HOME names another folder than the instance's own."""
        home = Path(self._base_dir).parents[1]
        if Path(instance.root_directory).resolve() != home.resolve():
            raise dg.DagsterInvariantViolationError(
                f"DAGSTER_HOME is {home}, and the instance lies in {instance.root_directory}: set "
                "DAGSTER_HOME to the folder of its dagster.yaml"
            )
        super().register_instance(instance)

    def wipe(self) -> None:
        """Removes all runs' databases and empties the index."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Closes what is open."""
        super().dispose()
        self._close()


class OpenSqliteStorage(DagsterSqliteStorage):
    """Dagster's three storages in one folder, of which the event log keeps its connections."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        take_events_in_batches()
        made = self._event_log_storage
        self._event_log_storage = OpenEventLogStorage(made._base_dir)
        made.dispose()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig) -> Self:
        """The storage that an instance file describes."""
        return cls.from_local(inst_data=inst_data, **config_value)


def take_events_in_batches() -> None:
    """Has Dagster hand over events in batches in this process, unless the environment says how many."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _BATCH)


def _is_of_asset(entry: EventLogEntry) -> bool:
    return entry.is_dagster_event and entry.dagster_event_type in ASSET_EVENTS


def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
