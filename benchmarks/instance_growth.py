"""What cells cost in Dagster's instance: seconds and bytes to record them, to show them, and to prune what is old.

    python -m benchmarks.instance_growth [CELLS]      # 100,000 by default: twenty exchanges over twenty years

Cells are recorded as a run does it (`cell_materialization`, in batches), 5,000 a run, twice: the second time as if
everything had been fetched again, so that the first half of the events is what pruning removes.
"""

import os
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from quant_assets.defs.cell_metadata import cell_materialization
from quant_assets.defs.dagster_internals import materialize_now
from quant_assets.defs.retention import prune
from quant_assets.ingest.report import FillReport
from quant_assets.instance import open_instance
from quant_assets.market.coverage import CellState
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry

_A_RUN = 5_000
_BATCH = 250
_FIRST = date(2004, 1, 5)
_REPORTS = [FillReport(f"X{number}") for number in range(20)]


def main() -> None:
    """Prints a line for each thing measured."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        store = LocalObjectStore(Path(folder) / "store")
        with open_instance(settings) as instance:
            for again in ("recorded", "recorded again"):
                took = time.monotonic(), time.process_time()
                for start in range(0, cells, _A_RUN):
                    _record(instance, store, start, min(cells, start + _A_RUN))
                wall, cpu = time.monotonic() - took[0], time.process_time() - took[1]
                size = _size(settings.dagster_home)
                print(
                    f"{again}: cells={cells:,} seconds={wall:.1f} cpu={cpu:.1f} ms_a_cell={1000 * cpu / cells:.2f} "
                    f"MB={size / 1e6:.0f} KB_a_cell={size / 1000 / cells:.1f}",
                    flush=True,
                )
            began = time.monotonic()
            shown = instance.get_materialized_partitions(dg.AssetKey(DAILY))
            print(f"shown: partitions={len(shown):,} seconds={time.monotonic() - began:.1f}", flush=True)
            began = time.monotonic()
            pruned = prune(instance, datetime.now(UTC) + timedelta(minutes=1))
            seconds = time.monotonic() - began
            assert instance.get_materialized_partitions(dg.AssetKey(DAILY)) == shown
        size = _size(settings.dagster_home)
        print(
            f"pruned: runs={pruned.runs} events={pruned.events:,} seconds={seconds:.1f} MB={size / 1e6:.0f} "
            f"KB_a_cell={size / 1000 / cells:.1f}"
        )


def _record(instance: dg.DagsterInstance, store: LocalObjectStore, start: int, end: int) -> None:
    @dg.op
    def record(context: dg.OpExecutionContext) -> None:
        for first in range(start, end, _BATCH):
            materialize_now(
                context, [_cell(store, number) for number in range(first, min(end, first + _BATCH))]
            )

    @dg.job
    def recording() -> None:
        record()

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert recording.execute_in_process(instance=instance, run_config=quiet).success


def _cell(store: LocalObjectStore, number: int) -> dg.AssetMaterialization:
    day = _FIRST + timedelta(days=number // 20)
    entry = Entry(
        day.isoformat(), CellState.COMPLETE, rows=2000, size=50_000, version="1", content_sha256=f"{number:064x}",
        expected=2000, received=2000,
    )  # fmt: skip
    return cell_materialization(
        store, _REPORTS[number % 20], day, entry, {"dagster/code_version": "1"}, "all passed"
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    main()
