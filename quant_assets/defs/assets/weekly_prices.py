"""`weekly_prices`: weekly bars on the share basis of each week's last session."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.defs.io_manager import PartitionFrames, PartitionOutputs, TableOutput
from quant_assets.defs.partition_keys import daily_key, split_key
from quant_assets.defs.partitions import DATE, EXCHANGE, WEEK, Grids
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import weekly_bars
from quant_assets.market.weeks import MONDAY
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.layout import DAILY, WEEKLY
from quant_assets.tables.lineage import Inputs, bars_missing, entries_of, week_inputs


def make_weekly_prices(grids: Grids, exchanges: Sequence[Exchange]) -> dg.AssetsDefinition:
    """The asset, over the weekly grid."""
    by_code = {exchange.code: exchange for exchange in exchanges}
    cells_of_week = dg.MultiPartitionMapping(
        {
            EXCHANGE: dg.DimensionPartitionMapping(EXCHANGE, dg.IdentityPartitionMapping()),
            DATE: dg.DimensionPartitionMapping(
                WEEK,
                # Weeks of all exchanges have Mondays for keys. Where one begins before its Monday, the week before
                # counts as upstream, too: a mapping knows no exchange. What a week rests on, the asset itself knows.
                dg.TimeWindowPartitionMapping(
                    start_offset=0 if all(e.first_weekday == MONDAY for e in exchanges) else -1,
                    allow_nonexistent_upstream_partitions=True,
                ),
            ),
        }
    )

    @dg.asset(
        name=WEEKLY,
        partitions_def=grids.weekly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={DAILY: dg.AssetIn(DAILY, partition_mapping=cells_of_week)},
        **page(WEEKLY),
    )
    def weekly_prices(
        context: dg.AssetExecutionContext, store: StoreResource, daily_prices: PartitionFrames
    ) -> PartitionOutputs:
        home = store.open()
        weeks = {key: _monday(key) for key in context.partition_keys}
        made = entries_of(home, WEEKLY, weeks.values())
        damaged: dict[str, dict[str, str]] = {}
        begun = [(code, by_code[code].week_days(week)[0]) for code, week in weeks.values()]
        cells = entries_of(home, DAILY, begun, reach=6, damaged=damaged)

        def bars() -> Iterator[tuple[str, TableOutput]]:
            for key, (code, monday) in weeks.items():
                first, last = (day.isoformat() for day in by_code[code].week_days(monday))
                inputs = week_inputs(by_code[code], monday, cells[code])
                sessions, days = inputs.sessions, inputs.days
                if not sessions:
                    yield key, TableOutput(None, CellState.CLOSED, f"{code} did not trade that week")
                    continue
                unusable = [why for day, why in damaged[code].items() if first <= day <= last]
                if unusable:
                    yield key, TableOutput(None, CellState.FAILED, unusable[0])
                    continue
                if not days:
                    reason = f"no daily cell of {code} in the week of {monday}: backfill {DAILY} first"
                    yield key, TableOutput(None, CellState.FAILED, reason)
                    continue
                frame = None
                if inputs.why_stale(made[code].get(monday.isoformat())) is not None:
                    try:
                        daily = daily_prices.many([daily_key(code, date.fromisoformat(d)) for d in days])
                    except ObjectDamaged as error:
                        yield key, TableOutput(None, CellState.FAILED, str(error))
                        continue
                    calendar, missing = _expectations(inputs)
                    frame = weekly_bars(daily, calendar, by_code[code].first_weekday, missing=missing)
                yield (
                    key,
                    TableOutput(
                        frame,
                        inputs.state,
                        inputs_sha256=inputs.sha256,
                        metadata={"sessions": len(sessions), "cells": len(days)},
                    ),
                )

        return PartitionOutputs(bars())

    return weekly_prices


def _expectations(inputs: Inputs) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `weekly_bars` has to know of a week: its sessions, and the bars that were expected and are missing."""
    cells = inputs.cells
    asked = [
        (day := session.isoformat()) in cells and cells[day].state is not CellState.CLOSED
        for session in inputs.sessions
    ]
    missing = [
        (symbol, date.fromisoformat(day)) for day, entry in cells.items() for symbol in bars_missing(entry)
    ]
    return (
        pl.DataFrame(
            {"date": inputs.sessions, "asked": asked}, schema={"date": pl.Date, "asked": pl.Boolean}
        ),
        pl.DataFrame(missing, schema={"symbol": pl.String, "date": pl.Date}, orient="row"),
    )


def _monday(key: str) -> tuple[str, date]:
    exchange, week = split_key(WEEKLY, key)
    return exchange, date.fromisoformat(str(week))
