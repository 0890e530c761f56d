"""Histories from CSV files.

Columns: symbol, date (YYYY-MM-DD), open, high, low, close, volume, dividend, split_ratio; optional:
capital_gain (the part of the dividend that a fund lists as one), currency, exchange (Yahoo's code or
ours), listed_on and delisted_on (first and last trading day; without them the first bar's date, and
still listed). The symbol's suffix tells the exchange: none = US, .AX, .L,
.HK, .TO, .T, .DE, .PA. An empty dividend is 0, an empty split_ratio 1; a row with an action may leave
all of open, high, low, close and volume empty (an ex-date without trading).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from quant_assets.replay.convention import later_product
from quant_assets.replay.errors import HistoryError
from quant_assets.replay.history import GAINS, PRICES, History, describe
from quant_assets.replay.venues import venue, venue_of_symbol

SYMBOL = r"^[A-Za-z0-9^][A-Za-z0-9.^=&_+$-]{0,31}$"
"""What a symbol is made of; its length is what fits a line of any report."""

Convention = Literal["as_traded", "yahoo"]
COLUMNS = ("symbol", "date", *PRICES, "volume", "dividend", "split_ratio")
_NUMBERS = (*PRICES, "volume", "dividend", "split_ratio", GAINS)


def from_csv(path: str | Path, convention: Convention = "as_traded") -> History:
    """The history in one CSV file.

    `convention="as_traded"`: the file holds what was traded and declared on each day.
    `convention="yahoo"`: prices, volume and dividends are adjusted for every split in the file, as
    Yahoo's are; they are brought back to as-traded. Raises HistoryError naming file, line and remedy.
    """
    path = Path(path)
    if convention not in ("as_traded", "yahoo"):
        raise HistoryError(f"{path}: unknown convention {convention!r}: use 'as_traded' or 'yahoo'")
    text = _read(path)
    if text.is_empty():
        raise HistoryError(f"{path}: no row after the header: write at least one bar, or leave the file out")
    frame = _parse(path, text)
    _check(path, frame)
    given = _overrides(path, frame)
    bars = frame.filter(pl.col("close").is_not_null())
    silent = sorted(set(frame["symbol"].unique()) - set(bars["symbol"].unique()))
    if silent:
        raise HistoryError(f"{path}: {silent[0]} has no row with prices: add its bars or remove it")
    core = frame.sort("symbol", "date").select(*COLUMNS, GAINS)
    if convention == "yahoo":
        core = pl.concat([_as_traded(part) for part in core.partition_by("symbol", maintain_order=True)])
    for symbol in core.filter(pl.col(GAINS) > 0)["symbol"].unique():
        given.setdefault(symbol, {})["instrument"] = "ETF"
    return History(core, describe(core, **given))


def _read(path: Path) -> pl.DataFrame:
    try:
        text = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise HistoryError(f"{path}: no such file") from None
    except pl.exceptions.PolarsError as error:
        raise HistoryError(f"{path}: not a readable CSV file: {str(error).splitlines()[0]}") from error
    missing = [name for name in COLUMNS if name not in text.columns]
    if missing:
        raise HistoryError(
            f"{path}, line 1: missing column {', '.join(missing)}: the header needs {', '.join(COLUMNS)}"
        )
    if GAINS not in text.columns:
        text = text.with_columns(pl.lit(None, pl.String).alias(GAINS))
    return text.with_columns(pl.all().str.strip_chars().replace("", None))


def _parse(path: Path, text: pl.DataFrame) -> pl.DataFrame:
    frame = text.with_row_index("line", offset=2).with_columns(
        pl.col("date").str.to_date("%Y-%m-%d", strict=False).alias("_date"),
        *(pl.col(name).cast(pl.Float64, strict=False).alias(f"_{name}") for name in _NUMBERS),
    )
    for name in _NUMBERS:
        value = pl.col(f"_{name}")
        wrong = (value.is_null() & pl.col(name).is_not_null()) | ~value.is_finite()
        _refuse(path, frame, wrong, name, "is not a number: write digits with a decimal point")
    _refuse(path, frame, pl.col("_date").is_null(), "date", "is not a date: write YYYY-MM-DD")
    _refuse(path, frame, pl.col("symbol").is_null(), "symbol", "is empty: name the symbol")
    _check_symbols(path, frame)
    whole = pl.col("_volume") != pl.col("_volume").round()
    _refuse(path, frame, whole, "volume", "is not a whole number of shares")
    return frame.with_columns(
        pl.col("_date").alias("date"),
        *(pl.col(f"_{name}").alias(name) for name in PRICES),
        pl.col("_volume").cast(pl.Int64).alias("volume"),
        pl.col("_dividend").fill_null(0.0).alias("dividend"),
        pl.col(f"_{GAINS}").fill_null(0.0).alias(GAINS),
        pl.col("_split_ratio").fill_null(1.0).alias("split_ratio"),
    ).select("line", *text.columns)


def _check_symbols(path: Path, frame: pl.DataFrame) -> None:
    """Before any other message shows a symbol: it may hold anything."""
    # Rust's $ is the end of the text only, so that no line break passes.
    bad = frame.filter(~pl.col("symbol").str.contains(SYMBOL)).head(1)
    if bad.height:
        text = repr(bad["symbol"][0])
        shown = text if len(text) <= 60 else f"{text[:40]}… ({len(bad['symbol'][0])} characters)"
        raise HistoryError(
            f"{path}, line {bad['line'][0]}: symbol {shown}: write at most 32 letters, digits and . - ^ = & _ + $"
        )


def _check(path: Path, frame: pl.DataFrame) -> None:
    for name in (*PRICES, "volume", "dividend", GAINS):
        _refuse(path, frame, pl.col(name) < 0, name, "is negative: correct or remove the row")
    more = pl.col(GAINS) > pl.col("dividend")
    _refuse(path, frame, more, GAINS, "is more than the dividend that it is a part of: correct one")
    for name in (*PRICES, "split_ratio"):
        _refuse(path, frame, pl.col(name) <= 0, name, "is not above zero: correct or remove the row")
    empty = pl.sum_horizontal(pl.col(name).is_null().cast(pl.Int8) for name in (*PRICES, "volume"))
    idle = (pl.col("dividend") == 0) & (pl.col("split_ratio") == 1)
    half = (empty > 0) & ((empty < 5) | idle)
    _refuse(path, frame, half, "close", "has an incomplete bar: fill open, high, low, close and volume")
    _refuse(path, frame, pl.col("low") > pl.col("high"), "low", "is above the high: correct the row")
    # An open or close outside the range is no error: thin markets have them.
    twice = ~pl.struct("symbol", "date").is_first_distinct()
    _refuse(path, frame, twice, "date", "is the second row of this symbol and date: keep one")
    for symbol, line in frame.group_by("symbol", maintain_order=True).agg(pl.col("line").first()).iter_rows():
        _located(path, line, venue_of_symbol, symbol)


def _refuse(path: Path, frame: pl.DataFrame, wrong: pl.Expr, column: str, complaint: str) -> None:
    bad = frame.filter(wrong).head(1)
    if bad.height:
        row = bad.row(0, named=True)
        raise HistoryError(
            f"{path}, line {row['line']}: {column} {row[column]} of {row['symbol']} {complaint}"
        )


def _located(path: Path, line: int, look_up: Any, name: str) -> Any:
    try:
        return look_up(name)
    except HistoryError as error:
        raise HistoryError(f"{path}, line {line}: {error}") from None


def _overrides(path: Path, frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    wanted = [n for n in ("currency", "exchange", "listed_on", "delisted_on") if n in frame.columns]
    given: dict[str, dict[str, Any]] = {}
    for row in frame.select("line", "symbol", *wanted).iter_rows(named=True) if wanted else ():
        found: dict[str, Any] = {}
        if row.get("currency"):
            found["currency"] = row["currency"]
        if row.get("exchange"):
            found["venue"] = _located(path, row["line"], venue, row["exchange"])
        for name in ("listed_on", "delisted_on"):
            if row.get(name):
                found[name] = _day(path, row, name)
        previous = given.setdefault(row["symbol"], found)
        for field, value in found.items():
            if previous.setdefault(field, value) != value:
                raise HistoryError(
                    f"{path}, line {row['line']}: {row['symbol']} changes its {field}: keep one per symbol"
                )
    _check_listings(path, frame, given)
    return given


def _day(path: Path, row: dict[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(row[name])
    except ValueError:
        raise HistoryError(
            f"{path}, line {row['line']}: {name} {row[name]} of {row['symbol']} is not a date: write YYYY-MM-DD"
        ) from None


def _check_listings(path: Path, frame: pl.DataFrame, given: dict[str, dict[str, Any]]) -> None:
    traded = frame.filter(pl.col("close").is_not_null()).select("line", "symbol", "date")
    bounds = pl.DataFrame(
        [(symbol, found.get("listed_on"), found.get("delisted_on")) for symbol, found in given.items()],
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
        orient="row",
    )
    bars = traded.join(bounds, on="symbol", maintain_order="left")
    _refuse(path, bars, pl.col("date") < pl.col("listed_on"), "date", "is before its listed_on: correct one")
    _refuse(
        path, bars, pl.col("date") > pl.col("delisted_on"), "date", "is after its delisted_on: correct one"
    )


def _as_traded(part: pl.DataFrame) -> pl.DataFrame:
    """Undo the split adjustment of one symbol's rows."""
    dates = part["date"].to_numpy()
    splits = part.filter(pl.col("split_ratio") != 1.0)
    scale = later_product(dates, splits["date"].to_numpy(), splits["split_ratio"].to_numpy())
    return part.with_columns(
        *(pl.Series(name, traded_price(part[name].to_numpy(), scale)).fill_nan(None) for name in PRICES),
        (part["volume"].cast(pl.Float64) / pl.Series(scale)).round().cast(pl.Int64).alias("volume"),
        *(pl.Series(name, np.round(part[name].to_numpy() * scale, 6)) for name in ("dividend", GAINS)),
    )


def traded_price(served: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The prices that were traded, of float32 prices divided by `scale`: the shortest decimals that fit."""
    price = served * scale
    # What a float32 stands for is half a step to either side: up to 2^-24 of its value.
    room = np.abs(price) * 2.0**-24
    out = np.round(price, 9)
    for places in range(8, -1, -1):
        shorter = np.round(price, places)
        out = np.where(np.abs(shorter - price) <= room, shorter, out)
    return out
