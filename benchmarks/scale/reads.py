"""Reads through `quant_assets.reader`, beside the same rows as other stores have them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.scale.measuring import NotThere, Prepared
from benchmarks.scale.shape import CODES, LAST, Laid
from benchmarks.scale.work import LIMIT, OURS, Goal, Prepare, Work
from quant_assets.reader import prices, universe, weekly
from quant_assets.resources.open_store import open_store

_CODE = CODES[1]
_MOST_IN_ARCTIC = 100


def symbols(laid: Laid, count: int) -> list[str]:
    """So many symbols of one exchange that were listed all the time, spread over it."""
    os.environ["QUANT_ASSETS_UNIVERSE"] = str(laid.universe)
    names = universe(store=str(laid.store)).filter(pl.col("exchange") == _CODE, pl.col("is_active"))
    found = names.collect()["symbol"].sort().to_list()
    # Every tenth symbol of the generator has nothing happen to it, the one after it dividends: it is taken.
    return [found[(at * len(found)) // count] for at in range(min(count, len(found)))]


def _ours(count: int, **how: Any) -> Prepare:
    def prepare(laid: Laid) -> Prepared:
        store, names = open_store(str(laid.store)), symbols(laid, count)
        return lambda: prices(names, store=store, **how).collect()

    return prepare


def _one_of_all(laid: Laid) -> Prepared:
    """Two columns of one symbol, by a filter on all of them."""
    every = prices(store=open_store(str(laid.store)))
    query = every.filter(pl.col("symbol") == symbols(laid, 1)[0]).select("date", "close")
    return query.collect


def _history(laid: Laid) -> str:
    return str(laid.store / "price_history" / f"exchange={_CODE}" / "*.parquet")


def _own_file(laid: Laid) -> Prepared:
    """The rows of one symbol in a Parquet file of their own."""
    file = _scratch(laid) / "one.parquet"
    _rows(laid, 1).write_parquet(file)
    return lambda: pl.read_parquet(file)


def _rows(laid: Laid, count: int) -> pl.DataFrame:
    return pl.scan_parquet(_history(laid)).filter(pl.col("symbol").is_in(symbols(laid, count))).collect()


def _scan(count: int) -> Prepare:
    def prepare(laid: Laid) -> Prepared:
        names = symbols(laid, count)
        return lambda: pl.scan_parquet(_history(laid)).filter(pl.col("symbol").is_in(names)).collect()

    return prepare


def _duckdb(count: int) -> Prepare:
    def prepare(laid: Laid) -> Prepared:
        connection = _module("duckdb").connect()
        names = ", ".join(f"'{name}'" for name in symbols(laid, count))
        query = (
            f"select * from read_parquet('{_history(laid)}') where symbol in ({names}) order by symbol, date"
        )
        return lambda: connection.execute(query).to_arrow_table()

    return prepare


def _arctic(count: int) -> Prepare:
    def prepare(laid: Laid) -> Prepared:
        adb = _module("arcticdb")
        library = adb.Arctic(f"lmdb://{_scratch(laid)}/arctic").get_library("bars", create_if_missing=True)
        names = symbols(laid, count)
        for (name,), rows in _rows(laid, count).partition_by("symbol", as_dict=True).items():
            plain = rows.drop("symbol", "fetched_at").with_columns(pl.col("date").cast(pl.Datetime("ns")))
            library.write(name, plain.to_pandas().set_index("date"))
        if count == 1:
            return lambda: library.read(names[0]).data
        return lambda: [one.data for one in library.read_batch(names)]

    return prepare


def _day(laid: Laid) -> Prepared:
    store, names = open_store(str(laid.store)), _all(laid)
    return lambda: prices(names, LAST, LAST, store=store).collect()


def _all(laid: Laid) -> list[str]:
    found = universe(store=str(laid.store)).filter(pl.col("exchange") == _CODE).collect()
    return found["symbol"].to_list()


def _cell(laid: Laid) -> Prepared:
    file = laid.store / "daily_prices" / f"exchange={_CODE}" / f"date={LAST}.parquet"
    return lambda: pl.read_parquet(file)


_YEAR = LAST.year - 1


def _year(laid: Laid) -> Prepared:
    store, names = open_store(str(laid.store)), _all(laid)
    return lambda: prices(names, date(_YEAR, 1, 1), date(_YEAR, 12, 31), store=store).collect()


def _year_file(laid: Laid) -> Prepared:
    file = Path(_history(laid)).parent / f"year={_YEAR}.parquet"
    return lambda: pl.read_parquet(file)


def _weekly(laid: Laid) -> Prepared:
    store, names = open_store(str(laid.store)), symbols(laid, 1)
    return lambda: weekly(names, store=store).collect()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotThere(f"no {name}: install the extra `bench`") from None


def _scratch(laid: Laid) -> Path:
    folder = laid.folder / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


_AS_OF = LAST + timedelta(days=30)
_peers: Callable[[int], dict[str, Prepare]] = lambda count: {  # noqa: E731
    "duckdb": _duckdb(count),
    **({"arcticdb": _arctic(count)} if count <= _MOST_IN_ARCTIC else {}),
}
_one = partial(Work, limit="its rows in a file of their own")

READS = [
    _one("one_symbol", {OURS: _ours(1), LIMIT: _own_file, **_peers(1)}, (Goal("seconds", 0.015),)),
    _one("one_symbol_of_all", {OURS: _one_of_all, LIMIT: _own_file}, (Goal("seconds", 0.020),)),
    _one("one_symbol_split", {OURS: _ours(1, adjust="split"), LIMIT: _own_file}, (Goal("seconds", 0.020),)),
    _one("one_symbol_as_of", {OURS: _ours(1, as_of=_AS_OF), LIMIT: _own_file}, (Goal("seconds", 0.030),)),
    Work("one_symbol_weekly", {OURS: _weekly}, (Goal("seconds", 0.020),)),
    Work(
        "symbols_100",
        {OURS: _ours(100), LIMIT: _scan(100), **_peers(100)},
        (Goal("seconds", 0.100), Goal("answers", 3)),
        "scan of the history, filtered",
    ),
    Work(
        "symbols_1000",
        {OURS: _ours(1000), LIMIT: _scan(1000), **_peers(1000)},
        (Goal("ratio", 2), Goal("answers", 3)),
        "scan of the history, filtered",
    ),
    Work("one_day", {OURS: _day, LIMIT: _cell}, (Goal("seconds", 0.003),), "its cell"),
    Work("one_year", {OURS: _year, LIMIT: _year_file}, (Goal("ratio", 2),), "its history object"),
]
