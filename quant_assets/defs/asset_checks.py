"""The asset checks of `daily_prices`: what the rules of `market.checks` say of each partition, told to Dagster.

They are judged by a hook on the daily step, in its process, whether the step has succeeded or failed: a check that
were an op of its own would be skipped when one cell of a range fails, and the good cells would go unjudged. By then
the materializations are stored, which a result has to name to count as one of theirs.

No run has them in its plan. Dagster 1.13 announces a partitioned check of a range by one row a partition, each of
which lists the whole range: 450 MB of SQLite and half a minute per check for 5,000 cells. Results that were not
announced are taken all the same.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType

from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.rendering import markdown_table
from quant_assets.exchanges import Exchange
from quant_assets.market import checks as rules
from quant_assets.market.calendars import OutsideCalendar
from quant_assets.market.checks import CellFacts, Verdict
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound, ObjectStore, get_many
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import decode
from quant_assets.tables.quarantine import Decision, read_quarantine
from quant_assets.tables.restatements import Ledger

RECORDED = 10
"""Partitions of a run up to which every result is recorded. Of longer runs what did not pass is, and the last
partition of each exchange: recording costs 50 to 100 ms a result, more than making the cell."""
MOST_RECORDED = 100
"""Partitions of a longer run of which results are recorded, errors and late days first. An error of a cell that was
materialized is always recorded: only a materialization sets off what is downstream."""

BLOCKING = "usable"
DESCRIPTIONS = {
    "coverage": "Everybody came who should have, or the gap is settled.",
    "calendar": "Rows exactly when the exchange traded.",
    "validity": "Stored rows keep the rules of a daily bar, and none waits in quarantine.",
    "jumps_explained": "A split or dividend explains every large move since the session before.",
    "freshness": "The exchange is not behind its sessions; judged on its latest cell.",
    "restatements_today": "No value of the session was restated in the last 24 hours.",
    BLOCKING: "Neither coverage nor calendar nor validity is an ERROR. Stops what is downstream.",
}
_STOPPING = ("coverage", "calendar", "validity")

_AT_ONCE = 64
_SEVERITIES = {
    None: dg.AssetCheckSeverity.ERROR,
    rules.Severity.WARN: dg.AssetCheckSeverity.WARN,
    rules.Severity.ERROR: dg.AssetCheckSeverity.ERROR,
}
_PARTITION = "dagster/partition"
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

Verdicts = dict[str, Verdict]


def with_checks(
    daily: dg.AssetsDefinition, grid: dg.MultiPartitionsDefinition, exchanges: Sequence[Exchange]
) -> list[dg.AssetsDefinition]:
    """`daily`, whose cells are judged after each of its steps, and the definition of its checks."""
    checking = _Checking(grid, {exchange.code: exchange for exchange in exchanges})

    @dg.success_hook(required_resource_keys={"store", "clock"})
    def judge_cells(context: dg.HookContext) -> None:
        checking.of_hook(context)

    @dg.failure_hook(required_resource_keys={"store", "clock"})
    def judge_cells_of_failed_step(context: dg.HookContext) -> None:
        checking.of_hook(context)

    with warnings.catch_warnings():
        # Partitions of checks are a preview in Dagster, and a definition without execution is beta.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        specs = {
            name: dg.AssetCheckSpec(
                name, asset=DAILY, description=text, blocking=name == BLOCKING, partitions_def=grid
            )
            for name, text in DESCRIPTIONS.items()
        }
        checks = dg.AssetsDefinition(
            keys_by_input_name={},
            keys_by_output_name={},
            # Nothing to execute: with a step of their own the checks would be part of every plan.
            node_def=dg.GraphDefinition(name="daily_prices_checks"),
            specs=[],
            check_specs_by_output_name=specs,
            execution_type=AssetExecutionType.UNEXECUTABLE,
        )
    return [daily.with_hooks({judge_cells, judge_cells_of_failed_step}), checks]


def judge(
    store: ObjectStore, exchange: Exchange, days: Iterable[date], now: datetime
) -> Iterator[tuple[date, Verdicts]]:
    """What every check says of the cells of some days of an exchange, in order of time.

    Each object is read once: the cells, that of the session before the first, the manifest, the ledger, the
    quarantine. Raises ObjectDamaged for damage to other objects than cells, StoreUnavailable.
    """
    cells = {date.fromisoformat(e.partition): e for e in Manifest(store, DAILY).all(exchange.code)}
    pending = read_quarantine(store, exchange.code).filter(pl.col("decision") == Decision.PENDING.value)
    restated = Ledger(store, exchange.code).restatements().drop("run")
    restated = restated.filter(pl.col("detected_at") > now - rules.RECENT)
    calendar = exchange.calendar()
    last_over = calendar.last_session_over(now, exchange.delay)
    latest = max(cells, default=None)
    last_whole = max((day for day, e in cells.items() if rules.is_whole(e.state, e.missing)), default=None)
    since = last_whole or min(cells, default=None)
    over = calendar.sessions(since, last_over) if since and last_over else []
    ordered = sorted(set(days))
    carried: dict[date, pl.DataFrame] = {}
    for start in range(0, len(ordered), _AT_ONCE):
        some = ordered[start : start + _AT_ONCE]
        before = {day: session for day in some if (session := _session_before(exchange, day)) is not None}
        wanted = sorted({*some, *before.values()} - carried.keys())
        frames, damage = _read(store, exchange.code, [d for d in wanted if d in cells and cells[d].version])
        frames |= carried
        refused = rules.broken_rules({day: frames[day] for day in some if day in frames})
        for day in some:
            cell = _facts(exchange, day, cells.get(day), last_over)
            rows = frames.get(day)
            held = pending.filter(pl.col("date") == day).select("symbol", "rule", "id")
            verdicts = {
                "coverage": rules.coverage(cell),
                "calendar": rules.calendar(cell, rows),
                "validity": rules.validity(rows, refused.get(day), damage.get(day, ""), held),
                "jumps_explained": rules.jumps_explained(
                    rows, frames.get(before[day]) if day in before else None, before.get(day, day)
                ),
                "freshness": rules.freshness(day, latest, last_whole, over),
                "restatements_today": rules.restatements_today(restated, day, now),
            }
            verdicts[BLOCKING] = rules.usable({name: verdicts[name] for name in _STOPPING})
            yield day, verdicts
        carried = {day: frames[day] for day in sorted(frames)[-1:]}


def to_record(results: Mapping[str, Verdicts], materialized: Iterable[str]) -> list[tuple[str, str, Verdict]]:
    """The (partition, check, verdict) of a run that are recorded, errors first: see RECORDED and MOST_RECORDED."""
    chosen = [(key, name, verdict) for key, of_key in results.items() for name, verdict in of_key.items()]
    if len(results) > RECORDED:
        last = {split_key(DAILY, key)[0]: key for key in sorted(results)}
        must = {*last.values()}
        must |= {key for key in materialized if key in results and results[key][BLOCKING].is_error}
        worst = sorted(
            (key for key, of_key in results.items() if not all(v.passed for v in of_key.values())),
            key=lambda key: (results[key][BLOCKING].is_error, key),
            reverse=True,
        )
        kept = must | {*worst[:MOST_RECORDED]}
        chosen = [
            (key, name, verdict)
            for key, name, verdict in chosen
            if key in kept and (key in last.values() or not verdict.passed)
        ]
    # What stops something downstream is said before anything may begin there.
    return sorted(chosen, key=lambda result: (not result[2].is_error, result[1] != BLOCKING))


@dataclass(frozen=True)
class _Checking:
    """Judges the partitions of a run and records what came of it."""

    grid: dg.MultiPartitionsDefinition
    exchanges: Mapping[str, Exchange]

    def of_hook(self, context: dg.HookContext) -> None:
        self.run(context.instance, context.run_id, context.resources, context.log)

    def run(self, instance: dg.DagsterInstance, run_id: str, resources: Any, log: Any) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        made = _made(instance, run_id)
        days: dict[str, set[date]] = {}
        # Cells may have changed outside the partitions of the run as well.
        for key in {*self._partitions(run.tags), *made}:
            code, day = split_key(DAILY, key)
            days.setdefault(code, set()).add(date.fromisoformat(str(day)))
        store, now = resources.store.open(), resources.clock.now()
        results = {
            daily_key(code, day): verdicts
            for code, of_exchange in sorted(days.items())
            for day, verdicts in judge(store, self.exchanges[code], of_exchange, now)
        }
        chosen = to_record(results, made)
        # SQLite numbers an event once in its run and once among those of all runs; a target is named by the latter.
        targets = {key: _target(instance, key) for key in dict.fromkeys(key for key, _, _ in chosen)}
        for key, name, verdict in chosen:
            event = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
                job_name=run.job_name,
                message=f"{name} of {key}: {verdict.says}",
                event_specific_data=_evaluation(key, name, verdict, targets[key]),
            )
            instance.report_dagster_event(event, run_id)
        _tell(log.warning, log.info, results, len(chosen))

    def _partitions(self, tags: Mapping[str, str]) -> Sequence[str]:
        if _PARTITION in tags:
            return [tags[_PARTITION]]
        if _RANGE_START not in tags:
            return []
        return self.grid.get_partition_keys_in_range(
            dg.PartitionKeyRange(tags[_RANGE_START], tags[_RANGE_END])
        )


def _evaluation(key: str, name: str, verdict: Verdict, target: Target | None) -> dg.AssetCheckEvaluation:
    table = verdict.table
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(DAILY),
        check_name=name,
        passed=verdict.passed,
        severity=_SEVERITIES[verdict.severity],
        description=verdict.says,
        metadata={} if table is None else {"rows": dg.MetadataValue.md(markdown_table(table))},
        target_materialization_data=target,
        blocking=name == BLOCKING,
        partition=key,
    )


def _made(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """The cells that a run has materialized."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    return {
        event.partition
        for event in events
        if event is not None and event.asset_key == dg.AssetKey(DAILY) and event.partition is not None
    }


def _target(instance: dg.DagsterInstance, key: str) -> Target | None:
    """The latest materialization of a cell, of whatever run."""
    condition = dg.AssetRecordsFilter(dg.AssetKey(DAILY), asset_partitions=[key])
    for record in instance.fetch_materializations(condition, limit=1).records:
        return Target(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
    return None


def _read(
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


def _tell(
    warn: Callable[[str], None], info: Callable[[str], None], results: Mapping[str, Verdicts], recorded: int
) -> None:
    """One line in the log of the run: how many results, and of which check how many did not pass."""
    bad = Counter(
        f"{name} {verdict.severity}" for of_key in results.values() for name, verdict in of_key.items()
        if not verdict.passed
    )  # fmt: skip
    said = ", ".join(f"{count} {what}" for what, count in sorted(bad.items())) or "all passed"
    (warn if bad else info)(f"checks of {len(results)} cell(s): {said}; {recorded} result(s) recorded")
