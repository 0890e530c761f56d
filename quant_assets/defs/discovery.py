"""Discovery as Dagster runs it: a job with a step an exchange, and its weekly schedule."""

from contextlib import closing

import dagster as dg

from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.discovery import Discovery, Rules, discover
from quant_assets.catalog.lists import known_symbols
from quant_assets.defs.jobs import DISCOVERY_JOB
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.universe_refresh import UniverseRules
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.documents import Documents
from quant_assets.resources.object_store import ObjectStoreError, claim
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import TOP_LEVEL

_MOST_NAMED = 20


def rules_of(settings: Settings) -> Rules:
    """What the settings say of discovery. Where it is off, whoever asks for it himself gets proposals."""
    return Rules(settings.discovery_types, settings.universe_shrink, settings.discovery == "automatic")


def discovery_job(universes: UniverseRules, rules: Rules, owner: str) -> dg.JobDefinition:
    """The job that looks at every exchange in use; a step fails, with its reason, and the others go on."""

    def step(exchange: Exchange) -> dg.OpDefinition:
        @dg.op(
            name=f"discover_{exchange.code.lower()}",
            description=f"{exchange.name}: what Yahoo's screener lists and no universe has.",
        )
        def look(
            context: dg.OpExecutionContext, store: StoreResource, source: YahooResource, clock: ClockResource
        ) -> None:
            now, home = clock.now(), store.open()
            try:
                claim(home, TOP_LEVEL)
                known = known_symbols(universes.universes(), home).get(exchange.code, set())
                with closing(Documents(source.settings())) as documents:
                    found = discover(home, exchange, known, documents, rules, now)
            except (CatalogError, ObjectStoreError) as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            metadata = {"discovery": dg.MetadataValue.md(summary(found))}
            if not found.done:
                raise dg.Failure(
                    f"{exchange.code} {found.status}: {found.reason}", metadata=metadata, allow_retries=False
                )
            if found.refused:
                context.log.warning(
                    f"{len(found.refused)} listing(s) refused: "
                    + "; ".join(
                        f"{symbol}: {why}" for symbol, why in list(found.refused.items())[:_MOST_NAMED]
                    )
                )
            context.add_output_metadata(metadata)

        return look

    steps = [step(exchange) for exchange in universes.exchanges]

    @dg.job(
        name=DISCOVERY_JOB,
        description=(
            "Looks at all listings of the exchanges in use; those that stand in no list become proposals "
            "(quant-assets catalog proposals), or are followed at once with QUANT_ASSETS_DISCOVERY=automatic."
        ),
        owners=[owner],
    )
    def job() -> None:
        for one in steps:
            one()

    return job


def discovery_schedule(job: dg.JobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Once a week, when no exchange trades, and after the refresh of universes."""

    @dg.schedule(
        name=f"{job.name}_weekly",
        job=job,
        cron_schedule="0 6 * * 6",
        execution_timezone="UTC",
        description=(
            "Looks for listings that stand in no list, as QUANT_ASSETS_DISCOVERY says; the catalog follows by its "
            "sensor."
        ),
        owners=[settings.owner],
    )
    def weekly() -> dg.SkipReason | dg.RunRequest:
        if settings.discovery == "off":
            return dg.SkipReason(
                "QUANT_ASSETS_DISCOVERY=off: nothing is looked for (write propose or automatic)"
            )
        return dg.RunRequest()

    return weekly


def summary(found: Discovery) -> str:
    """What came of a look, as a table for Dagster's pages."""
    import polars as pl

    names = {"proposed": found.proposed, "accepted": found.accepted, "gone": found.gone, "taken": found.taken}
    rows = [
        (
            found.exchange,
            str(found.status),
            found.listings,
            *(len(some) for some in names.values()),
            len(found.refused),
        )
    ]
    schema = ["exchange", "status", "listings", *names, "refused"]
    return markdown_table(pl.DataFrame(rows, schema=schema, orient="row"))
