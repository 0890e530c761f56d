"""The code location over a folder of its own, with its jobs run in process."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from quant_assets.definitions import build_definitions
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets_tests.support import days_between

WEEK = days_between(date(2013, 2, 11), date(2013, 2, 15))
DAY = date(2013, 2, 13)


@dataclass
class Platform:
    """Definitions over one home, their instance, and a way to run their jobs."""

    settings: Settings
    instance: dg.DagsterInstance
    defs: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self.defs = build_definitions(self.settings)

    @property
    def store(self) -> LocalObjectStore:
        return LocalObjectStore(Path(self.settings.store_location))

    def follow(self, **symbols: Sequence[str | Mapping[str, str]]) -> None:
        """Lists these symbols per exchange, and makes the catalog of them."""
        assert self.settings.universe is not None
        self.settings.universe.write_text(json.dumps(symbols))
        assert self.run("symbol_catalog_job").success

    def run(
        self, job: str, first: str | None = None, last: str | None = None, config: Any = None, **more: Any
    ) -> dg.ExecuteInProcessResult:
        tags = dict(more.pop("tags", {}))
        if last is not None:
            tags["dagster/asset_partition_range_start"] = first
            tags["dagster/asset_partition_range_end"] = last
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=first if last is None else None,
            tags=tags,
            run_config=config or {},
            raise_on_error=False,
        )

    def sense(self, sensor: str, cursor: str | None, **resources: Any) -> Any:
        """What a sensor answers now."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            repository_def=self.defs.get_repository_def(),
            resources={**(self.defs.resources or {}), **resources},
        ) as context:
            return self.defs.resolve_sensor_def(sensor).evaluate_tick(context)

    def days(self, first: date, last: date, **more: Any) -> dg.ExecuteInProcessResult:
        return self.run("daily_prices_us", f"{first}|US", f"{last}|US", **more)

    def recorded(self, table: str, run_id: str) -> dict[str, dict[str, Any]]:
        """What a run materialized: metadata by partition, numbers without the exchange in their names."""
        condition = dg.AssetRecordsFilter(dg.AssetKey(table))
        records = self.instance.fetch_materializations(condition, limit=1000).records
        return {
            str(record.partition_key): {
                re.sub(r" \([A-Z]+\)$", "", name): value.value
                for name, value in record.asset_materialization.metadata.items()
            }
            for record in records
            if record.run_id == run_id and record.asset_materialization is not None
        }


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The reason that the failed step itself gives, the first of them: valuations are tried after failed prices."""
    assert not result.success
    event = next(e for e in result.all_events if e.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)
