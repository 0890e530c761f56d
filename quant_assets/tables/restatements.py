"""The ledger of restatements: what changed in the tables after it was stored, why, and what stood there before.

Two kinds of objects, both per exchange and year of detection, both only ever added to:

* `restatements/exchange=…/year=….parquet` (LEDGER_SCHEMA): one restatement a row.
* `replaced_rows/exchange=…/year=….parquet` (REPLACED_SCHEMA): every row that was replaced, whole, as it stood.

They are written before the cells change, the rows first. With them a read can tell what was known at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.restatements import RESTATEMENTS_SCHEMA
from quant_assets.resources.object_store import Blob, ObjectStore, put_reconciled
from quant_assets.tables.layout import REPLACED, RESTATEMENTS, ledger_key, ledger_prefix, year_of
from quant_assets.tables.parquet import decode, encode, read_table

LEDGER_SCHEMA = pl.Schema(
    {**RESTATEMENTS_SCHEMA, "detected_at": pl.Datetime("us", "UTC"), "run": pl.String()}
)
"""`detected_at`: when the new value became known, the `fetched_at` of the rows that hold it."""

REPLACED_SCHEMA = pl.Schema({**DAILY_SCHEMA, "replaced_at": pl.Datetime("us", "UTC")})
"""A row as it stood until `replaced_at`."""

_IMAGE = ("symbol", "date", "fetched_at")
_EVENT = ("symbol", "date", "field")


class Ledger:
    """The restatements of one exchange. Methods raise ObjectDamaged (naming the object) and StoreUnavailable."""

    def __init__(self, store: ObjectStore, exchange: str) -> None:
        self._store = store
        self._exchange = exchange

    def restatements(self) -> pl.DataFrame:
        """All of them (LEDGER_SCHEMA), oldest first."""
        return self._read(RESTATEMENTS, LEDGER_SCHEMA).sort("detected_at", maintain_order=True)

    def replaced_after(self, moment: datetime) -> pl.DataFrame:
        """Every row that stood at `moment` and was replaced later (REPLACED_SCHEMA), one a symbol and date."""
        rows = self._read(REPLACED, REPLACED_SCHEMA, since=moment.year)
        later = rows.filter(pl.col("replaced_at") > moment).sort("replaced_at", "fetched_at")
        return later.unique(["symbol", "date"], keep="first", maintain_order=True)

    def record(self, events: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, run: str) -> pl.DataFrame:
        """Adds restatements and the rows they replace, before the cells change.

        Args:
            events: RESTATEMENTS_SCHEMA with `detected_at`.
            old, new: DAILY_SCHEMA, row by row: what is replaced by what.
            run: the id of the run that found it.

        Returns:
            `new`, with the moments under which the ledger knows them: what a killed run recorded, and did not get to
            change, is not recorded a second time.
        """
        if old.is_empty() and events.is_empty():
            return new
        images = old.with_columns(replaced_at=new["fetched_at"]).select(list(REPLACED_SCHEMA))
        known = self._images()
        recorded = self.restatements()
        unrecorded = _unrecorded(events.with_columns(run=pl.lit(run)), recorded)
        # A killed run recorded what was to come of these rows, and by now the source says something else again: what
        # stands has stood until now.
        anew = images.join(known, on=_IMAGE, how="semi").join(
            _overtaken(unrecorded, recorded), on="symbol", how="semi"
        )
        for rows, key in (
            (images.join(known, on=_IMAGE, how="anti"), _IMAGE),
            (anew, (*_IMAGE, "replaced_at")),
        ):
            self._append(REPLACED, rows, "replaced_at", partial(_without, key=key))
        self._append(RESTATEMENTS, unrecorded, "detected_at", _unrecorded)
        # Read again: another run may have recorded the same meanwhile, and its moment is the one that counts.
        before = images.join(
            self._images().select(*_IMAGE, _at="replaced_at"), on=_IMAGE, how="left", maintain_order="left"
        )
        return new.with_columns(fetched_at=pl.coalesce(before["_at"], new["fetched_at"]))

    def _images(self) -> pl.DataFrame:
        """The rows that were replaced (REPLACED_SCHEMA), each with the last moment until which it stood."""
        rows = self._read(REPLACED, REPLACED_SCHEMA).sort("replaced_at", maintain_order=True)
        return rows.unique(_IMAGE, keep="last", maintain_order=True)

    def _append(
        self,
        table: str,
        rows: pl.DataFrame,
        moment: str,
        news: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
    ) -> None:
        """Adds those of `rows` that are `news(rows, standing)` at that moment, by the year of `moment`."""
        for (year,), part in rows.group_by(pl.col(moment).dt.year(), maintain_order=True):
            where = ledger_key(table, self._exchange, year)
            put_reconciled(self._store, where, self._added(where, part, news))

    def _added(
        self, where: str, rows: pl.DataFrame, news: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
    ) -> Callable[[Blob | None], bytes | None]:
        def decide(present: Blob | None) -> bytes | None:
            if present is None:
                return encode(rows, {})
            stored = decode(present.data, self._store.uri(where))
            added = news(rows, stored)
            return None if added.is_empty() else encode(pl.concat([stored, added.select(stored.columns)]), {})

        return decide

    def _read(self, table: str, schema: pl.Schema, since: int = 0) -> pl.DataFrame:
        frames = [pl.DataFrame(schema=schema), *self._shards(table, since)]
        return pl.concat([frame.select(list(schema)) for frame in frames])

    def _shards(self, table: str, since: int) -> Iterator[pl.DataFrame]:
        for info in self._store.list(ledger_prefix(table, self._exchange)):
            year = year_of(info.key)
            if year is not None and year >= since:
                yield read_table(self._store, info.key)


def _without(rows: pl.DataFrame, stored: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    return rows.join(stored, on=key, how="anti", nulls_equal=True)


def _with_last(events: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """`events` beside the last thing that `standing` says of their value: `_old` and `_new`."""
    ordered = stored.sort("detected_at", maintain_order=True)
    last = ordered.group_by(_EVENT).agg(_old=pl.col("old").last(), _new=pl.col("new").last())
    return events.join(last, on=_EVENT, how="left", nulls_equal=True, maintain_order="left")


def _unrecorded(events: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Those that are not the last thing `standing` says of their value: that one is only waiting for its cell."""
    recorded = (
        pl.col("old").eq_missing(pl.col("_old"))
        & pl.col("new").eq_missing(pl.col("_new"))
        & pl.col("_new").is_not_null()
    )
    return _with_last(events, stored).filter(~recorded.fill_null(False)).drop("_old", "_new")


def _overtaken(events: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Those of whose value `standing` last says that something else was to come of it."""
    other = pl.col("old").eq_missing(pl.col("_old")) & pl.col("new").ne_missing(pl.col("_new"))
    return _with_last(events, stored).filter(other, pl.col("_new").is_not_null())
