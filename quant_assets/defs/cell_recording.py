"""What a run that writes daily cells records in Dagster: materializations as it goes along, and results of checks.

Every batch of cells is judged before it is materialized, and what holds up what is downstream is on record by then,
so that no automation can act on a cell that it should not touch. `asset_checks` says what is recorded of a long run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime

import dagster as dg

from quant_assets.defs.asset_checks import (
    BLOCKING,
    DESCRIPTIONS,
    FRESHNESS,
    CellJudge,
    Verdicts,
    cell_line,
    check_key,
    chosen,
    summary,
)
from quant_assets.defs.cell_metadata import cell_materialization, made_by
from quant_assets.defs.dagster_internals import (
    Context,
    failed_partitions,
    latest_materialization,
    materialize_now,
    report_check,
)
from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.rendering import markdown_table
from quant_assets.exchanges import Exchange
from quant_assets.ingest.report import FillReport
from quant_assets.market.checks import Severity, Verdict
from quant_assets.market.coverage import CellState
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry

_SEVERITIES = {
    None: dg.AssetCheckSeverity.ERROR,
    Severity.WARN: dg.AssetCheckSeverity.WARN,
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
}


class CellRecorder:
    """Records the cells of one run: `cells` for each batch written, `rest` for a finished fill, `finish` at the end.

    Args:
        partitions: the partition keys that the run is about; they are judged at the end though nothing was written.
        now: the platform's clock, UTC.
        checks: the names of the checks to judge; all by default.
    """

    def __init__(
        self,
        context: Context,
        store: ObjectStore,
        exchanges: Mapping[str, Exchange],
        partitions: Collection[str],
        now: datetime,
        checks: Collection[str] = tuple(DESCRIPTIONS),
    ) -> None:
        self._context, self._store, self._partitions = context, store, partitions
        self._checks = checks
        self._made_by = made_by(context.instance)
        self._judges = {code: CellJudge(store, exchange, now) for code, exchange in exchanges.items()}
        self._results: dict[str, Verdicts] = {}
        self._materialized: set[str] = set()

    def cells(self, report: FillReport, entries: Mapping[date, Entry]) -> None:
        """Judges and materializes a batch of cells that are in the manifest now; failed ones are judged only."""
        self._judges[report.exchange].learn(entries)
        self._settle(report, entries)

    def _settle(self, report: FillReport, entries: Mapping[date, Entry]) -> None:
        code = report.exchange
        verdicts = self._judge(code, entries)
        blocking = check_key(BLOCKING)
        was_failed = failed_partitions(self._context.instance, [blocking], verdicts.keys())[blocking]
        # Before the materializations that set off what is downstream: that it must not be, or may be again. Errors
        # last, for the views show the last result.
        good = {daily_key(code, day): entry for day, entry in sorted(entries.items()) if _is_there(entry)}
        settled = {key: verdicts[key][BLOCKING] for key in good}
        for key in sorted(settled, key=lambda key: settled[key].is_error):
            if settled[key].is_error or key in was_failed:
                self._record(key, BLOCKING, settled[key])
        materializations = [
            cell_materialization(
                self._store,
                report,
                date.fromisoformat(entry.partition),
                entry,
                self._made_by,
                cell_line(verdicts[key]),
            )
            for key, entry in good.items()
        ]
        materialize_now(self._context, materializations)
        self._materialized |= good.keys()

    def rest(self, report: FillReport) -> None:
        """Records the cells of a fill that it did not have to write: in order before, closed, or damaged."""
        known = self._materialized
        self._settle(
            report,
            {day: e for day, e in report.cells.items() if daily_key(report.exchange, day) not in known},
        )

    def changed(self, report: FillReport) -> None:
        """Records only the cells that a fill has put: of a sweep, which asks for every stored cell."""
        self._settle(report, report.changed)

    def finish(self) -> None:
        """Judges what has not been judged, and records the results of the run."""
        days: dict[str, list[date]] = {}
        for key in self._partitions:
            if key not in self._results:
                code, day = split_key(DAILY, key)
                days.setdefault(code, []).append(date.fromisoformat(str(day)))
        for code, of_exchange in days.items():
            self._judge(code, of_exchange)
        self._judge_freshness()
        results = {
            key: {name: verdict for name, verdict in of_key.items() if name in self._checks}
            for key, of_key in self._results.items()
        }
        for name in self._checks:
            of_run = summary({key: of_key[name] for key, of_key in results.items()})
            self._report(name, of_run.summary, of_run, None)
        failed = failed_partitions(
            self._context.instance, [check_key(name) for name in self._checks], results.keys()
        )
        records = chosen(results, self._materialized, {key.name: keys for key, keys in failed.items()})
        for key, name, verdict in records:
            self._record(key, name, verdict)
        bad = Counter(
            f"{name} {verdict.severity}" for of_key in results.values() for name, verdict in of_key.items()
            if not verdict.passed
        )  # fmt: skip
        found = ", ".join(f"{count} {what}" for what, count in sorted(bad.items())) or "all passed"
        log = self._context.log.warning if bad else self._context.log.info
        log(f"checks of {len(results)} cell(s): {found}; {len(records)} result(s) of cells recorded")

    def _judge(self, code: str, days: Iterable[date]) -> dict[str, Verdicts]:
        verdicts = {daily_key(code, day): v for day, v in self._judges[code].judge(days)}
        self._results |= verdicts
        return verdicts

    def _judge_freshness(self) -> None:
        """Of every cell anew: which one is the latest is known once all are there."""
        days: dict[str, dict[date, str]] = {}
        for key in self._results:
            code, day = split_key(DAILY, key)
            days.setdefault(code, {})[date.fromisoformat(str(day))] = key
        for code, of_exchange in days.items():
            for day, verdict in self._judges[code].freshness(of_exchange).items():
                self._results[of_exchange[day]][FRESHNESS] = verdict

    def _record(self, key: str, name: str, verdict: Verdict) -> None:
        self._report(name, f"{key}: {verdict.summary}", verdict, key)

    def _report(self, name: str, text: str, verdict: Verdict, partition: str | None) -> None:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(DAILY),
            check_name=name,
            passed=verdict.passed,
            severity=_SEVERITIES[verdict.severity],
            description=text,
            metadata={}
            if verdict.table is None
            else {"rows": dg.MetadataValue.md(markdown_table(verdict.table))},
            target_materialization_data=latest_materialization(
                self._context.instance, dg.AssetKey(DAILY), partition
            ),
            blocking=name == BLOCKING,
            partition=partition,
        )
        report_check(self._context, evaluation)


def _is_there(entry: Entry) -> bool:
    """Whether a cell is one to rest on: what is failed is not materialized."""
    return entry.state is not CellState.FAILED


def judge_again(
    context: dg.AssetExecutionContext,
    store: ObjectStore,
    exchanges: Mapping[str, Exchange],
    partitions: Collection[str],
    now: datetime,
) -> None:
    """Judges stored cells anew for the checks that a run asks for without the asset (*Execute* in the UI).

    The run's partitions; without any (the UI's button names none), the cells whose latest result of one of these
    checks did not pass, and the latest cell of each exchange.
    """
    names = [key.name for key in context.selected_asset_check_keys]
    keys = set(partitions)
    if not keys:
        failed = failed_partitions(context.instance, [check_key(name) for name in names])
        keys = {
            key for of_check in failed.values() for key in of_check if split_key(DAILY, key)[0] in exchanges
        }
        for code, exchange in exchanges.items():
            latest = CellJudge(store, exchange, now).latest()
            if latest is not None:
                keys.add(daily_key(code, latest))
    CellRecorder(context, store, exchanges, sorted(keys), now, names).finish()
