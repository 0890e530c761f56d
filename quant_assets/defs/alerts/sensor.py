"""The sensor that looks for what to alert about, and tells it."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from quant_assets.defs.alerts.watch import STORE_PATIENCE_SECONDS, look, rules_of
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.notify import VARIABLE, channels
from quant_assets.resources.settings import Settings

NAME = "alerts"
_SECONDS = 120


def alerts_sensor(settings: Settings, exchanges: Sequence[Exchange]) -> dg.SensorDefinition:
    """Tells the channels of `settings` what became of runs, what is late, missing or held, and a daily digest.

    It requests no runs. An address that is none fails its ticks, and nothing else; a channel that takes no messages
    is named in the skip reason and told to the others.
    """
    rules = rules_of(settings, exchanges)

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        owners=[settings.owner],
        description=f"Tells {VARIABLE} of runs that failed, came to a part or take long, of data that is late, of "
        "low coverage, of claims that come into quarantine, of a queue of runs, and once a day how all stands.",
    )
    def alerts(
        context: dg.SensorEvaluationContext, store: StoreResource, clock: ClockResource
    ) -> dg.SkipReason:
        told = channels(settings)
        if not told:
            return dg.SkipReason(f"nobody is told: set {VARIABLE} to the addresses that alerts go to")
        looked = look(context.instance, store.open(patience=STORE_PATIENCE_SECONDS), rules, told, clock.now())
        for name, why in looked.dead.items():
            context.log.warning(f"channel {name} takes no messages: {why}")
        return dg.SkipReason(str(looked))

    return alerts
