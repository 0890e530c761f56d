"""Tables in and out of Dagster: one Parquet object per partition, a single partition or a range on both sides."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self, cast

import dagster as dg
import polars as pl

from quant_assets.defs.cell_metadata import ROW_COUNT, by_exchange, object_link
from quant_assets.defs.dagster_internals import add_metadata_of_partitions
from quant_assets.defs.partition_keys import split_key
from quant_assets.market.bars import content_sha256
from quant_assets.market.coverage import CellState
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import (
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    get_many,
    put_reconciled,
)
from quant_assets.tables.layout import HISTORY, object_key, table_of
from quant_assets.tables.manifest import Entry, Manifest, entry_in, stamped
from quant_assets.tables.parquet import decode, encode
from quant_assets.words import number_of

_WRITERS = 8
_ROWS = 500_000
"""How many rows may be on their way to the store: years are long, weeks are short."""
_BATCH = 100
"""Partitions between two records: each is a put of the whole year's entries."""


@dataclass(frozen=True, slots=True)
class TableOutput:
    """One partition of a table on its way to the store.

    Without a `frame` nothing is put: the object stands as it should (`complete`, `partial`), there is nothing to
    store (`closed`), or there is nothing to make it from (`failed`, with a `reason`): that partition is not
    materialized and the run fails once the others are done. `inputs_sha256` is what a later run compares to know
    that nothing has changed, `facts` ride in the footer, `metadata` is shown with the materialization.
    """

    frame: pl.DataFrame | None
    state: CellState = CellState.COMPLETE
    reason: str = ""
    inputs_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


class PartitionOutputs:
    """(partition key, TableOutput) pairs of a range, made one at a time while they are written.

    A class of its own because Dagster takes a returned generator for a stream of events.
    """

    def __init__(self, pairs: Iterable[tuple[str, TableOutput]]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, TableOutput]]:
        return iter(self._pairs)


class PartitionFrames(Mapping[str, pl.DataFrame]):
    """The partitions of an input by key, each read when it is asked for; partitions without an object are absent."""

    def __init__(self, store: ObjectStore, keys: Mapping[str, str]) -> None:
        self._store = store
        self._keys = dict(keys)

    def __getitem__(self, partition: str) -> pl.DataFrame:
        key = self._keys[partition]
        try:
            return decode(self._store.get(key).data, self._store.uri(key))
        except ObjectNotFound as error:
            raise KeyError(partition) from error

    def many(self, partitions: Sequence[str]) -> pl.DataFrame:
        """The rows of several partitions, read at once; they must be there. Raises KeyError, ObjectDamaged."""
        frames: list[pl.DataFrame] = []
        for key, blob in get_many(self._store, [self._keys[partition] for partition in partitions]):
            if isinstance(blob, ObjectNotFound):
                raise KeyError(key) from blob
            if isinstance(blob, ObjectStoreError):
                raise blob
            frames.append(decode(blob.data, self._store.uri(key)))
        return pl.concat(frames)

    def __iter__(self) -> Iterator[str]:
        return (partition for partition, key in self._keys.items() if self._store.head(key) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ParquetIOManager(dg.ConfigurableIOManager):
    """Writes what an asset returns and reads what the next one takes, through the object store.

    Output: a frame or a TableOutput for one partition (or an unpartitioned table); for a range, a mapping or an
    iterable of (partition key, frame or TableOutput), taken one at a time. An object whose content would not change
    is not put. Input: a frame for an argument annotated `pl.DataFrame`, else `PartitionFrames`.
    """

    store: StoreResource

    def handle_output(self, context: dg.OutputContext, obj: Any) -> Iterator[dg.DagsterEvent]:  # type: ignore[override]
        table = context.asset_key.path[-1]
        store = self.store.open()
        if not context.has_asset_partitions:
            _, metadata = _write(store, table, None, None, _output(obj))
            context.add_output_metadata(metadata)  # pyright: ignore[reportUnknownMemberType]
            return
        keys = list(context.asset_partition_keys)
        single = isinstance(obj, pl.DataFrame | TableOutput)
        if single and len(keys) != 1:
            raise dg.DagsterInvariantViolationError(
                f"{table}: one frame for {len(keys)} partitions; return (partition key, frame) pairs"
            )
        pairs = cast(
            "Iterable[tuple[str, object]]",
            [(keys[0], obj)] if single else obj.items() if isinstance(obj, Mapping) else obj,
        )
        with _Writers(store, table) as writers:
            for key, value in pairs:
                if key not in keys:
                    raise dg.DagsterInvariantViolationError(f"{table}: {key} is no partition of this run")
                writers.take(key, _output(value))
        done, failed = writers.done, writers.failed
        if not failed:
            add_metadata_of_partitions(context.step_context, context.asset_key, done)
            return
        # A failed step marks none of its partitions by itself, and those that are done must not be done again.
        for key, metadata in done.items():
            event = dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)
            yield dg.DagsterEvent.asset_materialization(context.step_context, event)
        raise dg.Failure(failure_text(table, failed), allow_retries=False)

    def load_input(self, context: dg.InputContext) -> Any:
        table = context.asset_key.path[-1]
        store = self.store.open()
        if not context.has_asset_partitions:
            return self._read_one(store, table, object_key(table))
        keys = {key: object_key(table, *split_key(table, key)) for key in context.asset_partition_keys}
        if context.dagster_type.typing_type is pl.DataFrame:
            if len(keys) != 1:
                raise dg.DagsterInvariantViolationError(
                    f"{table}: {len(keys)} partitions for one frame; annotate the input as a Mapping"
                )
            return self._read_one(store, table, next(iter(keys.values())))
        return PartitionFrames(store, keys)

    def _read_one(self, store: ObjectStore, table: str, key: str) -> pl.DataFrame:
        try:
            return decode(store.get(key).data, store.uri(key))
        except ObjectNotFound as error:
            raise dg.Failure(
                f"{table} is not there yet ({store.uri(key)}): materialize {table} first", allow_retries=False
            ) from error


def failure_text(table: str, failed: Mapping[str, str]) -> str:
    """One line for partitions that could not be made: how many, and the first few with their reasons."""
    few = "; ".join(f"{key}: {reason}" for key, reason in list(failed.items())[:5])
    more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
    return f"{table}: {number_of(len(failed), 'partition')} failed: {few}{more}"


def _output(value: object) -> TableOutput:
    if isinstance(value, TableOutput):
        return value
    if isinstance(value, pl.DataFrame):
        return TableOutput(value)
    raise dg.DagsterInvariantViolationError(f"a table is a polars DataFrame, not a {type(value).__name__}")


class _Writers:
    """Writes the partitions of a table, several at once, and tells the manifest of them in batches.

    Whatever goes wrong with one partition or with the making of the next, those on their way are written and recorded
    before the error is raised. An object that cannot be written or read as it stands fails its own partition alone.
    """

    def __init__(self, store: ObjectStore, table: str) -> None:
        self._store, self._table = store, table
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="tables")
        self._under_way: deque[tuple[str, int, Future[tuple[Entry, dict[str, Any]]]]] = deque()
        self._rows = 0
        self._unrecorded: dict[str, list[Entry]] = {}
        self._years: dict[tuple[str, int], dict[str, Entry]] = {}
        self._error: Exception | None = None
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        while self._under_way:
            self._settle()
        self._pool.shutdown()
        self._record()
        if self._error is not None and kind is None:
            raise self._error

    def take(self, key: str, output: TableOutput) -> None:
        """Begins to write one partition. Raises StoreUnavailable when the store cannot be used."""
        if output.state is CellState.FAILED:
            self.failed[key] = output.reason
            return
        rows = 0 if output.frame is None else output.frame.height
        exchange, partition = split_key(self._table, key)
        known = None if partition is None else self._recorded(exchange, partition)
        future = self._pool.submit(_write, self._store, self._table, exchange, partition, output, known)
        self._under_way.append((key, rows, future))
        self._rows += rows
        while len(self._under_way) > 2 * _WRITERS or (self._rows > _ROWS and len(self._under_way) > 1):
            self._settle()
        if sum(map(len, self._unrecorded.values())) >= _BATCH:
            self._record()
        if self._error is not None:
            raise self._error

    def _recorded(self, exchange: str, partition: str) -> Entry:
        """What the manifest records of a partition; an entry without an object where it records none."""
        year = int(partition[:4])
        if (exchange, year) not in self._years:
            self._years[exchange, year] = Manifest(self._store, self._table).year(exchange, year)
        return self._years[exchange, year].get(partition, Entry(partition, CellState.FAILED))

    def _settle(self) -> None:
        key, rows, future = self._under_way.popleft()
        self._rows -= rows
        try:
            entry, self.done[key] = future.result()
        except (ObjectChanged, ObjectDamaged, ObjectNotFound) as error:
            self.failed[key] = str(error)
        except Exception as error:  # noqa: BLE001 - raised once the others are recorded
            self._error = self._error or error
        else:
            exchange, partition = split_key(self._table, key)
            if partition is not None and entry.version:
                # Also when nothing was put: a run killed between the two left the object unrecorded.
                self._unrecorded.setdefault(exchange, []).append(entry)

    def _record(self) -> None:
        for exchange, entries in self._unrecorded.items():
            Manifest(self._store, self._table).record(exchange, entries)
        self._unrecorded = {}


def _write(
    store: ObjectStore,
    table: str,
    exchange: str | None,
    partition: str | None,
    output: TableOutput,
    known: Entry | None = None,
) -> tuple[Entry, dict[str, Any]]:
    key = object_key(table, exchange, partition)
    name = partition or exchange or table
    put = False
    if output.frame is not None:
        entry, put = _put(store, key, output, output.frame, (name, known))
    elif output.state is CellState.CLOSED:
        entry = Entry(name, CellState.CLOSED, reason=output.reason)
    else:
        blob = store.get(key)
        entry = entry_in(blob, store.uri(key))
    metadata = {
        "state": entry.state.value,
        "rows" if exchange else ROW_COUNT: entry.rows,
        "bytes": entry.size,
        "sha256": entry.content_sha256,
        "object": object_link(store.uri(key)),
        "written": put,
        **output.metadata,
    }
    return entry, by_exchange(exchange, metadata)


def _put(
    store: ObjectStore, key: str, output: TableOutput, frame: pl.DataFrame, given: tuple[str, Entry | None]
) -> tuple[Entry, bool]:
    """Puts a partition unless it would not change; `given` is its name, and what is recorded of it, if it can be."""
    name, known = given
    entry = stamped(
        Entry(
            partition=name,
            state=output.state,
            rows=frame.height,
            content_sha256=content_sha256(frame),
            inputs_sha256=output.inputs_sha256,
        ),
        datetime.now(UTC),
    )
    stored: Entry | None = None
    by_symbol = table_of(key) == HISTORY

    def decide(present: Blob | None) -> bytes | None:
        nonlocal stored
        if present is not None:
            # What is damaged can be made anew from the cells, so it is simply replaced.
            with contextlib.suppress(ObjectDamaged):
                stored = entry_in(present, store.uri(key))
                if _identity(stored) == _identity(entry):
                    return None
        return encode(frame, {**entry.facts(), **output.facts}, by_symbol=by_symbol)

    info = None
    if known is not None and _identity(known) != _identity(entry):
        # What is recorded differs, so nothing has to be read, unless somebody has replaced the object meanwhile.
        with contextlib.suppress(ObjectChanged):
            data = encode(frame, {**entry.facts(), **output.facts}, by_symbol=by_symbol)
            info = store.put(key, data, if_version=known.version)
    if info is None:
        info = put_reconciled(store, key, decide)
    if info is None:
        assert stored is not None
        return stored, False
    return replace(entry, size=info.size, version=info.version), True


def _identity(entry: Entry) -> tuple[str, str, CellState]:
    return entry.content_sha256, entry.inputs_sha256, entry.state
