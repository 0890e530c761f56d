"""Weekly bars and profiles: what the assets do, without Dagster's record of it, beside a bare read of the columns."""

from __future__ import annotations

import importlib
import inspect
import shutil
import time
import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from benchmarks.scale.laying import settings_of
from benchmarks.scale.measuring import Prepared
from benchmarks.scale.scratch import copy_of
from benchmarks.scale.shape import CODES, Laid
from benchmarks.scale.work import LIMIT, OURS, Goal, Work
from quant_assets.defs.assets.symbol_profiles import make_symbol_profiles
from quant_assets.defs.assets.weekly_prices import make_weekly_prices
from quant_assets.defs.io_manager import PartitionFrames
from quant_assets.defs.partitions import Grids, first_day, make_grids
from quant_assets.exchanges import Exchange, enabled
from quant_assets.resources.dagster_resources import StoreResource
from quant_assets.resources.open_store import open_store
from quant_assets.tables.layout import CATALOG, DAILY, PROFILE_SUMS, WEEKLY, object_key
from quant_assets.tables.parquet import read_table

_OF_WEEKS = (
    "symbol", "date", "open", "high", "low", "close", "volume", "dividend", "split_ratio",
)  # fmt: skip
_OF_PROFILES = ("symbol", "date", "close", "volume", "dividend", "split_ratio", "flags")
_HALF = CODES[1:]


def _asset(laid: Laid, make: Callable[[Grids, list[Exchange]], dg.AssetsDefinition]) -> tuple[Any, Grids]:
    warnings.simplefilter("ignore", dg.BetaWarning)
    settings = settings_of(laid)
    exchanges = enabled(settings.exchanges)
    grids = make_grids(exchanges, first_day(exchanges, settings.start), settings.now)
    return make(grids, exchanges), grids


def _call(asset: Any, laid: Laid, context: Any, keys: list[str]) -> Any:
    """What an asset returns, with the inputs and resources that it asks for."""
    store = open_store(str(laid.store))
    given = {
        "store": StoreResource(location=str(laid.store)),
        DAILY: PartitionFrames(store, {key: object_key(DAILY, *reversed(key.split("|"))) for key in keys}),
        CATALOG: read_table(store, object_key(CATALOG)),
    }
    wanted = inspect.signature(asset.op.compute_fn.decorated_fn).parameters
    return asset(context, **{name: value for name, value in given.items() if name in wanted})


def _weekly(laid: Laid) -> Prepared:
    bare = copy_of(laid, [WEEKLY])
    asset, grids = _asset(laid, make_weekly_prices)
    weeks, days = grids.weekly.get_partition_keys(), grids.daily.get_partition_keys()
    instance = dg.DagsterInstance.ephemeral()

    def make() -> dict[str, float]:
        rows = 0
        for code in CODES:
            mine = [key for key in weeks if key.startswith(f"{code}|")]
            span = dg.PartitionKeyRange(mine[0], mine[-1])
            context = dg.build_asset_context(partition_key_range=span, instance=instance)
            for _, output in _call(asset, bare, context, [key for key in days if key.endswith(f"|{code}")]):
                rows += 0 if output.frame is None else output.frame.height
        return {"rows": rows}

    return make


def _profiles(codes: tuple[str, ...]) -> Callable[[Laid], Prepared]:
    """Profiles in full: the sums of years that an earlier call has kept are taken away first."""

    def prepare(laid: Laid) -> Prepared:
        bare = copy_of(laid, [PROFILE_SUMS])
        asset, _ = _asset(laid, make_symbol_profiles)
        instance = dg.DagsterInstance.ephemeral()

        def make() -> dict[str, float]:
            shutil.rmtree(bare.store / PROFILE_SUMS, ignore_errors=True)
            contexts = [dg.build_asset_context(partition_key=code, instance=instance) for code in codes]
            return {"symbols": sum(_call(asset, bare, one, []).frame.height for one in contexts)}

        return make

    return prepare


def _scan(columns: tuple[str, ...], codes: tuple[str, ...]) -> Callable[[Laid], Prepared]:
    """Every history object read once, the columns that are needed, one after the other."""

    def prepare(laid: Laid) -> Prepared:
        files = [
            file
            for code in codes
            for file in sorted((laid.store / f"price_history/exchange={code}").iterdir())
        ]

        def scan() -> dict[str, float]:
            return {"rows": sum(pl.read_parquet(file, columns=list(columns)).height for file in files)}

        return scan

    return prepare


def _pandas(laid: Laid) -> Prepared:
    """A groupby of pandas over one exchange, as its documentation has it, counted for both: first, highest, lowest,
    last, sums. The frame is in memory; reading it is not counted."""
    rows = pl.scan_parquet(str(laid.store / f"price_history/exchange={_HALF[0]}/*.parquet")).select(_OF_WEEKS)
    frame: Any = rows.collect().to_pandas()
    pandas: Any = importlib.import_module("pandas")

    def group() -> dict[str, float]:
        began = time.perf_counter()
        weeks = pandas.Grouper(key="date", freq="W-MON", label="left", closed="left")
        frame.groupby(["symbol", weeks]).agg(
            {
                "open": "first",
                "high": "max",
                "low": "min",
                "close": "last",
                "volume": "sum",
                "dividend": "sum",
            }
        )
        return {"seconds": (time.perf_counter() - began) * len(CODES)}

    return group


DERIVED = [
    Work(
        "weekly",
        {OURS: _weekly, LIMIT: _scan(_OF_WEEKS, CODES), "pandas": _pandas},
        (Goal("ratio", 2.5), Goal("times_pandas", 8, at_least=True), Goal("peak_mb", 1000)),
        "read of the columns needed",
    ),
    Work(
        "profiles_half",
        {OURS: _profiles(_HALF), LIMIT: _scan(_OF_PROFILES, _HALF)},
        (Goal("ratio", 2), Goal("peak_mb", 500)),
        "read of the columns needed",
    ),
    Work(
        "profiles_all",
        {OURS: _profiles(CODES), LIMIT: _scan(_OF_PROFILES, CODES)},
        (Goal("seconds", 15),),
        "read of the columns needed",
    ),
]
