"""The quarantine: what is in doubt, kept with everything that is known of it until the source or somebody settles it.

One object per exchange, `quarantine/exchange=….parquet` (QUARANTINE_SCHEMA). A row is one claim about one session: a
bar, an action, or a part of an answer that is held as a whole. A decision is kept: what was accepted is stored and
never held back again, what was rejected stays out, and neither comes up a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import orjson
import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.market.bars import DAILY_SCHEMA, KEYS, VALUES
from quant_assets.market.claims import RULE, Scope, same_claims
from quant_assets.resources.object_store import Blob, ObjectNotFound, ObjectStore, put_reconciled
from quant_assets.tables.layout import quarantine_key
from quant_assets.tables.parquet import decode, encode


class Decision(StrEnum):
    """What has become of a claim."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """The source gave something else that is stored, before anybody decided."""


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
        "scope": pl.String(),
        "kind": pl.String(),
        "witnesses": pl.String(),
        "answer": pl.String(),
        "claims": pl.Int32(),
        "last_claimed": pl.Date(),
    }
)
"""A claim's values as traded (`fetched_at`: when it was first made), the `rule` it breaks in words, the `scale` S(t)
its served numbers were multiplied by, the raw `facts` of the answer (JSON), and the decision.

`scope`: how much is in doubt (`Scope`). `kind`: the code of what is wrong. `witnesses`: what speaks for and against
it, in words. `answer`: the id that the rows of one held answer share, empty for other scopes. `claims`: on how many
different days (UTC) the same values were claimed; `last_claimed`: the last of them.
"""

_DEFAULTS: Mapping[str, object] = {
    "scope": Scope.ROW.value, "kind": RULE, "witnesses": "", "answer": "", "claims": 1, "flags": "",
}  # fmt: skip
"""What the columns say of rows that were held before there were such columns."""


class QuarantineError(QuantAssetsError, ValueError):
    """A decision that cannot be taken; the message names the claim and the remedy."""


@dataclass(frozen=True, slots=True)
class Held:
    """What `hold` did: how many claims are `new`, and the `ids` of all pending ones that were made."""

    new: int = 0
    ids: frozenset[str] = frozenset()


def read_quarantine(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """All claims ever held back (QUARANTINE_SCHEMA), by symbol and date. Raises ObjectDamaged, StoreUnavailable."""
    key = quarantine_key(exchange)
    try:
        return upgraded(decode(store.get(key).data, store.uri(key)))
    except ObjectNotFound:
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)


def claims(store: ObjectStore, exchange: str) -> pl.DataFrame:
    """The pending claims (QUARANTINE_SCHEMA), by symbol and date. Raises ObjectDamaged, StoreUnavailable."""
    return pending(read_quarantine(store, exchange))


def pending(quarantine: pl.DataFrame) -> pl.DataFrame:
    """The claims that nothing has settled yet."""
    return quarantine.filter(pl.col("decision") == Decision.PENDING.value)


def held_sessions(quarantine: pl.DataFrame, today: date) -> dict[str, set[date]]:
    """By symbol, the dates of pending claims that are to be asked about again on `today` (UTC).

    A bar that breaks a rule is asked about once a day; what is in doubt for another reason, by every run.
    """
    asked_today = (pl.col("kind") == RULE) & (pl.col("last_claimed") >= today).fill_null(value=False)
    found: dict[str, set[date]] = {}
    for symbol, day in pending(quarantine).filter(~asked_today).select(KEYS).iter_rows():
        found.setdefault(symbol, set()).add(day)
    return found


def hold(
    store: ObjectStore,
    exchange: str,
    held: pl.DataFrame,
    facts: Mapping[str, Mapping[str, object]],
    run: str,
    today: date,
) -> Held:
    """Adds what is held, and counts what is pending already and claimed again, once a day.

    Values that are equal at the precision of what was served are the same claim. A claim that somebody has decided
    about is not held again; one that was superseded waits anew.

    Args:
        held: ANSWER_SCHEMA and `rule`, in words; where given `scope`, `kind`, `witnesses` (else a row that breaks a
            rule). The rows of a symbol with scope "answer" are one answer.
        facts: by symbol, the raw facts of its answer.
        today: the day (UTC) on which it is claimed.

    Raises ObjectDamaged, StoreUnavailable.
    """
    if held.is_empty():
        return Held()
    encoded = {symbol: orjson.dumps(dict(values), default=str).decode() for symbol, values in facts.items()}
    rows = held.with_columns(
        pl.lit(value).alias(name) for name, value in _DEFAULTS.items() if name not in held.columns
    ).with_columns(
        decision=pl.lit(Decision.PENDING.value),
        facts=pl.col("symbol").replace_strict(encoded, default="{}", return_dtype=pl.String),
        run=pl.lit(run),
        decided_at=pl.lit(None, QUARANTINE_SCHEMA["decided_at"]),
        note=pl.lit(""),
        answer=pl.lit(""),
        claims=pl.lit(1),
        last_claimed=pl.lit(today),
    )
    rows = rows.unique([*KEYS, "scope", *VALUES], keep="first", maintain_order=True)
    done = Held()

    def decide(present: Blob | None) -> bytes | None:
        nonlocal done
        stored = _stored(store, exchange, present)
        after, done = _held(exchange, stored, rows, today)
        return None if after.equals(stored) else encode(after, {})

    put_reconciled(store, quarantine_key(exchange), decide)
    return done


def mark(
    store: ObjectStore, exchange: str, ids: Collection[str], decision: Decision, now: datetime, note: str = ""
) -> None:
    """Keeps a decision about some claims. One that somebody has taken meanwhile is not superseded."""
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


def superseded(quarantine: pl.DataFrame, rows: pl.DataFrame, but: Collection[str] = ()) -> list[str]:
    """The ids of pending claims that are no longer needed, now that the source has given `rows`, which are stored.

    An answer is held as a whole and superseded as a whole; an action, once rows around its date are given without it.

    Args:
        rows: DAILY_SCHEMA; a null dividend is still in doubt.
        but: ids of claims that have just been made again.
    """
    waiting = pending(quarantine).filter(~pl.col("id").is_in(sorted(but)))
    if waiting.is_empty() or rows.is_empty():
        return []
    given = rows.select(*KEYS, _bar=pl.col("close").is_not_null(), _sure=pl.col("dividend").is_not_null())
    span = rows.group_by("symbol").agg(_first=pl.col("date").min(), _last=pl.col("date").max())
    there = waiting.join(given, on=KEYS, how="left", maintain_order="left").join(
        span, on="symbol", how="left", maintain_order="left"
    )
    is_action = pl.col("scope") == Scope.ACTION.value
    passed = pl.col("date").is_between("_first", "_last") & pl.col("_sure").fill_null(value=True)
    # A row that carries an action alone is no bar in place of one.
    met = (
        pl.when(is_action)
        .then(passed)
        .otherwise(pl.col("_bar") | (pl.col("_sure") & pl.col("close").is_null()))
    ).fill_null(value=False)
    answers = there.filter(met, pl.col("answer") != "")["answer"].unique().implode()
    return there.filter(met | pl.col("answer").is_in(answers))["id"].to_list()


def with_items(quarantine: pl.DataFrame) -> pl.DataFrame:
    """The claims with `item`: the id of what they are part of, for people to name.

    That is the answer's id; of rows that are held for one reason (symbol, scope, kind, rule) an id of their own,
    which stays when they are decided about; of a row or an action alone the id of the claim.
    """
    same = ["symbol", "scope", "kind", "rule"]
    reasons = quarantine.group_by(same, maintain_order=True).agg(_rows=pl.len())
    stretches = pl.Series(
        [_short("|".join(map(str, reason))) for *reason, _ in reasons.rows()], dtype=pl.String
    )
    return (
        quarantine.join(reasons.with_columns(_stretch=stretches), on=same, how="left", maintain_order="left")
        .with_columns(
            item=pl.when(pl.col("answer") != "")
            .then("answer")
            .when((pl.col("_rows") > 1) & (pl.col("scope") == Scope.ROW.value))
            .then("_stretch")
            .otherwise("id")
        )
        .drop("_rows", "_stretch")
    )


ITEMS_SCHEMA = pl.Schema(
    {
        "item": pl.String(),
        "symbol": pl.String(),
        "scope": pl.String(),
        "kind": pl.String(),
        "rule": pl.String(),
        "decision": pl.String(),
        "first": pl.Date(),
        "last": pl.Date(),
        "sessions": pl.Int64(),
        "since": pl.Date(),
        "claims": pl.Int32(),
        "last_claimed": pl.Date(),
    }
)
"""What a person decides about, a row each: an answer, a stretch of rows, a row, an action. `first` to `last` are its
dates, `since` is the day (UTC) on which it was first claimed, `claims` counts the days on which it was."""


def items(quarantine: pl.DataFrame) -> pl.DataFrame:
    """The claims summed up by what they are part of (ITEMS_SCHEMA), by symbol and date."""
    summed = (
        with_items(quarantine)
        .group_by("item", "symbol", "scope", "decision")
        .agg(
            pl.col("kind", "rule").sort_by("last_claimed", "date").last(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
            sessions=pl.col("date").n_unique(),
            since=pl.col("fetched_at").min().dt.date(),
            claims=pl.col("claims").max(),
            last_claimed=pl.col("last_claimed").max(),
        )
        .sort("symbol", "first", "item")
    )
    return summed.select(pl.col(name).cast(dtype) for name, dtype in ITEMS_SCHEMA.items())


def _held(exchange: str, stored: pl.DataFrame, rows: pl.DataFrame, today: date) -> tuple[pl.DataFrame, Held]:
    """The quarantine after `rows` (QUARANTINE_SCHEMA but the id) were claimed, and what came of it."""
    is_answer = pl.col("scope") == Scope.ANSWER.value
    counted, news = _claimed(rows.filter(~is_answer), stored.filter(~is_answer))
    counts, added = [counted], [news]
    earlier = stored.filter(is_answer).partition_by("symbol", as_dict=True)
    for key, answer in (
        rows.filter(is_answer).partition_by("symbol", as_dict=True, maintain_order=True).items()
    ):
        before = earlier.get(key, stored.clear())
        same = _same_answer(answer, pending(before))
        if same:
            counted, news = _claimed(answer, before.filter(pl.col("answer") == same))
        else:
            counted, news = _claimed(answer, before.filter(pl.col("decision") != Decision.PENDING.value))
            same = _short("|".join([exchange, "answer", *_ids(exchange, news)]))
        counts.append(counted)
        added.append(news.with_columns(answer=pl.lit(same)))
    fresh = pl.concat(added)
    fresh = fresh.with_columns(id=pl.Series(_ids(exchange, fresh), dtype=pl.String)).unique(
        "id", keep="first", maintain_order=True
    )
    again = pl.concat(counts).unique("id", keep="first")
    kept = stored.join(fresh, on="id", how="anti", maintain_order="left").join(
        again, on="id", how="left", suffix="_now", maintain_order="left"
    )
    is_again = pl.col("rule_now").is_not_null()
    kept = kept.with_columns(
        *(pl.coalesce(f"{name}_now", name).alias(name) for name in ("rule", "kind", "witnesses")),
        claims=pl.col("claims") + (is_again & (pl.col("last_claimed") < today)).cast(pl.Int32),
        last_claimed=pl.when(is_again)
        .then(pl.max_horizontal("last_claimed", pl.lit(today)))
        .otherwise("last_claimed"),
    )
    after = pl.concat(
        [
            frame.select(pl.col(name).cast(dtype) for name, dtype in QUARANTINE_SCHEMA.items())
            for frame in (kept, fresh)
        ]
    ).sort(*KEYS, "id")
    return after, Held(fresh.height, frozenset([*fresh["id"], *again["id"]]))


def _claimed(rows: pl.DataFrame, earlier: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of `rows`: the pending claims they make again (id, rule, kind, witnesses), and those that nobody made yet."""
    numbered = rows.with_row_index("at")
    known = same_claims(rows, earlier).join(
        earlier.select("id", "decision").with_row_index("earlier_at"),
        on="earlier_at",
        how="left",
        maintain_order="left",
    )
    decided = known.filter(pl.col("decision").is_in([Decision.ACCEPTED.value, Decision.REJECTED.value]))
    open_ = known.filter(pl.col("decision") == Decision.PENDING.value).join(decided, on="at", how="anti")
    counted = open_.join(numbered.select("at", "rule", "kind", "witnesses"), on="at", how="inner")
    done = [*decided["at"], *open_["at"]]
    return (
        counted.select("id", "rule", "kind", "witnesses"),
        numbered.filter(~pl.col("at").is_in(done)).drop("at"),
    )


def _same_answer(rows: pl.DataFrame, waiting: pl.DataFrame) -> str:
    """The id of the pending answer that `rows` repeat: sessions are shared, and all agree; else empty."""
    for (answer,), before in waiting.partition_by("answer", as_dict=True, maintain_order=True).items():
        shared = rows.join(before, on=KEYS, how="semi").height
        if shared and same_claims(rows, before)["at"].n_unique() == shared:
            return str(answer)
    return ""


def _stored(store: ObjectStore, exchange: str, present: Blob | None) -> pl.DataFrame:
    if present is None:
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)
    return upgraded(decode(present.data, store.uri(quarantine_key(exchange))))


def upgraded(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the columns of today."""
    missing: dict[str, pl.Expr] = {name: pl.lit(value) for name, value in _DEFAULTS.items()}
    missing["last_claimed"] = pl.col("fetched_at").dt.date()
    return rows.with_columns(
        value.alias(name) for name, value in missing.items() if name not in rows.columns
    ).select(pl.col(name).cast(dtype) for name, dtype in QUARANTINE_SCHEMA.items())


def _ids(exchange: str, rows: pl.DataFrame) -> list[str]:
    found: list[str] = []
    for scope, answer, *values in rows.select("scope", "answer", *KEYS, *VALUES).iter_rows():
        # A row's id is what it was before there were scopes.
        more = [] if scope == Scope.ROW.value else [scope, answer]
        found.append(_short("|".join([exchange, *map(str, values), *more])))
    return found


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
