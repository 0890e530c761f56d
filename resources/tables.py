"""Tables as Parquet objects: where each one lies, and the facts that ride in its footer.

One object per partition, sorted, zstd, statistics on, row groups of about 16k rows (small enough that one
symbol of a year is a few ranged reads).
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
import polars as pl

from quant_assets.market.bars import content_sha256
from resources.object_store import ObjectDamaged, ObjectStore

CATALOG = "symbol_catalog"
DAILY = "daily_prices"
HISTORY = "price_history"
WEEKLY = "weekly_prices"
PROFILES = "symbol_profiles"
EXCHANGES = "exchange_profiles"

TIME_DIMENSION = {DAILY: "date", HISTORY: "year", WEEKLY: "week"}
"""The tables that are partitioned by exchange and time, and what the time is called."""

_FACTS = "quant_assets"
_ROW_GROUP = 16_384


def object_key(table: str, exchange: str | None = None, partition: str | None = None) -> str:
    """The key of a table's object: `daily_prices/exchange=ASX/date=2024-03-15.parquet`, `symbol_catalog.parquet`."""
    if exchange is None:
        return f"{table}.parquet"
    if partition is None:
        return f"{table}/exchange={exchange}.parquet"
    return f"{table}/exchange={exchange}/{TIME_DIMENSION[table]}={partition}.parquet"


def partition_of(table: str, key: str) -> str | None:
    """The time partition in an object's key ("2024-03-15"), or None when the key is not one of the table's."""
    name = key.rpartition("/")[2]
    start, end = f"{TIME_DIMENSION[table]}=", ".parquet"
    return name[len(start) : -len(end)] if name.startswith(start) and name.endswith(end) else None


def encode(frame: pl.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """A table's Parquet bytes, with `facts` (JSON values) and the hash of the content in the footer."""
    recorded = {**facts, "content_sha256": content_sha256(frame), "rows": frame.height}
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=3,
        statistics=True,
        row_group_size=_ROW_GROUP,
        metadata={_FACTS: orjson.dumps(recorded, option=orjson.OPT_SORT_KEYS).decode()},
    )
    return buffer.getvalue()


def decode(data: bytes, uri: str, *, verify: bool = True) -> pl.DataFrame:
    """The table in Parquet bytes. Raises ObjectDamaged, naming `uri`, when they are not what was written."""
    facts = read_facts(data, uri)
    try:
        frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
    except _READ_ERRORS as error:
        raise _damaged(uri, error) from error
    if verify and content_sha256(frame) != facts.get("content_sha256"):
        raise ObjectDamaged(f"{uri}: the rows are not those that were written. {_REMEDY}")
    return frame


def read_facts(data: bytes, uri: str) -> dict[str, Any]:
    """The facts in a Parquet footer. Raises ObjectDamaged, naming `uri`, when there are none to be read."""
    try:
        value: object = orjson.loads(pl.read_parquet_metadata(io.BytesIO(data))[_FACTS])
    except (*_READ_ERRORS, KeyError, orjson.JSONDecodeError) as error:
        raise _damaged(uri, error) from error
    if not isinstance(value, dict):
        raise _damaged(uri, TypeError("facts are no JSON object"))
    return cast("dict[str, Any]", value)


def read_table(store: ObjectStore, key: str) -> pl.DataFrame:
    """One whole table object. Raises ObjectNotFound, ObjectDamaged, StoreUnavailable."""
    return decode(store.get(key).data, store.uri(key))


_REMEDY = "Remove the object and run the backfill of its partition again"

# Polars panics on some damaged files, and a panic is no Exception.
_READ_ERRORS: tuple[type[BaseException], ...] = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
)


def _damaged(uri: str, error: BaseException) -> ObjectDamaged:
    return ObjectDamaged(f"{uri}: unreadable ({type(error).__name__}: {str(error)[:120]}). {_REMEDY}")


class RangedObject(io.RawIOBase):
    """An object as a seekable file of one version, read in ranges; a replaced object raises ObjectChanged."""

    def __init__(self, store: ObjectStore, key: str, size: int, version: str) -> None:
        super().__init__()
        self._store, self._key, self._size, self._version = store, key, size, version
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        (data,) = self._store.get_ranges(self._key, [(self._position, end - self._position)], self._version)
        self._position += len(data)
        return data


def read_symbols(
    store: ObjectStore, key: str, symbols: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """The rows of some symbols of a table sorted by symbol, and its facts, in few ranged reads of one version.

    None where there is no such object. Raises ObjectChanged when it is replaced meanwhile (read again),
    ObjectDamaged, StoreUnavailable.
    """
    pq: Any = importlib.import_module("pyarrow.parquet")
    info = store.head(key)
    if info is None:
        return None
    wanted = sorted(set(symbols))
    try:
        file = pq.ParquetFile(RangedObject(store, key, info.size, info.version))
        footer: dict[bytes, bytes] = file.schema_arrow.metadata or {}
        facts: dict[str, Any] = orjson.loads(footer[_FACTS.encode()])
        column = file.schema_arrow.get_field_index("symbol")
        groups: list[int] = []
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(column).statistics
            if statistics is None or any(statistics.min <= symbol <= statistics.max for symbol in wanted):
                groups.append(group)
        table = file.read_row_groups(groups)
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(store.uri(key), error) from error
    frame = pl.DataFrame(table)
    return frame.filter(pl.col("symbol").is_in(wanted)), facts
