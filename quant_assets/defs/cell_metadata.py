"""What Dagster shows of a partition: the facts of a cell, and how the numbers are called.

Dagster plots every numeric entry over all partitions of an asset, whatever their exchange, on one axis. A thousand
symbols here and ten there would zig-zag, so every number has its exchange in its name: `rows (ASX)` and `rows (US)`
are two plots. What concerns the whole run (requests, seconds) is on the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import quote

import dagster as dg
import polars as pl

from quant_assets.defs.dagster_internals import provenance_tags
from quant_assets.defs.partition_keys import daily_key
from quant_assets.defs.partitions import DATE, EXCHANGE
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.table_pages import PAGES
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import CATALOG, DAILY, object_key
from quant_assets.tables.manifest import Entry
from quant_assets.tables.quarantine import with_items

ROW_COUNT = "dagster/row_count"
"""What Dagster's overview shows as the row count of a table. Of whole tables only: it would be plotted, too."""

SIZE_BYTES = "dagster/size_bytes"
"""The same for the storage that it takes."""


def by_exchange(exchange: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` with the exchange in the name of every number, so that no plot mixes two exchanges."""

    def name(key: str, value: Any) -> str:
        plain = getattr(value, "value", value)
        number = isinstance(plain, int | float) and not isinstance(plain, bool)
        return f"{key} ({exchange})" if number and exchange else key

    return {name(key, value): value for key, value in metadata.items()}


def object_link(uri: str) -> dg.MetadataValue[Any]:
    """An object's place: a link to Google's console for one in a bucket, else its path."""
    if uri.startswith("gs://"):
        return dg.MetadataValue.url(
            f"https://console.cloud.google.com/storage/browser/_details/{quote(uri[len('gs://') :])}"
        )
    return dg.MetadataValue.path(uri)


def cell_state(entry: Entry) -> str:
    """The state of a cell in a few words: `complete`, `partial: 498 of 500 symbols`, `closed: …`."""
    if entry.state is CellState.PARTIAL:
        return f"partial: {entry.received} of {entry.expected} symbols"
    return f"{entry.state.value}: {entry.reason}" if entry.reason else entry.state.value


def cell_metadata(store: ObjectStore, report: FillReport, day: date, entry: Entry) -> dict[str, Any]:
    """What the UI shows of a cell of `daily_prices`. A closed cell has no numbers: it would draw plots down to 0."""
    metadata: dict[str, Any] = {"state": entry.state.value}
    if entry.state is not CellState.CLOSED:
        metadata |= {
            "rows": entry.rows,
            "expected_symbols": entry.expected,
            "received_symbols": entry.received,
            "bytes": entry.size,
        }
    if entry.version:
        uri = store.uri(object_key(DAILY, report.exchange, day.isoformat()))
        metadata |= {"object": object_link(uri), "sha256": entry.content_sha256}
    if entry.reason:
        metadata["reason"] = entry.reason
    # Of most runs there are none, and to look for those of each cell would take most of the time that this takes.
    restated = report.restatements
    if not restated.is_empty():
        restated = restated.filter(pl.col("date") == day)
    if not restated.is_empty():
        metadata["restatements"] = dg.MetadataValue.md(markdown_table(restated.drop("run")))
    if entry.missing:
        missing = pl.DataFrame(
            [(m.symbol, m.outcome, m.reason) for m in entry.missing],
            schema=["symbol", "outcome", "reason"],
            orient="row",
        )
        metadata["missing_symbols"] = dg.MetadataValue.md(markdown_table(missing))
    held = report.waiting
    if not held.is_empty():
        held = held.filter(pl.col("date") == day)
    if not held.is_empty():
        table = with_items(held).select(
            "symbol", "scope", "kind", "rule", "item", "claims", since=pl.col("fetched_at").dt.date()
        )
        metadata["held_symbols"] = dg.MetadataValue.md(markdown_table(table))
    return by_exchange(report.exchange, metadata)


def inventory_metadata(inventory: pl.DataFrame) -> dict[str, Any]:
    """What the overview of a partitioned table shows of the whole of it.

    Args:
        inventory: exchange, rows, bytes; one row per exchange.
    """
    metadata = {ROW_COUNT: int(inventory["rows"].sum()), SIZE_BYTES: int(inventory["bytes"].sum())}
    for exchange, rows, size in inventory.select("exchange", "rows", "bytes").iter_rows():
        # Not `rows`, which is that of a cell and has a plot of its own.
        metadata |= by_exchange(exchange, {"stored rows": rows, "stored bytes": size})
    return metadata


def cell_materialization(
    store: ObjectStore,
    report: FillReport,
    day: date,
    entry: Entry,
    provenance: Mapping[str, str],
    checks: str = "",
) -> dg.AssetMaterialization:
    """The event that records a cell; `checks` says in a line what the checks found.

    Its data version is the hash of the rows: the same rows are no new version. `provenance`: the tags of `made_by`.
    """
    metadata = cell_metadata(store, report, day, entry)
    return dg.AssetMaterialization(
        DAILY,
        description=cell_state(entry),
        metadata=metadata | {"checks": checks} if checks else metadata,
        partition=daily_key(report.exchange, day),
        tags={
            f"dagster/partition/{EXCHANGE}": report.exchange,
            f"dagster/partition/{DATE}": day.isoformat(),
            **data_version(entry),
            **provenance,
        },
    )


def made_by(instance: dg.DagsterInstance) -> dict[str, str]:
    """The tags that say by which code and from which catalog the cells of a run are made."""
    return provenance_tags(instance, PAGES[DAILY].code_version, dg.AssetKey(CATALOG))


def data_version(entry: Entry) -> dict[str, str]:
    """The tag by which Dagster knows that two materializations hold the same rows."""
    return {"dagster/data_version": entry.content_sha256[:16] or entry.state.value}
