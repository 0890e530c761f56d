"""The quarantine: bars that break a rule, kept with everything that is known of them until somebody decides.

One object per exchange, `quarantine/exchange=….parquet` (QUARANTINE_SCHEMA). A decision is kept: an accepted bar is
stored and never held back again, a rejected one stays out, and neither comes up a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import StrEnum

import orjson
import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.market.bars import DAILY_SCHEMA, KEYS, VALUES
from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import quarantine_key
from quant_assets.tables.parquet import decode, encode


class Decision(StrEnum):
    """What has become of a bar."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """The source gave a bar that keeps the rules, before anybody decided."""


QUARANTINE_SCHEMA = pl.Schema(
    {
        "id": pl.String(),
        "decision": pl.String(),
        "rule": pl.String(),
        **DAILY_SCHEMA,
        "scale": pl.Float64(),
        "facts": pl.String(),
        "run": pl.String(),
        "decided_at": pl.Datetime("us", "UTC"),
        "note": pl.String(),
    }
)
"""A bar's values as traded (`fetched_at`: when it was first given), the `rule` it breaks in words, the `scale` S(t)
its served numbers were multiplied by, the raw `facts` of the answer (JSON), and the decision."""


class QuarantineError(QuantAssetsError, ValueError):
    """A decision that cannot be taken; the message names the bar and the remedy."""


def read_quarantine(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """All bars ever held back (QUARANTINE_SCHEMA), by symbol and date. Raises ObjectDamaged, StoreUnavailable."""
    key = quarantine_key(exchange)
    try:
        return decode(store.get(key).data, store.uri(key))
    except ObjectNotFound:
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)


def hold(
    store: ObjectStore,
    exchange: str,
    refused: pl.DataFrame,
    facts: Mapping[str, Mapping[str, object]],
    run: str,
) -> int:
    """Adds refused rows (ANSWER_SCHEMA and `rule`) that are not held yet; answers how many were new.

    The same values of the same bar are held once, whatever was decided about them.
    """
    if refused.is_empty():
        return 0
    encoded = {symbol: orjson.dumps(dict(values), default=str).decode() for symbol, values in facts.items()}
    rows = refused.with_columns(
        id=pl.Series(_ids(exchange, refused), dtype=pl.String),
        decision=pl.lit(Decision.PENDING.value),
        facts=pl.col("symbol").replace_strict(encoded, default="{}", return_dtype=pl.String),
        run=pl.lit(run),
        decided_at=pl.lit(None, QUARANTINE_SCHEMA["decided_at"]),
        note=pl.lit(""),
    ).select(list(QUARANTINE_SCHEMA))
    added = 0

    def decide(present: Blob | None) -> bytes | None:
        nonlocal added
        stored = _stored(store, exchange, present)
        news = rows.unique("id", keep="first", maintain_order=True).join(stored, on="id", how="anti")
        added = news.height
        return encode(pl.concat([stored, news]).sort(*KEYS, "id"), {}) if added else None

    put_reconciled(store, quarantine_key(exchange), decide)
    return added


def mark(
    store: ObjectStore, exchange: str, ids: Collection[str], decision: Decision, now: datetime, note: str = ""
) -> None:
    """Keeps a decision about some bars. One that somebody has taken meanwhile is not superseded."""
    if ids:
        put_reconciled(store, quarantine_key(exchange), _marking(store, exchange, ids, decision, now, note))


def _marking(
    store: ObjectStore, exchange: str, ids: Collection[str], decision: Decision, now: datetime, note: str
) -> Callable[[Blob | None], bytes | None]:
    def decide(present: Blob | None) -> bytes | None:
        stored = _stored(store, exchange, present)
        these = pl.col("id").is_in(sorted(ids)) & (pl.col("decision") != decision.value)
        if decision is Decision.SUPERSEDED:
            # A run knows what was pending when it began, and that was a long fetch ago.
            these &= pl.col("decision") == Decision.PENDING.value
        if stored.filter(these).is_empty():
            return None
        return encode(
            stored.with_columns(
                pl.when(these).then(pl.lit(decision.value)).otherwise("decision").alias("decision"),
                pl.when(these).then(pl.lit(now)).otherwise("decided_at").cast(QUARANTINE_SCHEMA["decided_at"]).alias("decided_at"),
                pl.when(these).then(pl.lit(note)).otherwise("note").alias("note"),
            ),
            {},
        )  # fmt: skip

    return decide


def superseded(quarantine: pl.DataFrame, rows: pl.DataFrame) -> list[str]:
    """The ids of pending bars that are no longer needed, now that `rows` (DAILY_SCHEMA) are stored."""
    pending = quarantine.filter(pl.col("decision") == Decision.PENDING.value)
    return pending.join(rows.filter(pl.col("close").is_not_null()), on=KEYS, how="semi")["id"].to_list()


def _stored(store: ObjectStore, exchange: str, present: Blob | None) -> pl.DataFrame:
    if present is None:
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)
    return decode(present.data, store.uri(quarantine_key(exchange)))


def _ids(exchange: str, rows: pl.DataFrame) -> list[str]:
    return [
        hashlib.sha256("|".join([exchange, *map(str, row)]).encode()).hexdigest()[:12]
        for row in rows.select(*KEYS, *VALUES).iter_rows()
    ]
