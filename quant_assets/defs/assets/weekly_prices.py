"""`weekly_prices`: weekly bars on the share basis of each week's last session."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby

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
from quant_assets.tables.lineage import Inputs, entries_of, week_inputs
from quant_assets.tables.weeks_of_history import expectations, weeks_of_history


def make_weekly_prices(
    grids: Grids, exchanges: Sequence[Exchange], memory_mb: int = 512
) -> dg.AssetsDefinition:
    """The asset, over the weekly grid; `memory_mb` bounds the rows that are read at once."""
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

        def weeks_of(code: str, mine: Sequence[str]) -> Iterator[tuple[str, TableOutput]]:
            """The weeks of one exchange, by key."""
            exchange = by_code[code]
            inputs = {key: week_inputs(exchange, weeks[key][1], cells[code]) for key in mine}
            unusable = {key: _why_unusable(exchange, one, damaged[code]) for key, one in inputs.items()}
            to_make = {
                key: one
                for key, one in inputs.items()
                if not unusable[key] and one.why_stale(made[code].get(one.partition)) is not None
            }
            of_years = weeks_of_history(home, exchange, to_make, memory_mb=memory_mb)
            frames: dict[str, pl.DataFrame] = {}
            year = None
            for key, one in inputs.items():
                if failed := unusable[key]:
                    yield key, failed
                    continue
                if key in to_make and weeks[key][1].year != year:
                    frames, year = next(of_years), weeks[key][1].year
                frame = frames.pop(key, None)
                if frame is None and key in to_make:
                    try:
                        daily = daily_prices.many(
                            [daily_key(code, date.fromisoformat(day)) for day in one.days]
                        )
                    except ObjectDamaged as error:
                        yield key, TableOutput(None, CellState.FAILED, str(error))
                        continue
                    calendar, missing = expectations([one])
                    frame = weekly_bars(daily, calendar, exchange.first_weekday, missing=missing)
                facts = {"sessions": len(one.sessions), "cells": len(one.days)}
                yield key, TableOutput(frame, one.state, inputs_sha256=one.sha256, metadata=facts)

        def bars() -> Iterator[tuple[str, TableOutput]]:
            for code, keys in groupby(weeks, lambda key: weeks[key][0]):
                yield from weeks_of(code, list(keys))

        return PartitionOutputs(bars())

    return weekly_prices


def _why_unusable(exchange: Exchange, week: Inputs, damaged: Mapping[str, str]) -> TableOutput | None:
    """What there is instead of bars, for a week that none can be made of."""
    monday = date.fromisoformat(week.partition)
    if not week.sessions:
        return TableOutput(None, CellState.CLOSED, f"{exchange.code} did not trade that week")
    first, last = (day.isoformat() for day in exchange.week_days(monday))
    if unusable := [why for day, why in damaged.items() if first <= day <= last]:
        return TableOutput(None, CellState.FAILED, unusable[0])
    if not week.days:
        reason = f"no daily cell of {exchange.code} in the week of {monday}: backfill {DAILY} first"
        return TableOutput(None, CellState.FAILED, reason)
    return None


def _monday(key: str) -> tuple[str, date]:
    exchange, week = split_key(WEEKLY, key)
    return exchange, date.fromisoformat(str(week))
