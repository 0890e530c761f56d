"""`price_history`: a year of daily cells in one object, by symbol and date: a cache that reads are quick from."""

from collections.abc import Iterator, Sequence

import dagster as dg

from quant_assets.defs.io_manager import PartitionOutputs, TableOutput
from quant_assets.defs.partition_keys import split_key
from quant_assets.defs.partitions import DATE, EXCHANGE, YEAR, Grids
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectDamaged, ObjectNotFound
from quant_assets.tables.daily import read_cells
from quant_assets.tables.layout import DAILY, HISTORY
from quant_assets.tables.lineage import RULES, year_inputs
from quant_assets.tables.manifest import Manifest


def make_price_history(grids: Grids, exchanges: Sequence[Exchange]) -> dg.AssetsDefinition:
    """The asset, over the yearly grid."""
    by_code = {exchange.code: exchange for exchange in exchanges}
    cells_of_year = dg.MultiPartitionMapping(
        {
            EXCHANGE: dg.DimensionPartitionMapping(EXCHANGE, dg.IdentityPartitionMapping()),
            DATE: dg.DimensionPartitionMapping(
                YEAR, dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
            ),
        }
    )

    @dg.asset(
        name=HISTORY,
        partitions_def=grids.yearly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetDep(DAILY, partition_mapping=cells_of_year)],
        **page(HISTORY),
    )
    def price_history(
        context: dg.AssetExecutionContext, store: StoreResource, clock: ClockResource
    ) -> PartitionOutputs:
        home, rule = store.open(), RULES[HISTORY]

        def years() -> Iterator[tuple[str, TableOutput]]:
            for key in context.partition_keys:
                code, year = split_key(HISTORY, key)
                number = int(str(year))
                damaged: dict[str, str] = {}
                cells = Manifest(home, DAILY).refresh(code, number, damaged=damaged)
                if damaged:
                    yield key, TableOutput(None, CellState.FAILED, next(iter(damaged.values())))
                    continue
                inputs = year_inputs(by_code[code], number, cells, clock.now())
                days = inputs.days
                if not days:
                    reason = f"no daily cell of {code} in {number}: backfill {DAILY} first"
                    yield key, TableOutput(None, CellState.FAILED, reason)
                    continue
                made = Manifest(home, HISTORY).refresh(code, number).get(str(year))
                frame = None
                if inputs.why_stale(made) is not None:
                    try:
                        frame = read_cells(home, code, number, {day: cells[day] for day in days}, rule)
                    except (ObjectDamaged, ObjectNotFound) as error:
                        yield key, TableOutput(None, CellState.FAILED, str(error))
                        continue
                yield (
                    key,
                    TableOutput(
                        frame,
                        inputs.state,
                        inputs_sha256=inputs.sha256,
                        # By the cells a reader knows which are newer than this object.
                        facts={"cells": {day: cells[day].content_sha256 for day in days}, "rule": rule},
                        metadata={"cells": len(days), "sessions": len(inputs.sessions)},
                    ),
                )

        return PartitionOutputs(years())

    return price_history
