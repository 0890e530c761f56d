"""`symbol_valuations`: what each symbol of an exchange is worth and how large it is, a snapshot a session."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.defs.dagster_internals import PRIORITY_TAG, steps_of_run
from quant_assets.defs.io_manager import PartitionOutputs, TableOutput
from quant_assets.defs.partition_keys import split_key
from quant_assets.defs.partitions import Grids
from quant_assets.defs.progress import listener
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.table_pages import page
from quant_assets.exchanges import Exchange
from quant_assets.ingest.valuations import Snapshot, SnapshotImpossible, take_snapshot, why_not_askable
from quant_assets.market.coverage import CellState
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.dagster_resources import StoreResource, YahooResource
from quant_assets.resources.interrupts import Interrupted, orderly_stop
from quant_assets.resources.object_store import ObjectStoreError
from quant_assets.resources.yahoo_quotes import Quotes
from quant_assets.tables.layout import CATALOG, DAILY, VALUATIONS
from quant_assets.words import number_of

UNANSWERED, FAILED = "unanswered", "failed"
"""What two counts of a snapshot are called in its metadata."""


class ValuationsConfig(dg.Config):
    """Whom a run asks about."""

    symbols: list[str] = []
    """Ask about these symbols at most; empty: about all that are listed."""


def make_symbol_valuations(grids: Grids, exchanges: Sequence[Exchange]) -> dg.AssetsDefinition:
    """The asset, over the daily grid; of which partitions it can be asked for, it says itself."""
    by_code = {exchange.code: exchange for exchange in exchanges}

    @dg.asset(
        name=VALUATIONS,
        partitions_def=grids.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={CATALOG: dg.AssetIn(CATALOG)},
        output_required=False,
        # After the prices of the same run, and whatever becomes of them: a dependency would skip it when they fail.
        op_tags={PRIORITY_TAG: "-1"},
        **page(VALUATIONS),
    )
    def symbol_valuations(
        context: dg.AssetExecutionContext,
        config: ValuationsConfig,
        store: StoreResource,
        source: YahooResource,
        clock: ClockResource,
        symbol_catalog: pl.DataFrame,
    ) -> Iterator[dg.Output[Any]]:
        home, keys = store.open(), list(context.partition_keys)
        if DAILY in steps_of_run(context) and (why := _why_left_out(by_code, keys, clock)):
            context.log.info(f"no snapshot is taken: {why}")
            return

        def snapshots() -> Iterator[tuple[str, TableOutput]]:
            quotes = Quotes(source.settings())
            try:
                for key in keys:
                    code, day = split_key(VALUATIONS, key)
                    session = date.fromisoformat(str(day))
                    try:
                        taken = take_snapshot(
                            home, by_code[code], session, symbol_catalog, quotes, clock.now(), config.symbols
                        )
                    except SnapshotImpossible as impossible:
                        yield key, TableOutput(None, CellState.FAILED, str(impossible))
                        continue
                    if taken.failed:
                        trouble = _trouble(code, taken)
                        context.log.warning(trouble)
                        listener().told(trouble)
                    yield key, _output(taken)
            except (ObjectStoreError, Interrupted) as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            finally:
                quotes.close()

        with orderly_stop():
            # Asked for here, where an interrupt can be waited out; the IO manager would take them after that.
            made = list(snapshots())
        yield dg.Output(PartitionOutputs(made))

    return symbol_valuations


def _why_left_out(by_code: dict[str, Exchange], keys: Sequence[str], clock: ClockResource) -> str:
    """Why a run that fills prices takes no snapshot with them; "" when it does."""
    if len(keys) != 1:
        return f"this run is over {len(keys)} partitions, and a snapshot is of now"
    code, day = split_key(VALUATIONS, keys[0])
    return why_not_askable(by_code[code], date.fromisoformat(str(day)), clock.now())


def _trouble(code: str, taken: Snapshot) -> str:
    few = "; ".join(sorted(set(taken.failed.values()))[:3])
    asked = number_of(taken.asked, "symbol")
    return f"{code}: {len(taken.failed)} of {asked} could not be asked for valuations: {few}"


def _output(taken: Snapshot) -> TableOutput:
    counts = {
        "asked": taken.asked,
        UNANSWERED: len(taken.unanswered),
        FAILED: len(taken.failed),
        "nonsense": sum(taken.nonsense.values()),
    }
    metadata: dict[str, object] = dict(counts)
    whys = {**dict.fromkeys(taken.unanswered, "the source has no quote of it"), **taken.failed}
    if whys:
        rows = pl.DataFrame(list(whys.items()), schema={"symbol": pl.String, "why": pl.String}, orient="row")
        metadata["symbols_without_an_answer"] = dg.MetadataValue.md(markdown_table(rows))
    if taken.nonsense:
        fields = pl.DataFrame(
            sorted(taken.nonsense.items()), schema={"column": pl.String, "nulls": pl.Int64}, orient="row"
        )
        metadata["nonsense_fields"] = dg.MetadataValue.md(markdown_table(fields))
    reason = f"{taken.missing} listed symbol(s) have no valuation" if taken.missing else ""
    return TableOutput(taken.rows, taken.state, reason, facts=counts, metadata=metadata)
