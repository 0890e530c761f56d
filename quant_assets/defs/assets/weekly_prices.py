"""`weekly_prices`: weekly bars on the share basis of each week's last session."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
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
from quant_assets.tables.year_rows import side_by_side


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

        def of_year(keys: Sequence[str]) -> _Year:
            """What there is of the weeks `keys` of one exchange and year."""
            code = weeks[keys[0]][0]
            exchange = by_code[code]
            inputs = {key: week_inputs(exchange, weeks[key][1], cells[code]) for key in keys}
            unusable = {key: _why_unusable(exchange, one, damaged[code]) for key, one in inputs.items()}
            to_make = {
                key: one
                for key, one in inputs.items()
                if not unusable[key] and one.why_stale(made[code].get(one.partition)) is not None
            }
            frames = weeks_of_history(home, exchange, to_make, memory_mb=memory_mb)
            return _Year(exchange, inputs, unusable, to_make.keys() - frames.keys(), frames)

        def weeks_of(year: _Year) -> Iterator[tuple[str, TableOutput]]:
            """The weeks of one exchange and year, by key."""
            for key, one in year.inputs.items():
                if failed := year.unusable[key]:
                    yield key, failed
                    continue
                frame = year.frames.pop(key, None)
                if key in year.left:
                    code = year.exchange.code
                    try:
                        daily = daily_prices.many(
                            [daily_key(code, date.fromisoformat(day)) for day in one.days]
                        )
                    except ObjectDamaged as error:
                        yield key, TableOutput(None, CellState.FAILED, str(error))
                        continue
                    calendar, missing = expectations([one])
                    frame = weekly_bars(daily, calendar, year.exchange.first_weekday, missing=missing)
                facts = {"sessions": len(one.sessions), "cells": len(one.days)}
                yield key, TableOutput(frame, one.state, inputs_sha256=one.sha256, metadata=facts)

        def bars() -> Iterator[tuple[str, TableOutput]]:
            years = groupby(weeks, lambda key: (weeks[key][0], weeks[key][1].year))
            for year in side_by_side(of_year, [list(keys) for _, keys in years]):
                yield from weeks_of(year)

        return PartitionOutputs(bars())

    return weekly_prices


@dataclass(frozen=True, slots=True)
class _Year:
    """The weeks of an exchange and year, by key: what each is made from, why one cannot be, which are `left` to make
    from their cells, and those that the year's history has given."""

    exchange: Exchange
    inputs: Mapping[str, Inputs]
    unusable: Mapping[str, TableOutput | None]
    left: Set[str]
    frames: dict[str, pl.DataFrame]


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
