"""The IO manager by itself: one partition and a range, out and in."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.defs.io_manager import ParquetIOManager, PartitionFrames, PartitionOutputs, TableOutput
from quant_assets.defs.partitions import make_grids
from quant_assets.exchanges import enabled
from quant_assets.market.coverage import CellState
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.tables.layout import PROFILES, WEEKLY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import encode, read_facts, read_table
from quant_assets_tests.defs.platform import failure
from quant_assets_tests.gcs_proxy import fault_proxy
from quant_assets_tests.support import NOW

# The IO manager, by itself.


@pytest.fixture
def io(tmp_path: Path) -> dict[str, Any]:
    store = StoreResource(location=str(tmp_path / "tables"))
    return {"store": store, "io_manager": ParquetIOManager(store=store)}


GRIDS = make_grids(enabled(["US", "ASX"]), date(2013, 2, 4), NOW)
FRAME = pl.DataFrame({"symbol": ["AAPL"], "value": [1.5]})
RANGE = {
    "dagster/asset_partition_range_start": "US|2013-02-04",
    "dagster/asset_partition_range_end": "US|2013-02-18",
}


def ran(assets: Sequence[dg.AssetsDefinition], io: dict[str, Any], **more: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, resources=io, instance=instance, raise_on_error=False, **more)


def error_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure]
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    assert error is not None
    return error.message


def test_one_partition_goes_out_and_comes_in(io: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}

    @dg.asset(name=PROFILES, partitions_def=GRIDS.exchanges)
    def one() -> pl.DataFrame:
        return FRAME

    @dg.asset(name="copy", partitions_def=GRIDS.exchanges, ins={PROFILES: dg.AssetIn(PROFILES)})
    def copy(symbol_profiles: pl.DataFrame) -> TableOutput:
        seen["frame"] = symbol_profiles
        return TableOutput(symbol_profiles, metadata={"note": "hello"})

    @dg.asset(name="all_of_them", ins={PROFILES: dg.AssetIn(PROFILES)})
    def all_of_them(symbol_profiles: PartitionFrames) -> pl.DataFrame:
        seen["keys"], seen["length"] = list(symbol_profiles), len(symbol_profiles)
        seen["absent"] = symbol_profiles.get("ASX")
        return symbol_profiles["US"]

    result = ran([one, copy], io, partition_key="US")
    assert result.success
    assert seen["frame"].equals(FRAME)
    (event,) = result.asset_materializations_for_node("copy")
    assert {name: event.metadata[name].value for name in ("state", "written", "note")} == {
        "state": "complete", "written": True, "note": "hello",
    }  # fmt: skip
    store = io["store"].open()
    assert read_table(store, object_key(PROFILES, "US")).equals(FRAME)
    again = ran([one, copy], io, partition_key="US")
    (event,) = again.asset_materializations_for_node("copy")
    assert event.metadata["written"].value is False
    # Over all partitions an input is a mapping, in which those without an object are absent.
    assert ran([one, all_of_them], io, selection=["all_of_them"]).success
    assert (seen["keys"], seen["length"], seen["absent"]) == (["US"], 1, None)


@pytest.mark.parametrize(
    ("again", "put"),
    [
        ({}, False),
        # The same rows, made from other cells, or complete no more.
        ({"inputs_sha256": "other cells"}, True),
        ({"state": CellState.PARTIAL}, True),
        ({"frame": FRAME.with_columns(value=2.5)}, True),
    ],
    ids=["nothing", "inputs", "state", "rows"],
)
def test_an_object_is_put_again_when_its_rows_inputs_or_state_have_changed(
    io: dict[str, Any], again: dict[str, Any], put: bool
) -> None:
    first = {"frame": FRAME, "state": CellState.COMPLETE, "inputs_sha256": "some cells"}
    made = dict(first)

    @dg.asset(name=PROFILES, partitions_def=GRIDS.exchanges)
    def one() -> TableOutput:
        return TableOutput(**made)

    assert ran([one], io, partition_key="US").success
    made |= again
    (event,) = ran([one], io, partition_key="US").asset_materializations_for_node(PROFILES)
    assert event.metadata["written"].value is put
    store = io["store"].open()
    facts = read_facts(store.get(object_key(PROFILES, "US")).data, "")
    assert (facts["inputs_sha256"], facts["state"]) == (made["inputs_sha256"], made["state"].value)
    assert read_table(store, object_key(PROFILES, "US")).equals(made["frame"])


def test_a_range_goes_out_and_comes_in(io: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}
    single = dg.BackfillPolicy.single_run()

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=single)
    def weeks(context: dg.AssetExecutionContext) -> PartitionOutputs:
        def made() -> Iterator[tuple[str, TableOutput]]:
            for number, key in enumerate(context.partition_keys):
                if key.endswith("02-11"):
                    yield key, TableOutput(None, CellState.CLOSED, "closed")
                else:
                    yield key, TableOutput(FRAME.with_columns(value=pl.lit(float(number))))

        return PartitionOutputs(made())

    @dg.asset(
        name="sums", partitions_def=GRIDS.weekly, backfill_policy=single, ins={WEEKLY: dg.AssetIn(WEEKLY)}
    )
    def sums(weekly_prices: PartitionFrames) -> None:
        seen.update({key: frame["value"].item() for key, frame in weekly_prices.items()})

    result = ran([weeks, sums], io, tags=RANGE)
    assert result.success
    assert seen == {"US|2013-02-04": 0.0, "US|2013-02-18": 2.0}
    recorded_states = {
        event.partition: event.metadata["state"].value
        for event in result.asset_materializations_for_node(WEEKLY)
    }
    assert recorded_states == {
        "US|2013-02-04": "complete", "US|2013-02-11": "closed", "US|2013-02-18": "complete",
    }  # fmt: skip
    with pytest.raises(KeyError):
        PartitionFrames(io["store"].open(), {"a": "nowhere.parquet"})["a"]


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (FRAME, "weekly_prices: one frame for 3 partitions"),
        ({"US|2013-02-25": FRAME}, "weekly_prices: US|2013-02-25 is no partition of this run"),
        ({"US|2013-02-04": [1, 2]}, "a table is a polars DataFrame, not a list"),
    ],
)
def test_a_wrong_output_says_what_a_table_is(io: dict[str, Any], made: Any, complaint: str) -> None:
    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks() -> Any:
        return made

    result = ran([weeks], io, tags=RANGE)
    assert not result.success
    assert complaint in error_of(result)


def test_a_wrong_input_says_what_to_do(io: dict[str, Any]) -> None:
    single = dg.BackfillPolicy.single_run()

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=single)
    def weeks(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return dict.fromkeys(context.partition_keys, FRAME)

    @dg.asset(
        name="reads", partitions_def=GRIDS.weekly, backfill_policy=single, ins={WEEKLY: dg.AssetIn(WEEKLY)}
    )
    def reads(weekly_prices: pl.DataFrame) -> None:
        raise AssertionError("not reached")

    many = ran([weeks, reads], io, tags=RANGE)
    assert "3 partitions for one frame; annotate the input as a Mapping" in error_of(many)
    absent = ran([weeks, reads], io, selection=["reads"], partition_key="US|2013-02-25")
    assert "materialize weekly_prices first" in failure(absent)


def test_what_failed_of_a_range_is_named_and_what_did_not_is_kept(io: dict[str, Any]) -> None:
    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks(context: dg.AssetExecutionContext) -> dict[str, TableOutput]:
        return {
            key: TableOutput(None, CellState.FAILED, "no luck")
            if key.endswith("02-11")
            else TableOutput(FRAME)
            for key in context.partition_keys
        }

    result = ran([weeks], io, tags=RANGE)
    assert failure(result) == "weekly_prices: 1 partition failed: US|2013-02-11: no luck"
    kept = [event.partition for event in result.asset_materializations_for_node(WEEKLY)]
    assert kept == ["US|2013-02-04", "US|2013-02-18"]


def test_an_object_that_cannot_be_used_fails_its_own_partition_alone(io: dict[str, Any]) -> None:
    store = io["store"].open()
    store.put(object_key(WEEKLY, "US", "2013-02-18"), b"damaged")

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks(context: dg.AssetExecutionContext) -> dict[str, TableOutput]:
        # The last two are said to stand as they should.
        first, *others = context.partition_keys
        return {first: TableOutput(FRAME)} | dict.fromkeys(others, TableOutput(None, CellState.COMPLETE))

    result = ran([weeks], io, tags=RANGE)
    told = failure(result)
    assert told.startswith("weekly_prices: 2 partitions failed: US|2013-02-11: ")
    assert "week=2013-02-11.parquet: no such object" in told
    assert "week=2013-02-18.parquet: the bytes are not those that were written" in told
    kept = [event.partition for event in result.asset_materializations_for_node(WEEKLY)]
    assert kept == ["US|2013-02-04"]
    assert list(Manifest(store, WEEKLY).year("US", 2013)) == ["2013-02-04"]


def test_what_was_made_before_an_error_is_written_and_recorded(io: dict[str, Any]) -> None:
    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks(context: dg.AssetExecutionContext) -> PartitionOutputs:
        def made() -> Iterator[tuple[str, TableOutput]]:
            for key in context.partition_keys[:2]:
                yield key, TableOutput(FRAME)
            raise RuntimeError("out of luck")

        return PartitionOutputs(made())

    assert error_of(ran([weeks], io, tags=RANGE)).endswith("out of luck\n")
    store = io["store"].open()
    entries = Manifest(store, WEEKLY).year("US", 2013)
    assert list(entries) == ["2013-02-04", "2013-02-11"]
    for partition, entry in entries.items():
        info = store.head(object_key(WEEKLY, "US", partition))
        assert info is not None
        assert info.version == entry.version


def test_a_range_goes_to_a_bucket_far_away_several_at_once_and_is_recorded_in_few_requests(
    bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = make_grids(enabled(["US", "ASX"]), date(2012, 1, 2), NOW)
    single = dg.BackfillPolicy.single_run()

    @dg.asset(name=WEEKLY, partitions_def=grids.weekly, backfill_policy=single)
    def weeks(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return dict.fromkeys(context.partition_keys, FRAME)

    @dg.asset(
        name="all_of_them",
        partitions_def=grids.weekly,
        backfill_policy=single,
        ins={WEEKLY: dg.AssetIn(WEEKLY)},
    )
    def all_of_them(context: dg.AssetExecutionContext, weekly_prices: PartitionFrames) -> None:
        assert weekly_prices.many(context.partition_keys).height == len(context.partition_keys)

    first, last = "US|2012-01-02", "US|2012-12-31"
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        proxy.latency = (0.02, 0.02)
        store = StoreResource(location=f"gs://{bucket}/p")
        there = {"store": store, "io_manager": ParquetIOManager(store=store)}
        assert ran([weeks], there, tags=tags).success
        # A put of each; the bucket is asked for once; and the year's entries, read before and when they are written:
        # a first time with a listing, so that a shard is never made with less than there is.
        assert proxy.asked == {"GET": 1 + 1 + 2, "POST": 53 + 1}
        # A busy machine may not get all eight going.
        assert 3 <= proxy.most_at_once <= 8
        proxy.asked.clear()
        proxy.most_at_once = 0
        assert ran([weeks, all_of_them], there, selection=["all_of_them"], tags=tags).success
        assert proxy.asked == {"GET": 53}
        assert 3 <= proxy.most_at_once <= 16


def test_a_store_that_cannot_be_written_ends_the_run_with_its_remedy(io: dict[str, Any]) -> None:
    folder = Path(io["store"].location)
    folder.mkdir()
    (folder / WEEKLY).write_text("a file where a folder is wanted")

    @dg.asset(name=WEEKLY, partitions_def=GRIDS.weekly, backfill_policy=dg.BackfillPolicy.single_run())
    def weeks(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return dict.fromkeys(context.partition_keys, FRAME)

    (event,) = [e for e in ran([weeks], io, tags=RANGE).all_events if e.is_step_failure]
    told = str(event.step_failure_data.error)
    assert f"cannot write {folder / WEEKLY}" in told
    assert "QUANT_ASSETS_STORE" in told
    with pytest.raises(KeyError):
        PartitionFrames(io["store"].open(), {"a": "nowhere.parquet"}).many(["a"])


def test_a_table_that_somebody_else_has_put_is_made_anew(io: dict[str, Any]) -> None:
    @dg.asset(name=PROFILES, partitions_def=GRIDS.exchanges)
    def one() -> pl.DataFrame:
        return FRAME

    store, key = io["store"].open(), object_key(PROFILES, "US")
    # The same rows, and nothing in the footer that says what they are.
    store.put(key, encode(FRAME, {}))
    assert ran([one], io, partition_key="US").success
    assert read_table(store, key).equals(FRAME)
    assert read_facts(store.get(key).data, key)["partition"] == "US"
