"""The asset checks of `daily_prices`: their specs, the judging of stored cells, and which results are recorded.

The checks are outputs of the daily step (`AssetCheckSpec`s of its op), judged by it whenever it writes cells, and
also when some cells of a range fail; a run of checks alone (the UI's *Execute*) runs the same op, which then only
judges. Why so:

- Dagster 1.13.27 names every check of an asset in the run request of a backfill, and refuses the run when one of them
  is in no plan. A definition that cannot be executed therefore stops every backfill.
- A step of their own would be skipped when one cell of a range fails, would cost another process (5 to 10 s of CPU),
  and would have to wait for all cells of the range.
- The specs have no partitions, the results have: the specs' partitions would be announced one row a partition, each
  listing the whole range (450 MB of SQLite a check at 5,000 cells), the UI greys out *Execute* for a check with
  partitions, and its views contradict each other: the overview shows the latest result, graph and list whether any
  partition ever failed. Without partitions all of them show the latest result of a check.
- A WARN is recorded as what it is to Dagster, a result that did not pass, with severity WARN: yellow, and not counted
  among the passed, in all views. Recorded as passed it would be counted as if there were nothing to see.

What a run records of each check, besides one line for each cell in its materialization's metadata:

1. a result of the run (no partition), in place of the announced one: how many cells, which of them did not pass;
2. a result for each cell that did not pass (`chosen`), and for each that passes now and did not before;
3. at the very end, so that this is what the asset's views show, the worst of them, or the latest cell's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import dagster as dg
import polars as pl

from quant_assets.defs.partition_keys import split_key
from quant_assets.exchanges import Exchange
from quant_assets.market import checks as rules
from quant_assets.market.bars import empty_daily
from quant_assets.market.calendars import OutsideCalendar
from quant_assets.market.checks import CellFacts, Severity, Verdict
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore, get_many
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode
from quant_assets.tables.quarantine import claims, with_items
from quant_assets.tables.restatements import Ledger

MOST_OF_A_KIND = 100
"""Results of one check and severity that a run records, latest cells first. No kind takes another's place. An error
of a materialized cell is always recorded: it holds up what is downstream."""

BLOCKING = "usable"
FRESHNESS = "freshness"
DESCRIPTIONS = {
    "coverage": "Everybody came who should have, or the gap is settled.",
    "calendar": "Rows exactly when the exchange traded.",
    "validity": "Stored rows keep the rules of a daily bar, and none waits in quarantine.",
    "jumps_explained": "A split or dividend explains every large move since the session before.",
    "flags": "Nothing is odd about any row: no price outside the day's range, no day without a trade.",
    FRESHNESS: "The exchange is not behind its sessions; judged on its latest cell.",
    "restatements_today": "No value of the session was restated in the last 24 hours.",
    BLOCKING: "Neither calendar nor validity is an ERROR. Stops what is downstream.",
}
_STOPPING = ("calendar", "validity")
"""Coverage stops nothing: a valid row is good whoever else is missing."""
_AT_ONCE = 64

Verdicts = dict[str, Verdict]
"""By check name, the verdict on one cell."""


def check_key(name: str) -> dg.AssetCheckKey:
    """The key of a check of `daily_prices`."""
    return dg.AssetCheckKey(dg.AssetKey(DAILY), name)


def check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of `daily_prices`, without partitions (see above)."""
    return [
        dg.AssetCheckSpec(name, asset=DAILY, description=text, blocking=name == BLOCKING)
        for name, text in DESCRIPTIONS.items()
    ]


@dataclass
class CellJudge:
    """Judges stored cells of one exchange at `now` (UTC).

    Manifest, quarantine and ledger are read once, when the first cell is judged; entries recorded since are handed in
    with `learn`. Raises ObjectDamaged for damage to other objects than cells, StoreUnavailable.
    """

    store: ObjectStore
    exchange: Exchange
    now: datetime
    _cells: dict[date, Entry] | None = field(default=None, init=False)
    _pending: dict[date, pl.DataFrame] = field(init=False)
    _none_pending: pl.DataFrame = field(init=False)
    _restated: dict[date, pl.DataFrame] = field(init=False)
    _none_restated: pl.DataFrame = field(init=False)

    def learn(self, entries: Mapping[date, Entry]) -> None:
        """Takes in what has been recorded in the manifest since."""
        self._read().update(entries)

    def latest(self) -> date | None:
        """The exchange's last day that has a cell."""
        return max(self._read(), default=None)

    def judge(self, days: Iterable[date]) -> Iterator[tuple[date, Verdicts]]:
        """The verdict of every check on the cells of some days, in order of time; each object is read once."""
        cells = self._read()
        last_over = self.exchange.calendar().last_session_over(self.now, self.exchange.delay)
        freshness = self._freshness(cells, last_over)
        ordered = sorted(set(days))
        carried: dict[date, pl.DataFrame] = {}
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            before = {
                day: session for day in some if (session := _session_before(self.exchange, day)) is not None
            }
            wanted = sorted({*some, *before.values()} - carried.keys())
            frames, damage = _read_cells(
                self.store, self.exchange.code, [d for d in wanted if d in cells and cells[d].version]
            )
            frames |= carried
            there = {day: frames[day] for day in some if day in frames}
            refused = rules.broken_rules(there)
            looks = rules.worth_a_look({day: frames[day] for day in sorted(frames)}, before)
            for day in some:
                cell = _facts(self.exchange, day, cells.get(day), last_over)
                rows = frames.get(day)
                held = self._pending.get(day, self._none_pending)

                seen = {
                    name: rows if rows is None or name in looks[day] else empty_daily()
                    for name in rules.LOOKED_AT
                }
                verdicts = {
                    "coverage": rules.coverage(cell),
                    "calendar": rules.calendar(cell, seen["calendar"] if cell.is_session else rows),
                    "validity": rules.validity(seen["validity"], refused.get(day), damage.get(day, ""), held),
                    "jumps_explained": rules.jumps_explained(
                        seen["jumps_explained"],
                        frames.get(before[day]) if day in before else None,
                        before.get(day, day),
                    ),
                    "flags": rules.flagged(seen["flags"]),
                    FRESHNESS: freshness(day),
                    "restatements_today": rules.restatements_today(
                        self._restated.get(day, self._none_restated), day, self.now
                    ),
                }
                verdicts[BLOCKING] = rules.usable({name: verdicts[name] for name in _STOPPING})
                yield day, verdicts
            carried = {day: frames[day] for day in sorted(frames)[-1:]}

    def freshness(self, days: Iterable[date]) -> dict[date, Verdict]:
        """The verdict of freshness alone, which changes with every later cell."""
        calendar = self.exchange.calendar()
        of_day = self._freshness(self._read(), calendar.last_session_over(self.now, self.exchange.delay))
        return {day: of_day(day) for day in days}

    def _freshness(self, cells: Mapping[date, Entry], last_over: date | None) -> Callable[[date], Verdict]:
        latest = max(cells, default=None)
        last_whole = max(
            (day for day, e in cells.items() if rules.is_whole(e.state, e.missing)), default=None
        )
        since = last_whole or min(cells, default=None)
        over = self.exchange.calendar().sessions(since, last_over) if since and last_over else []
        return lambda day: rules.freshness(day, latest, last_whole, over)

    def _read(self) -> dict[date, Entry]:
        if self._cells is None:
            code = self.exchange.code
            self._cells = {date.fromisoformat(e.partition): e for e in Manifest(self.store, DAILY).all(code)}
            # Named by what a person decides about: an answer has thousands of rows.
            pending = with_items(claims(self.store, code)).select(
                "date",
                "symbol",
                "rule",
                "scope",
                "kind",
                "claims",
                id="item",
                since=pl.col("fetched_at").dt.date(),
            )
            self._none_pending = pending.clear().select(_OF_PENDING)
            self._pending = {day: some.select(_OF_PENDING) for day, some in _by_day(pending)}
            restated = Ledger(self.store, code).restatements().drop("run")
            restated = restated.filter(pl.col("detected_at") > self.now - rules.RECENT)
            self._none_restated, self._restated = restated.clear(), dict(_by_day(restated))
        return self._cells


_OF_PENDING = ("symbol", "rule", "id", "scope", "kind", "claims", "since")


def _by_day(rows: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    for (day,), some in rows.partition_by("date", as_dict=True, maintain_order=True).items():
        assert isinstance(day, date)
        yield day, some


def chosen(
    results: Mapping[str, Verdicts],
    materialized: Collection[str],
    failed_before: Mapping[str, Collection[str]],
) -> list[tuple[str, str, Verdict]]:
    """The (partition, check, verdict) that are recorded of a run, each check's worst last.

    Args:
        results: by partition, every verdict of the run.
        materialized: the partitions that the run has materialized.
        failed_before: by check, the partitions whose latest result did not pass: what passes now is recorded of them.
    """
    latest_first = sorted(results, key=_time_of, reverse=True)
    kinds: dict[tuple[str, Severity], list[str]] = {}
    for key in latest_first:
        for name, verdict in results[key].items():
            if verdict.severity is not None:
                kinds.setdefault((name, verdict.severity), []).append(key)
    kept = {
        (key, name)
        for (name, severity), keys in kinds.items()
        for number, key in enumerate(keys)
        if number < MOST_OF_A_KIND
        or (severity is Severity.ERROR and name == BLOCKING and key in materialized)
    }
    kept |= {
        (key, name)
        for name, keys in failed_before.items()
        for key in keys
        if key in results and results[key][name].passed
    }
    names = next(iter(results.values()), {})
    shown = {name: headline({key: results[key][name] for key in results}) for name in names}
    records = [(key, name, results[key][name]) for key, name in kept if shown[name] != key]
    records.sort(key=lambda r: (r[2].is_error, not r[2].passed, _time_of(r[0]), r[1]))
    return records + [(key, name, results[key][name]) for name, key in shown.items() if key is not None]


def headline(verdicts: Mapping[str, Verdict]) -> str | None:
    """The partition whose verdict stands for a run's: the worst, of several the latest; None where there is none."""
    return max(
        verdicts,
        key=lambda key: (verdicts[key].is_error, not verdicts[key].passed, _time_of(key)),
        default=None,
    )


def summary(verdicts: Mapping[str, Verdict]) -> Verdict:
    """A run's result of one check: its worst severity, one line, and a table of the partitions that did not pass.

    The table: partition, severity, reason; errors first, then latest first, at most MOST_OF_A_KIND.
    """
    bad = sorted(
        ((key, verdict) for key, verdict in verdicts.items() if not verdict.passed),
        key=lambda item: (item[1].is_error, _time_of(item[0])),
        reverse=True,
    )
    if not bad:
        only = next(iter(verdicts.values())).summary if len(verdicts) == 1 else "all passed"
        return Verdict(f"{len(verdicts)} cell(s): {only}")
    errors = sum(verdict.is_error for _, verdict in bad)
    counts = [f"{n} {word}" for n, word in ((errors, "ERROR"), (len(bad) - errors, "WARN")) if n]
    key, worst = bad[0]
    return Verdict(
        f"{len(verdicts)} cell(s): {', '.join(counts)}; {key}: {worst.summary}",
        worst.severity,
        pl.DataFrame(
            [(key, str(verdict.severity), verdict.summary) for key, verdict in bad[:MOST_OF_A_KIND]],
            schema=["partition", "severity", "reason"],
            orient="row",
        ),
    )


def cell_line(verdicts: Verdicts) -> str:
    """All verdicts on a cell in one line, for its metadata."""
    bad = [
        f"{name} {verdict.severity}: {verdict.summary}"
        for name, verdict in verdicts.items()
        if not verdict.passed
    ]
    return "; ".join(bad) or "all passed"


def _time_of(key: str) -> tuple[str, str]:
    code, day = split_key(DAILY, key)
    return str(day), code


def _read_cells(
    store: ObjectStore, code: str, days: Sequence[date]
) -> tuple[dict[date, pl.DataFrame], dict[date, str]]:
    """The rows of some cells, and what is wrong with those that cannot be read."""
    frames: dict[date, pl.DataFrame] = {}
    damage: dict[date, str] = {}
    keys = [object_key(DAILY, code, day.isoformat()) for day in days]
    for day, (key, blob) in zip(days, get_many(store, keys), strict=True):
        try:
            if isinstance(blob, Exception):
                raise blob
            frames[day] = decode(blob.data, store.uri(key))
        except ObjectNotFound:
            damage[day] = f"{store.uri(key)}: the manifest names it, and it is not there"
        except ObjectDamaged as error:
            damage[day] = str(error)
    return frames, damage


def _facts(exchange: Exchange, day: date, entry: Entry | None, last_over: date | None) -> CellFacts:
    session = exchange.calendar().is_session(day)
    over = session and last_over is not None and day <= last_over
    if entry is None:
        return CellFacts(day, session, over)
    return CellFacts(day, session, over, entry.state, entry.reason, entry.missing)


def _session_before(exchange: Exchange, day: date) -> date | None:
    try:
        return exchange.calendar().previous_session(day) if exchange.calendar().is_session(day) else None
    except OutsideCalendar:
        return None
