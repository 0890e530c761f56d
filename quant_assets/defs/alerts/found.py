"""What there is to alert about, from what is stored and what became of runs: plain functions, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.defs.alerts.alert import Alert, Kind
from quant_assets.defs.run_outcomes import FAILED, PARTIAL, RunOutcome
from quant_assets.exchanges import Exchange
from quant_assets.maintenance.freshness import due_after, freshness
from quant_assets.market.coverage import CellState
from quant_assets.tables.manifest import Entry
from quant_assets.words import number_of

_RECENT = 5
"""Sessions whose coverage is looked at."""
_MOST_SAID = 500
"""Letters of a run's error in a message: some name thousands of symbols."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is worth an alert."""

    run_minutes: Mapping[str, float]
    """How long a run may take, by job; `backfill` is for runs over a range, `*` for all others."""
    waiting_runs: int
    held_a_day: int


def stale(exchange: Exchange, cells: Mapping[date, Entry], now: datetime) -> list[Alert]:
    """Whether the prices of the last session that are due at `now` are not there.

    `cells`: those of the exchange's last weeks; without any, nobody follows the exchange, and nothing is due. One
    alert for each session that is missed, so that a new one comes with the next.
    """
    found = freshness(exchange, {day: entry.state for day, entry in cells.items()}, now)
    if found is None or not found.late:
        return []
    due, last, behind = found.due, found.last, found.late
    zone = ZoneInfo(exchange.zone)
    was_due = (exchange.calendar().closes_at(due) + due_after(exchange)).astimezone(zone)
    before = (
        f"the last ones are of {last}, {number_of(len(behind), 'session')} behind"
        if last
        else f"there are none of the {number_of(len(behind), 'session')} since {behind[0]} either"
    )
    text = (
        f"{exchange.code}: no usable prices of {due}, due {was_due:%Y-%m-%d %H:%M} ({exchange.zone}); {before}. "
        "`quant-assets runs` tells what the last runs came to, "
        f"`quant-assets update-daily --exchange {exchange.code}` asks now."
    )
    return [Alert(Kind.STALE, f"{exchange.code} {due}", text, exchange.code)]


def low_coverage(exchange: Exchange, cells: Mapping[date, Entry], least: float) -> list[Alert]:
    """The last cells that have fewer of the expected symbols than the share `least` (0 to 1)."""
    found: list[Alert] = []
    for day in sorted(cells)[-_RECENT:]:
        entry = cells[day]
        if entry.state is CellState.CLOSED or not entry.expected or entry.received >= least * entry.expected:
            continue
        share = f"{100 * entry.received / entry.expected:.1f} %"
        text = (
            f"{exchange.code} {day}: {entry.received} of {entry.expected} symbols ({share}, below {100 * least:g} %)."
            f" `quant-assets gaps --exchange {exchange.code}` names the others; the next run asks for them again "
            "(one that trades no more: `delisted_on` in the universe file)."
        )
        found.append(Alert(Kind.COVERAGE, f"{exchange.code} {day}", text, exchange.code))
    return found


def more_held(exchange: Exchange, held: pl.DataFrame, today: date, least: int) -> list[Alert]:
    """Whether at least `least` claims (ITEMS_SCHEMA, pending ones) came to be held on `today` (UTC)."""
    new = held.filter(pl.col("since") == today)
    if new.height < least:
        return []
    few = ", ".join(new["symbol"].unique().sort().head(5))
    text = (
        f"{exchange.code}: {new.height} new claims are held since {today} ({few}{', …' if new.height > 5 else ''}), "
        f"{held.height} in all. `quant-assets quarantine list --exchange {exchange.code}` shows them."
    )
    return [Alert(Kind.QUARANTINE, f"{exchange.code} {today}", text, exchange.code)]


def ended(runs: Iterable[RunOutcome]) -> list[Alert]:
    """Of runs that have ended, those that failed or came to part of what was asked.

    Runs of one job over the same partitions are one subject: what is tried again and fails again is told once.
    """
    found: dict[str, Alert] = {}
    for run in runs:
        kind = {FAILED: Kind.FAILED, PARTIAL: Kind.PARTIAL}.get(run.outcome)
        if kind is None:
            continue
        what = " ".join(filter(None, (run.job, run.partitions)))
        said = run.error or "; ".join(filter(None, (run.cells, run.held and f"held: {run.held}")))
        if len(said) > _MOST_SAID:
            said = f"{said[:_MOST_SAID]}…"
        text = f"{what}: {said or 'no reason is on record'}. `quant-assets status {run.run[:8]}` says what to do."
        alert = Alert(kind, what, text, run.exchange)
        found[alert.key] = alert
    return list(found.values())


def too_long(going: Iterable[RunOutcome], limits: Limits) -> list[Alert]:
    """The runs under way that take longer than they may."""
    found: list[Alert] = []
    for run in going:
        allowed = limits.run_minutes.get(run.job)
        if allowed is None:
            allowed = limits.run_minutes["backfill" if "..." in run.partitions else "*"]
        if run.seconds is None or run.seconds <= allowed * 60:
            continue
        what = " ".join(filter(None, (run.job, run.partitions)))
        text = (
            f"{what}: run {run.run[:8]} is under way for {run.seconds / 60:.0f} minutes, and may take {allowed:g}. "
            f"Look at its page in Dagster; cancelled, it keeps what came."
        )
        found.append(Alert(Kind.LONG, f"{what} {run.run[:8]}", text, run.exchange))
    return found


def backlog(waiting: Sequence[RunOutcome], limits: Limits) -> list[Alert]:
    """Whether more runs wait in the queue than should."""
    if len(waiting) < limits.waiting_runs:
        return []
    oldest = min((run.queued for run in waiting if run.queued), default=None)
    since = f", the first since {oldest:%Y-%m-%d %H:%M} UTC" if oldest else ""
    text = (
        f"{len(waiting)} runs wait in the queue{since}. Is a run stuck, or the daemon down? (Dagster: Deployment, "
        "Daemons; Runs, In progress)"
    )
    return [Alert(Kind.BACKLOG, "queue", text)]
