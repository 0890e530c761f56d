"""When each exchange's daily prices are due, as Dagster's freshness policies: an asset an exchange beside the tables.

A policy is of an asset and knows neither partitions nor holidays. So each exchange has an asset of its own,
`daily_prices_due/us`, whose deadline is the exchange's usual close and an hour, in its zone. A sensor marks it once
the session that is due by then has usable prices, or where there is none: on a holiday nothing is late, and after an
early close what is there in time is there by the usual deadline (the alert `data stale` counts from the early close).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

import dagster as dg

from quant_assets.defs.alerts.found import stale
from quant_assets.defs.cursors import dumped, read_cursor
from quant_assets.defs.dagster_internals import cron_ticks
from quant_assets.exchanges import Exchange
from quant_assets.maintenance.freshness import due_after
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Entry, Manifest

AHEAD = timedelta(minutes=60)
"""How long before its deadline a session's prices may be marked."""
_DAYS = 30


def due_key(exchange: str) -> dg.AssetKey:
    """The asset that stands for an exchange's prices being there in time."""
    return dg.AssetKey([f"{DAILY}_due", exchange.lower()])


def due_specs(exchanges: Sequence[Exchange], owner: str) -> list[dg.AssetSpec]:
    """An asset an exchange, with its deadline."""
    return [
        dg.AssetSpec(
            due_key(exchange.code),
            group_name="freshness",
            owners=[owner],
            description=f"Whether the daily prices of {exchange.name} are there in time: by "
            f"{due_after(exchange).total_seconds() / 60:.0f} minutes after the close, by the exchange's calendar.",
            freshness_policy=dg.FreshnessPolicy.cron(
                deadline_cron=exchange.cron(due_after(exchange)),
                lower_bound_delta=AHEAD,
                timezone=exchange.zone,
            ),
        )
        for exchange in exchanges
    ]


def deadline(exchange: Exchange, now: datetime) -> datetime:
    """The deadline that a mark set at `now` counts for: the next one where it is near, else the last one."""
    cron = exchange.cron(due_after(exchange))
    following = next(cron_ticks(cron, exchange.zone, now))
    return (
        following if following - now <= AHEAD else next(cron_ticks(cron, exchange.zone, now, backwards=True))
    )


def is_met(exchange: Exchange, cells: Mapping[date, Entry], due: datetime) -> bool:
    """Whether the prices that are due by a deadline are there; without any cell nobody follows the exchange."""
    return bool(cells) and not stale(exchange, cells, due)


def freshness_sensor(
    exchanges: Sequence[Exchange], owner: str, fixed: datetime | None
) -> dg.SensorDefinition:
    """Marks the assets of `due_specs` whose deadline is met. It requests no runs."""

    @dg.sensor(
        name="prices_in_time",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        owners=[owner],
        description="Tells Dagster's freshness policies of the exchanges whose daily prices are there in time.",
    )
    def prices_in_time(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SensorResult | dg.SkipReason:
        if fixed is not None:
            return dg.SkipReason(
                f"QUANT_ASSETS_NOW holds the clock at {fixed.isoformat()}: nothing becomes due"
            )
        now, marked = clock.now(), {str(code): str(due) for code, due in read_cursor(context).items()}
        try:
            events = list(_marks(store.open(), exchanges, now, marked))
        except ObjectStoreError as error:
            return dg.SkipReason(str(error))
        if not events:
            return dg.SkipReason("no deadline is met that was not met before")
        return dg.SensorResult(asset_events=events, cursor=dumped(marked))

    return prices_in_time


def _marks(
    store: ObjectStore, exchanges: Sequence[Exchange], now: datetime, marked: dict[str, str]
) -> Iterator[dg.AssetMaterialization]:
    """The marks to set now; `marked` (by exchange, the last deadline that was met) is brought up to date."""
    for exchange in exchanges:
        due = deadline(exchange, now)
        if marked.get(exchange.code) == due.isoformat():
            continue
        first, last = due.date() - timedelta(days=_DAYS), due.date() + timedelta(days=1)
        entries = Manifest(store, DAILY).between(exchange.code, first, last)
        cells = {date.fromisoformat(partition): entry for partition, entry in entries.items()}
        if is_met(exchange, cells, due):
            marked[exchange.code] = due.isoformat()
            session = exchange.calendar().last_session_over(due, due_after(exchange))
            yield dg.AssetMaterialization(
                due_key(exchange.code),
                description=f"prices of {session} are there, due {due:%Y-%m-%d %H:%M} ({exchange.zone})",
                metadata={"session": str(session), "due": due.isoformat()},
            )
