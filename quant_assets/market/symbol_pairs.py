"""One symbol's stored rows beside those of an answer while they are judged, and what has been found about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from quant_assets.market.bars import PRICES, VALUES
from quant_assets.market.claims import CLAIM_SCHEMA, Scope
from quant_assets.market.precision import CLOSE_TO, price_times
from quant_assets.market.reconcile import differing, new_row
from quant_assets.market.restatements import CONFIRMED, Doubt, RestatementClass

_LIVE = timedelta(days=4)
"""A row that was fetched so soon after its session was captured then."""

Change = tuple[RestatementClass, date, str, object, object]
"""Class, date, field, old and new value."""


class SymbolPairs:
    """One symbol's pairs (`reconcile.compare`), sorted by date, of which each step of the judging settles some.

    `taken` are the pairs whose new row is to be stored, `held` (CLAIM_SCHEMA) the claims that are not taken; the
    rest is as in `restating.Restated`.
    """

    def __init__(self, pairs: pl.DataFrame, whole: bool, days_claimed: int = 1) -> None:
        self.symbol: str = pairs["symbol"][0]
        self.events: list[tuple[object, ...]] = []
        self.held = pl.DataFrame(schema=CLAIM_SCHEMA)
        self.reaches_back = False
        self.in_doubt = False
        self._days_claimed = days_claimed
        self.notes: list[str] = []
        self._whole = whole
        self._pairs = pairs.with_row_index("at").with_columns(
            q=pl.col("close_new") / pl.col("close"),
            price_differs=pl.any_horizontal(differing(n) for n in PRICES),
            settled=pl.lit(False),
        )
        self.taken = self._pairs.clear()

    @property
    def _confirmed(self) -> bool:
        """Whether a claim that is consistent in itself has been made often enough to be taken."""
        return self._days_claimed >= CONFIRMED

    @property
    def _done(self) -> bool:
        return self.reaches_back or self._open.is_empty()

    @property
    def _open(self) -> pl.DataFrame:
        """The pairs that differ and have not been settled."""
        return self._pairs.filter(pl.col("differs") & ~pl.col("settled"))

    # How a step says what it found.

    def _beside(self, which: pl.Expr, ratio: float, volume_ratio: float) -> list[Change]:
        """The fields of some pairs that a change of all prices by `ratio`, and of volumes, does not explain."""
        rows = self._pairs.filter(which & ~pl.col("settled"))
        if rows.is_empty():
            return []
        names = (*PRICES, "volume", "dividend")
        explained = rows.with_columns(
            *(price_times(ratio, name).alias(f"_{name}") for name in PRICES),
            _volume=(pl.col("volume_new") - pl.col("volume") * volume_ratio).abs()
            <= 1.0 + max(1.0, volume_ratio) / pl.min_horizontal("scale", 1.0),
            _dividend=(pl.col("dividend_new") - pl.col("dividend") * ratio).abs()
            <= 1e-6 * pl.max_horizontal("scale", 1.0) * max(1.0, ratio) + CLOSE_TO * pl.col("dividend_new"),
        ).with_columns(pl.col(f"_{name}") | ~differing(name) for name in names)
        return [
            (_kind(name, row[name]), row["date"], name, row[name], row[f"{name}_new"])
            for row in explained.iter_rows(named=True)
            for name in names
            if row[f"_{name}"] is False
        ]

    def _fields(self, at: int) -> list[Change]:
        """The fields of a pair that differ, each with its class."""
        pair = self._pairs.filter(pl.col("at") == at)
        differ = pair.select(differing(name).alias(name) for name in VALUES).row(0, named=True)
        row = pair.row(0, named=True)
        return [
            (_kind(name, row[name]), row["date"], name, row[name], row[f"{name}_new"])
            for name in VALUES
            if differ[name]
        ]

    def _take(
        self,
        which: pl.Expr,
        kind: RestatementClass,
        day: date,
        name: str,
        old: object,
        new: object,
        *,
        more: Sequence[Change] = (),
    ) -> None:
        """The new rows of some pairs are to replace the old ones, because of one event, and of `more`."""
        rows = self._pairs.filter(which)
        self.taken = pl.concat([self.taken, rows])
        self._event(day, name, old, new, kind, rows["date"][0], rows.height)
        for other, when, field_name, was, now in more:
            self._event(when, field_name, was, now, other, when, 1)
        self._settle(which)

    def _hold(self, which: pl.Expr, kind: Doubt, rule: str) -> None:
        """The new rows of some pairs are claims that are not taken."""
        rows = self._claim(which, kind, rule, Scope.ROW)
        self.notes.append(f"{self.symbol}: {rule}; {rows} row(s) of the answer are held")
        self._settle(which)

    def _claim(self, which: pl.Expr, kind: Doubt, rule: str, scope: Scope) -> int:
        rows = self._pairs.filter(which)
        claims = new_row(rows).with_columns(
            rows["scale"],
            rule=pl.lit(rule),
            scope=pl.lit(scope.value),
            kind=pl.lit(kind.value),
            witnesses=pl.lit("stored rows"),
        )
        self.held = pl.concat([self.held, claims.select(list(CLAIM_SCHEMA))])
        return rows.height

    @staticmethod
    def _is_live() -> pl.Expr:
        """Whether a stored row was captured within a few days of its session."""
        return pl.col("fetched_at").dt.date() - pl.col("date") <= _LIVE

    def _live(self, rows: pl.DataFrame) -> bool:
        """Whether all stored rows were."""
        return not rows.is_empty() and bool(rows.select(self._is_live().all()).item())

    def _is_last(self, rows: pl.DataFrame) -> bool:
        """Whether the last bar that can be compared is one of these."""
        bars = self._pairs.filter(pl.col("q").is_not_null())
        return not bars.is_empty() and int(bars["at"][-1]) in set(rows["at"])

    def _event(
        self, day: date, name: str, old: object, new: object, kind: RestatementClass, first: date, rows: int
    ) -> None:
        self.events.append((self.symbol, day, name, _text(old), _text(new), kind.value, first, rows))

    def _settle(self, which: pl.Expr, only_field: str = "") -> None:
        if only_field:
            # The row's other values may still differ.
            others = pl.any_horizontal(differing(n) for n in VALUES if n != only_field)
            same = [pl.when(which).then(only_field).otherwise(f"{only_field}_new").alias(f"{only_field}_new")]
            self._pairs = self._pairs.with_columns(same).with_columns(
                differs=pl.when(which).then(others).otherwise("differs")
            )
            return
        self._pairs = self._pairs.with_columns(settled=pl.col("settled") | which)

    def _jump(self, at: int, side: str = "") -> float | None:
        """The ratio of the first close from a pair on to the one before it, on the old side or the new one."""
        closes = self._pairs.filter(pl.col(f"close{side}").is_not_null()).select("at", f"close{side}")
        # An ex-date without a bar shows in the next one.
        before, after = closes.filter(pl.col("at") < at), closes.filter(pl.col("at") >= at)
        if before.is_empty() or after.is_empty():
            return None
        return float(after[f"close{side}"][0] / before[f"close{side}"][-1])


def _kind(name: str, old: object) -> RestatementClass:
    """The class of one field's change that nothing else explains."""
    late = name == "dividend" and old == 0.0
    return RestatementClass.LATE_DIVIDEND if late else RestatementClass.CORRECTION


def _text(value: object) -> str | None:
    return None if value is None else repr(value) if isinstance(value, float) else str(value)
