"""From a source's answer to as-traded rows: judged first, with what is in doubt set apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache

import polars as pl

from quant_assets.market.bars import ACTIONS, ANSWER_SCHEMA, KEYS, PRICES, empty_daily
from quant_assets.market.claims import CLAIM_SCHEMA, Scope
from quant_assets.market.corporate_actions import as_traded, declared, split_factor_after
from quant_assets.market.flags import DIVIDEND_HELD, NONE, added, explained
from quant_assets.market.oddities import with_oddities
from quant_assets.market.verdicts.answer import Answer, Held, Kind, Unreadable, Verdict
from quant_assets.market.verdicts.judge import judge
from quant_assets.resources.source import FetchResult

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAME = 1e-4
_REASON = ("rule", "scope", "kind", "witnesses")
_OF_BARS_ALONE = (Kind.RESCALED_IN_PART, Kind.HUNDREDFOLD, Kind.FIELD_OUT_OF_LINE)
"""Kinds that say nothing against the splits of the days they hold."""


@cache
def _nothing_held() -> pl.DataFrame:
    """What most answers have: clones cost nothing, while a frame of many columns is slow to make of its schema."""
    return pl.DataFrame(schema=CLAIM_SCHEMA)


@dataclass(frozen=True, slots=True)
class Judged:
    """One symbol's answer as traded: `rows` (ANSWER_SCHEMA) that may be stored, and those `held` (CLAIM_SCHEMA).

    A row whose dividend is held has a null there; one whose bar is held is there without it where it has a split.
    `real_moves` are days whose move is vouched for, however large. `notes` are sentences for a person.
    """

    rows: pl.DataFrame
    held: pl.DataFrame = field(default_factory=lambda: _nothing_held().clone())
    notes: tuple[str, ...] = ()
    real_moves: frozenset[date] = frozenset()


def judged(
    result: FetchResult,
    now: datetime,
    stored: pl.DataFrame | None,
    sessions: Collection[date],
    accepted: pl.DataFrame,
) -> Judged:
    """Judges a good answer (its outcome OK), and counts it back to what was traded.

    Args:
        now: the moment at which the rows become known.
        stored: the symbol's stored rows that are at hand (DAILY_SCHEMA); None for none.
        sessions: the exchange's sessions over the answer.
        accepted: symbol, date, close of rows that a person has accepted: they are held for nothing.
    """
    verdict = judge(_answer(result, stored, sessions))
    traded = as_traded(result.bars, verdict.splits, verdict.dividends)
    same = {
        "symbol": result.symbol,
        "currency": result.currency,
        "flags": NONE,
        "fetched_at": (now - _EPOCH) // timedelta(microseconds=1),
    }
    for at, name in enumerate(ANSWER_SCHEMA):
        if name in same:
            traded.insert_column(at, _one(name, same[name]).new_from_index(0, traded.height))
    rows = with_oddities(traded)
    for one in verdict.explained:
        on_its_days = pl.col("date").is_in(sorted(one.days))
        rows = rows.with_columns(flags=added(pl.col("flags"), explained(one.kind.value), on_its_days))
    if not (verdict.held or verdict.actions):
        return Judged(rows, notes=_notes(result, verdict), real_moves=verdict.real_moves)
    days = verdict.held_days
    decided = rows.join(accepted, on=[*KEYS, "close"], how="semi")["date"].to_list()
    # What is stored just so is no claim against anything.
    settled = [*decided, *_as_stored(rows, stored, (*PRICES, *ACTIONS))]
    doubtful = pl.col("date").is_in(list(days)) & ~pl.col("date").is_in(settled)
    actions = _actions(rows, verdict)
    # What a person has accepted is stored: the answer says nothing of it then, rather than that there is none.
    in_doubt = pl.col("date").is_in(actions["date"].implode())
    actions = actions.filter(~pl.col("date").is_in([*decided, *_as_stored(actions, stored, ("dividend",))]))
    # Of a bar in doubt on an ex-date the split is not: without it nothing after it could be compared.
    settled_split = [day for day, one in days.items() if one.kind in _OF_BARS_ALONE]
    bare = doubtful & pl.col("date").is_in(settled_split) & (pl.col("split_ratio") != 1.0)
    kept = rows.filter(~doubtful | bare).with_columns(
        *(pl.when(~bare).then(name).alias(name) for name in PRICES),
        volume=pl.when(bare).then(0).otherwise("volume"),
        flags=pl.when(bare).then(pl.lit(NONE)).otherwise("flags"),
    )
    kept = kept.with_columns(
        dividend=pl.when(in_doubt).then(None).otherwise("dividend"),
        flags=added(pl.col("flags"), DIVIDEND_HELD, in_doubt),
    )
    held = pl.concat([_with_reasons(rows.filter(doubtful), days), actions.filter(~doubtful)])
    return Judged(kept, held, _notes(result, verdict), verdict.real_moves)


@lru_cache(maxsize=64)
def _one(name: str, value: str | int | None) -> pl.Series:
    """A value of a column of ANSWER_SCHEMA: most are those of the answer before."""
    return pl.Series(name, [value], dtype=None if isinstance(value, int) else pl.String).cast(
        ANSWER_SCHEMA[name]
    )


def _answer(result: FetchResult, stored: pl.DataFrame | None, sessions: Collection[date]) -> Answer:
    return Answer(
        result.symbol,
        result.bars,
        result.splits,
        result.dividends,
        result.currency,
        price=result.meta.price,
        low_52_weeks=result.meta.low_52_weeks,
        high_52_weeks=result.meta.high_52_weeks,
        unreadable=tuple(Unreadable(e.kind, e.date, e.text) for e in result.unreadable),
        stored=empty_daily() if stored is None else stored,
        sessions=frozenset(sessions),
    )


def _as_stored(rows: pl.DataFrame, stored: pl.DataFrame | None, names: Sequence[str]) -> list[date]:
    """The dates of rows (DAILY_SCHEMA) of which some columns are as they are stored."""
    if stored is None or stored.is_empty():
        return []
    beside = rows.join(stored.select(*KEYS, *(pl.col(n).alias(f"{n}_stored") for n in names)), on=KEYS)
    near = pl.all_horizontal(
        (pl.col(name) - pl.col(f"{name}_stored")).abs() <= _SAME * pl.col(f"{name}_stored").abs() + 1e-4
        for name in names
    )
    return beside.filter(near.fill_null(value=False))["date"].to_list()


def _with_reasons(rows: pl.DataFrame, days: Mapping[date, Held]) -> pl.DataFrame:
    reasons = pl.DataFrame(
        [(day, held.reason, Scope.ROW.value, held.kind.value, held.witnesses) for day, held in days.items()],
        schema={"date": pl.Date(), **{name: CLAIM_SCHEMA[name] for name in _REASON}},
        orient="row",
    )
    return rows.join(reasons, on="date", maintain_order="left").select(list(CLAIM_SCHEMA))


def _actions(rows: pl.DataFrame, verdict: Verdict) -> pl.DataFrame:
    """The rows whose dividend is in doubt, each with the dividend that is claimed, as declared."""
    claimed = pl.DataFrame(
        [
            (one.day, one.amount, one.reason, Scope.ACTION.value, one.kind.value, one.witnesses)
            for one in verdict.actions
        ],
        schema={"date": pl.Date(), "amount": pl.Float64(), **{name: CLAIM_SCHEMA[name] for name in _REASON}},
        orient="row",
    ).unique("date", keep="first", maintain_order=True)
    claimed = claimed.with_columns(
        _declared=declared(claimed, verdict.splits),
        _factor=split_factor_after(claimed["date"], verdict.splits),
    )
    beside = claimed.join(rows, on="date", how="left", maintain_order="left").with_columns(
        # An ex-date without a bar has no row of its own in the answer.
        symbol=pl.lit(rows["symbol"][0]),
        currency=pl.lit(rows["currency"][0]),
        fetched_at=pl.lit(rows["fetched_at"][0]),
        volume=pl.col("volume").fill_null(0),
        flags=pl.col("flags").fill_null(NONE),
        split_ratio=pl.col("split_ratio").fill_null(1.0),
        scale=pl.col("scale").fill_null(pl.col("_factor")),
        dividend=pl.col("_declared"),
    )
    return beside.select(list(CLAIM_SCHEMA))


def _notes(result: FetchResult, verdict: Verdict) -> tuple[str, ...]:
    symbol = result.symbol
    return (
        *(f"{symbol}: {one.what}" for one in verdict.explained),
        *(f"{symbol}: not stored: {event}" for event in result.unreadable if event.date is None),
    )
