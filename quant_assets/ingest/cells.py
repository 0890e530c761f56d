"""One daily cell in the making: what goes into it, what is missing from it, and putting it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import polars as pl

from quant_assets._version import __version__
from quant_assets.market.bars import content_sha256, empty_daily
from quant_assets.market.coverage import (
    HELD,
    NO_BAR,
    NOT_ASKED,
    REFUSED,
    REJECTED,
    SUSPENDED,
    CellState,
    Missing,
    cell_state,
    symbols_sha256,
)
from quant_assets.market.reconcile import settle
from quant_assets.resources.object_store import Blob, ObjectDamaged, ObjectStore, put_reconciled
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected, entry_in, stamped
from quant_assets.tables.parquet import decode, encode

_ABOUT_THE_SESSION = frozenset({HELD, NO_BAR, REFUSED, REJECTED, SUSPENDED})
"""Outcomes that say something about one session; the others only say that the symbol was not answered."""


@dataclass(frozen=True, slots=True)
class CellNews:
    """What a run has learned about one session.

    `fresh` rows stand nowhere yet; each row of `old` is to be replaced by the row of `new` with its key (all
    DAILY_SCHEMA). `missing` are the symbols that were asked for and have no bar, each with the reason.
    """

    fresh: pl.DataFrame = field(default_factory=empty_daily)
    old: pl.DataFrame = field(default_factory=empty_daily)
    new: pl.DataFrame = field(default_factory=empty_daily)
    missing: Mapping[str, Missing] = field(default_factory=dict[str, Missing])


@dataclass(frozen=True, slots=True)
class Written:
    """A cell's entry, and whether its object was put. A `damaged` cell is left as it is, for somebody to remove."""

    entry: Entry
    put: bool
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class CellWriter:
    """Puts the cells of one exchange.

    `source` names where prices come from, `min_coverage` (0 to 1) is the share of expected symbols below which a cell
    is `failed`.
    """

    store: ObjectStore
    exchange: str
    source: str
    min_coverage: float
    expected_sets: Expected

    def write(
        self, session: date, expected: Sequence[str], news: CellNews, recorded: Entry | None, now: datetime
    ) -> Written:
        """Puts the cell with the news, settled with whatever stands there at that moment; no news, no put.

        `recorded` is what the manifest knows of it. Raises StoreUnavailable.
        """
        try:
            return self._write(session, expected, news, recorded, now)
        except ObjectDamaged as error:
            return Written(damaged_cell(session, str(error)), put=False, damaged=True)

    def _write(
        self, session: date, expected: Sequence[str], news: CellNews, recorded: Entry | None, now: datetime
    ) -> Written:
        key = object_key(DAILY, self.exchange, session.isoformat())
        result = Written(Entry("", CellState.FAILED), False)
        self.expected_sets.record(expected)

        def decide(present: Blob | None) -> bytes | None:
            nonlocal result
            rows, before = empty_daily(), recorded
            if present is not None:
                uri = self.store.uri(key)
                rows = decode(present.data, uri)
                if recorded is None or recorded.version != present.info.version:
                    before = entry_in(present, uri)
            settled = settle(rows, news.old, news.new, news.fresh)
            entry = self._entry(session, expected, settled, news.missing, before, now)
            if before is not None and settled.equals(rows) and _same_facts(entry, before):
                # The day of the last question and the count of answers move on in the manifest alone.
                if entry.missing != before.missing:
                    before = replace(before, missing=entry.missing, recorded_at=entry.recorded_at)
                result = Written(before, False)
                return None
            result = Written(entry, not settled.is_empty())
            return encode(settled, entry.facts()) if result.put else None

        read_first = recorded is not None and bool(recorded.version)
        info = put_reconciled(self.store, key, decide, read_first=read_first)
        if info is None:
            return result
        return Written(replace(result.entry, size=info.size, version=info.version), True)

    def _entry(
        self,
        session: date,
        expected: Sequence[str],
        rows: pl.DataFrame,
        news: Mapping[str, Missing],
        before: Entry | None,
        now: datetime,
    ) -> Entry:
        have = set(rows.filter(pl.col("close").is_not_null())["symbol"])
        lacking = [symbol for symbol in expected if symbol not in have]
        received = len(expected) - len(lacking)
        earlier = {m.symbol: m for m in before.missing} if before else {}
        missing = tuple(
            _missing_now(symbol, news.get(symbol), earlier.get(symbol), now).judged(received, len(expected))
            for symbol in lacking
        )
        excused = sum(m.excused(received, len(expected)) for m in missing)
        state = cell_state(
            len(expected), received, rows.height, excused=excused, min_coverage=self.min_coverage
        )
        entry = Entry(
            partition=session.isoformat(),
            state=state,
            rows=rows.height,
            content_sha256=content_sha256(rows) if rows.height else "",
            expected=len(expected),
            received=received,
            expected_sha256=symbols_sha256(expected),
            missing=missing,
            source=self.source,
            code_version=__version__,
            reason=_reason(state, rows.height, expected, missing, self.min_coverage),
        )
        return stamped(entry, now)


def damaged_cell(session: date, why: str) -> Entry:
    """What a run says of a cell that is not what was written."""
    return Entry(session.isoformat(), CellState.FAILED, reason=why)


def _missing_now(symbol: str, news: Missing | None, earlier: Missing | None, now: datetime) -> Missing:
    """What is known of a hole after a run: a question that brought no answer takes nothing back."""
    if news is None:
        return earlier or Missing(symbol, NOT_ASKED, "not asked for yet", now.date())
    if (
        earlier is not None
        and earlier.outcome in _ABOUT_THE_SESSION
        and news.outcome not in _ABOUT_THE_SESSION
    ):
        return earlier
    counted = news.after(earlier)
    seen_again = earlier is not None and earlier.outcome == SUSPENDED and counted.gap > 0
    return replace(counted, outcome=SUSPENDED) if seen_again else counted


def _same_facts(entry: Entry, before: Entry) -> bool:
    def facts(e: Entry) -> object:
        return (
            e.state,
            e.expected_sha256,
            e.content_sha256,
            [(m.symbol, m.outcome, m.reason) for m in e.missing],
        )

    return facts(entry) == facts(before)


def _reason(
    state: CellState, rows: int, expected: Sequence[str], missing: Collection[Missing], least: float
) -> str:
    if not expected:
        return "no symbol of the catalog was listed that day"
    outcomes = Counter(m.outcome for m in missing)
    words = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    if not rows:
        return f"nothing received: {words}"
    if state is CellState.FAILED:
        received = len(expected) - len(missing)
        return f"{received} of {len(expected)} symbols received, less than {least:.0%}: {words}"
    return ""
