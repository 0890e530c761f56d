"""The product on a home of its own, in this process, at a moment that it shares with the replay server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from typer.testing import CliRunner

from benchmarks.simulated_listings.world import World
from quant_assets.catalog.build import followed
from quant_assets.cli.app import app
from quant_assets.definitions import build_definitions
from quant_assets.defs.assets.symbol_catalog import make_symbol_catalog
from quant_assets.defs.partition_keys import table_key
from quant_assets.defs.universe_refresh import UniverseRules
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.ingest.report import FillReport
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings, load_settings
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import CATALOG, HISTORY, object_key
from quant_assets.tables.parquet import encode, read_table

EXCHANGE = "US"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SetVariable = Callable[[str, str], None]


class Platform:
    """Universes, the catalog and the daily cells of one exchange. What Dagster would only record it leaves out.

    Args:
        home: its folder; universes are read from CSV files in it.
        set_variable: sets an environment variable, by which the product is configured.
    """

    def __init__(
        self, home: Path, server: ReplayHandle, universes: Sequence[str], set_variable: SetVariable
    ) -> None:
        self.home, self._server, self._set = home, server, set_variable
        home.mkdir(parents=True, exist_ok=True)
        columns = "columns: {symbol: symbol, name: name, isin: isin}"
        (home / "universes.yaml").write_text(
            "universes:\n"
            + "".join(
                f"  - {{name: {name}, exchange: {EXCHANGE}, source: {{kind: csv, path: {name}.csv, {columns}}}}}\n"
                for name in universes
            )
        )
        variables = {
            "HOME": str(home), "EXCHANGES": EXCHANGE, "UNIVERSE": str(home / "universes.yaml"),
            "SOURCE_URL": server.url, "REQUESTS_PER_SECOND": "0", "ATTEMPTS": "1", "TIMEOUT_SECONDS": "5",
            "RETRY_WAIT_SECONDS": "0", "COOL_DOWN_SECONDS": "0.01", "RATE_LIMIT_BUDGET_SECONDS": "1",
        }  # fmt: skip
        for name, value in variables.items():
            set_variable(f"QUANT_ASSETS_{name}", value)
        self.exchange = exchange(EXCHANGE)
        self.settings: Settings = load_settings()
        rules = UniverseRules(home / "universes.yaml", [self.exchange], self.settings.universe_shrink)
        # The function itself, and one context: what Dagster does around it takes longer than the catalog.
        self._catalog: Any = make_symbol_catalog(rules).op.compute_fn
        self._context = dg.build_asset_context(instance=dg.DagsterInstance.ephemeral())
        self._source = YahooResource.of(self.settings)
        self.requests = 0

    def set_clock(self, now: datetime) -> None:
        """Moves both clocks."""
        self._server.set_clock(now)
        self._set("QUANT_ASSETS_NOW", now.isoformat())
        self.settings = load_settings()

    def evening(self, day: date) -> datetime:
        """When a session can be filled."""
        return self.exchange.calendar().closes_at(day) + self.exchange.delay

    def publish(self, world: World, universe: str, at: int, *, broken: bool = False) -> None:
        """Writes the list of a universe as it is in force on a session."""
        world.write_list(universe, at, self.home / f"{universe}.csv", broken=broken)

    def refresh(self, *options: str) -> int:
        """`quant-assets refresh-universe`; answers its exit code."""
        done = CliRunner().invoke(app, ["refresh-universe", *options], catch_exceptions=False)
        return done.exit_code

    def symbols(self) -> set[str]:
        """Those of the catalog."""
        try:
            catalog = read_table(open_store(self.settings.store_location), object_key(CATALOG))
        except ObjectNotFound:
            return set()
        return set(catalog["symbol"])

    def make_catalog(self) -> None:
        """What the asset `symbol_catalog` makes, put in its place."""
        settings = self.settings
        made: Any = self._catalog.decorated_fn(
            self._context,
            store=StoreResource(location=settings.store_location),
            source=self._source,
            clock=ClockResource(fixed=settings.clock().isoformat()),
        )
        store, key = open_store(settings.store_location), object_key(CATALOG)
        try:
            previous = read_table(store, key)
        except ObjectNotFound:
            previous = None
        if previous is None or not made.frame.equals(previous):
            store.put(key, encode(made.frame, {}))

    def fill(
        self, days: Sequence[date], only: Collection[str] | None = None, mode: Mode = Mode.INCREMENTAL
    ) -> FillReport:
        """Fills cells, for the symbols of the catalog or some of them."""
        settings = self.settings
        store = open_store(settings.store_location)
        source = YahooSource(settings)
        try:
            rules = FillRules(
                settings.spill_folder, settings.look_back_sessions, settings.least_coverage(EXCHANGE)
            )
            catalog = followed(read_table(store, object_key(CATALOG)), EXCHANGE)
            report = fill_cells(
                FillContext(self.exchange, store, source, settings.clock, rules),
                FillRequest(list(days), catalog, only, mode),
            )
        finally:
            source.close()
        self.requests += report.requests
        return report

    def make_history(self, first: date, last: date) -> None:
        """The years of the table that reads are quick from."""
        settings = self.settings
        ends = {
            "dagster/asset_partition_range_start": table_key(HISTORY, EXCHANGE, str(first.year)),
            "dagster/asset_partition_range_end": table_key(HISTORY, EXCHANGE, str(last.year)),
        }
        with dg.DagsterInstance.ephemeral() as instance:
            job = build_definitions(settings).resolve_job_def(f"{HISTORY}_job")
            job.execute_in_process(instance=instance, tags=ends, run_config=_QUIET)
