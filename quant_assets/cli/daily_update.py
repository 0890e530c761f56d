"""The daily job from the command line: catalog, prices, valuations, weekly bars, history, profiles and report pages.

Each is a collector of its own: one that fails leaves the others running, and the summary says which.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.cli.selection import Selection
    from quant_assets.exchanges import Exchange
    from quant_assets.local_runs import RunFailed, Runner
    from quant_assets.tables.manifest import Entry


@dataclass
class Collector:
    """What came of one collector, over all exchanges."""

    name: str
    counts: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])
    complete: bool = True
    """Whether it got all that it asked for, where it did not fail."""

    @property
    def lacks(self) -> bool:
        """Whether it failed, or got less than it asked for."""
        return bool(self.failed) or not self.complete

    def line(self) -> str:
        """The line of the summary: `valuations ok rows=3 unanswered=0`, `valuations failed: …`."""
        said = [f"{name}={count}" for name, count in self.counts.items()]
        state = "ok" if self.complete else "partial"
        parts = [f"failed: {'; '.join(self.failed)}"] if self.failed else []
        if said or not (self.failed or self.skipped):
            parts.append(" ".join([state, *said]))
        if self.skipped:
            parts.append(f"skipped: {'; '.join(self.skipped)}")
        return " ".join(f"{self.name} {'; '.join(parts)}".split())


@dataclass
class _Prices:
    """What came of the cells that were asked for."""

    asked: list[tuple[str, Entry]] = field(default_factory=list["tuple[str, Entry]"])
    problems: list[RunFailed] = field(default_factory=list["RunFailed"])
    held: list[pl.DataFrame] = field(default_factory=list["pl.DataFrame"])
    absent: dict[str, list[date]] = field(default_factory=dict[str, "list[date]"])
    restated: int = 0

    def line(self) -> str:
        """The line of the summary: `prices complete=1 partial=0 closed=0 failed=0`."""
        states = Counter(entry.state.value for _, entry in self.asked)
        counts = [f"{state}={states[state]}" for state in ("complete", "partial", "closed", "failed")]
        why = f"; failed: {'; '.join(map(str, self.problems))}" if self.problems else ""
        return " ".join(f"prices {' '.join(counts)}{why}".split())


class DailyUpdate:
    """One session of each of some exchanges, all that is collected of it, and what is made from it."""

    def __init__(self, runner: Runner, wanted: Selection) -> None:
        self._runner = runner
        self._wanted = wanted
        self._prices = _Prices()
        names = ("catalog", "valuations", "weekly", "history", "profiles", "report")
        self._others = {name: Collector(name) for name in names}

    def run(self, work: list[tuple[Exchange, date]]) -> int:
        """Collects everything and prints what came of it; answers the exit code: 0; 2 where a collector failed or
        something is missing; 1 where no price is usable."""
        from quant_assets.cli.console import console, print_error
        from quant_assets.cli.outcome import told
        from quant_assets.local_runs import RunFailed

        self._catalog()
        symbols = self._wanted.in_catalog(self._runner.store, [exchange.code for exchange, _ in work])
        for exchange, session in work:
            self._collect(exchange, session, symbols)
        prices = self._prices
        try:
            self._runner.inventory()
        except RunFailed as error:
            # After a failure, or where all that came is held, this only says that there is nothing to sum up.
            if not prices.problems and all(waiting.is_empty() for waiting in prices.held):
                self._others["profiles"].failed.append(str(error))
        self._report()
        lines = [collector.line() for collector in self._others.values()]
        for line in (lines[0], prices.line(), *lines[1:]):
            console.print(line, markup=False, soft_wrap=True)
        code = told(prices.asked, prices.problems, prices.held, prices.absent, prices.restated)
        lacking = [collector for collector in self._others.values() if collector.lacks]
        for collector in lacking:
            for why in collector.failed:
                print_error(f"{collector.name}: {why}")
        return code or (2 if lacking else 0)

    def _catalog(self) -> None:
        from quant_assets.local_runs import RunFailed
        from quant_assets.tables.layout import CATALOG, object_key

        try:
            self._runner.catalog()
        except RunFailed as error:
            if self._runner.store.head(object_key(CATALOG)) is None:
                raise
            # That of the last time still says whom to ask for.
            self._others["catalog"].failed.append(str(error))

    def _collect(self, exchange: Exchange, session: date, symbols: list[str]) -> None:
        import polars as pl

        from quant_assets.ingest.plan import Mode
        from quant_assets.local_runs import RunFailed
        from quant_assets.maintenance.inventory import absent_sessions
        from quant_assets.tables.layout import DAILY, HISTORY, PROFILES, WEEKLY
        from quant_assets.tables.manifest import Manifest
        from quant_assets.tables.quarantine import claims

        runner, prices, code = self._runner, self._prices, exchange.code
        try:
            runner.daily(exchange, [session], symbols=symbols, mode=Mode.INCREMENTAL)
        except RunFailed as error:
            prices.problems.append(error)
        self._valuations(exchange, session, symbols)
        # Also after a failure: the cells that did come are good. And what was restated may lie before the session.
        first = min(session, runner.first_changed(code) or session)
        for table, name in ((WEEKLY, "weekly"), (HISTORY, "history"), (PROFILES, "profiles")):
            self._make(self._others[name], exchange, (first, session), table)
        prices.restated += runner.restated(code)
        entries = Manifest(runner.store, DAILY).between(code, session, session)
        prices.asked += [(code, entry) for entry in entries.values()]
        asked_for = symbols or runner.symbols(code)
        prices.held.append(claims(runner.store, code).filter(pl.col("symbol").is_in(asked_for)))
        prices.absent[code] = absent_sessions(runner.store, exchange)

    def _make(self, collector: Collector, exchange: Exchange, span: tuple[date, date], table: str) -> None:
        from quant_assets.local_runs import RunFailed
        from quant_assets.resources.object_store import ObjectDamaged

        try:
            collector.counts["made"] += self._runner.derived(exchange, *span, [table], open_weeks=False)
        except (RunFailed, ObjectDamaged) as error:
            collector.failed.append(str(error))

    def _report(self) -> None:
        from quant_assets.local_runs import RunFailed

        collector = self._others["report"]
        try:
            collector.counts["pages"] = self._runner.report_pages()
        except RunFailed as error:
            collector.failed.append(str(error))

    def _valuations(self, exchange: Exchange, session: date, symbols: list[str]) -> None:
        from quant_assets.ingest.valuations import why_not_askable
        from quant_assets.local_runs import RunFailed
        from quant_assets.resources.object_store import ObjectDamaged

        settings, collector = self._runner.settings, self._others["valuations"]
        if not settings.valuations:
            collector.skipped = ["QUANT_ASSETS_VALUATIONS=false"]
            return
        if why := why_not_askable(exchange, session, settings.clock()):
            collector.skipped.append(why)
            return
        try:
            taken = self._runner.valuations(exchange, session, symbols)
        except (RunFailed, ObjectDamaged) as error:
            collector.failed.append(str(error))
            return
        collector.complete &= not taken.failed
        more = {"failed": taken.failed} if taken.failed else {}
        collector.counts.update({"rows": taken.rows, "unanswered": taken.unanswered, **more})
