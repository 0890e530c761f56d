"""The refresh of universes as Dagster runs it: a job of its own, and what a catalog needs before it is made."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg

from quant_assets.catalog.configured import CatalogError
from quant_assets.catalog.lists import refresh_lacking
from quant_assets.catalog.refresh import (
    Planned,
    apply_refresh,
    finder,
    plan_refresh,
    refreshable,
    source_in_words,
)
from quant_assets.catalog.universe import Universe
from quant_assets.catalog.universes_file import read_universes
from quant_assets.defs.jobs import REFRESH_JOB, REFRESH_OP
from quant_assets.defs.rendering import markdown_table
from quant_assets.exchanges import Exchange
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.documents import Documents
from quant_assets.resources.object_store import ObjectStore, ObjectStoreError, claim
from quant_assets.tables.layout import TOP_LEVEL
from quant_assets.tables.universes import read_constituents


class RefreshConfig(dg.Config):
    """What to refresh."""

    universes: list[str] = []
    """Only these; empty: all that are enabled."""


@dataclass(frozen=True, slots=True)
class UniverseRules:
    """The universe file, and how much of a universe may be lost at once (percent)."""

    file: Path | None
    exchanges: Sequence[Exchange]
    shrink: float

    def universes(self) -> list[Universe]:
        """What the file says. Raises CatalogError."""
        return read_universes(self.file, list(self.exchanges))


def universes_job(rules: UniverseRules, owner: str) -> dg.JobDefinition:
    """The job that refreshes all enabled universes; it fails, with names, when one of them could not be."""

    @dg.op(name=REFRESH_OP)
    def refresh(
        context: dg.OpExecutionContext,
        config: RefreshConfig,
        store: StoreResource,
        source: YahooResource,
        clock: ClockResource,
    ) -> None:
        now, home = clock.now(), store.open()
        try:
            universes = rules.universes()
            wanted = [
                one.name
                for one in refreshable(universes)
                if one.enabled and (not config.universes or one.name in config.universes)
            ]
            if not wanted:
                context.log.info("the universe file lists its symbols itself: there is nothing to refresh")
                return
            claim(home, TOP_LEVEL)
            with closing(Documents(source.settings())) as documents:
                planned = plan_refresh(
                    universes, wanted, lambda name: read_constituents(home, name),
                    finder(documents, rules.exchanges), rules.shrink,
                )  # fmt: skip
            done = apply_refresh(home, planned, now)
        except (CatalogError, ObjectStoreError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        metadata = {"universes": dg.MetadataValue.md(summary(done))}
        if trouble := troubles(done):
            raise dg.Failure("; ".join(trouble), metadata=metadata, allow_retries=False)
        context.add_output_metadata(metadata)

    @dg.job(
        name=REFRESH_JOB,
        description="Brings every enabled universe up to date with its source, and records who joined and left.",
        owners=[owner],
    )
    def job() -> None:
        refresh()

    return job


def refreshed_for_catalog(
    rules: UniverseRules,
    universes: Sequence[Universe],
    store: ObjectStore,
    source: YahooResource,
    now: datetime,
) -> list[Planned]:
    """Refreshes what a catalog cannot do without (`refresh_lacking`). Raises ObjectStoreError."""
    if not any(one.enabled for one in refreshable(universes)):
        return []
    claim(store, TOP_LEVEL)
    with closing(Documents(source.settings())) as documents:
        return refresh_lacking(universes, store, finder(documents, rules.exchanges), rules.shrink, now)


def troubles(done: Sequence[Planned]) -> list[str]:
    """A sentence for each universe that is not as its source is."""
    return [f"universe {one.universe.name} {one.status}: {one.reason}" for one in done if not one.done]


def summary(done: Sequence[Planned]) -> str:
    """What a refresh made of each universe, as a table for Dagster's pages."""
    import polars as pl

    rows = [
        (
            one.universe.name, one.status.value, None if one.found is None else one.found.height,
            len(one.joined), len(one.left), len(one.changed), source_in_words(one.universe), one.reason,
        )
        for one in done
    ]  # fmt: skip
    names = ["universe", "status", "constituents", "joined", "left", "changed", "source", "reason"]
    return markdown_table(pl.DataFrame(rows, schema=names, orient="row"))
