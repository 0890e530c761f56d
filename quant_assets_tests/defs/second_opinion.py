"""Weekly bars computed by pandas, another way than ours."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta

import pandas as pd
import polars as pl
from bokeh_sampledata import stocks

from quant_assets.market.bars import PRICES
from quant_assets.market.weekly import WEEKLY_SCHEMA

SPLITS = {
    "AAPL": {date(2000, 6, 21): 2.0, date(2005, 2, 28): 2.0},
    "MSFT": {date(2003, 2, 18): 2.0},
}


def by_pandas(
    symbol: str,
    first: date,
    last: date,
    *,
    complete: bool,
    dividends: Mapping[date, float] | None = None,
    lacking: Collection[date] = (),
) -> pl.DataFrame:
    """Weekly bars straight from the sample data, by pandas, one week at a time; without the bars that are lacking."""
    source = pd.DataFrame({name: getattr(stocks, symbol)[name] for name in ("date", *PRICES, "volume")})
    source["date"] = pd.to_datetime(source["date"])
    source = source[(source["date"] >= pd.Timestamp(first)) & (source["date"] <= pd.Timestamp(last))]
    source = source[~source["date"].isin([pd.Timestamp(day) for day in lacking])]
    paid = dividends if dividends is not None else {}
    if dividends is None and symbol == "AAPL":
        paid = {date(2013, 2, 7): 2.65}
    rows = []
    for period, week in source.groupby(source["date"].dt.to_period("W-SUN")):
        monday = period.start_time.date()
        splits = {
            day: ratio
            for day, ratio in SPLITS.get(symbol, {}).items()
            if monday <= day <= monday + timedelta(days=6)
        }
        after = week["date"].map(
            lambda stamp, splits=splits: pd.Series(
                [ratio for day, ratio in splits.items() if day > stamp.date()], dtype=float
            ).prod()
        )
        per_share = week[list(PRICES)].div(after, axis=0)
        days = [stamp.date() for stamp in week["date"]]
        rows.append(
            {
                "symbol": symbol,
                "week": monday,
                "first_session": days[0],
                "last_session": days[-1],
                "sessions": len(days),
                "open": per_share["open"].iloc[0],
                "high": per_share["high"].max(),
                "low": per_share["low"].min(),
                "close": per_share["close"].iloc[-1],
                "volume": float((week["volume"] * after).sum()),
                "dividends": sum(paid.get(day, 0.0) / by for day, by in zip(days, after, strict=True)),
                "split_ratio": float(pd.Series(list(splits.values()), dtype=float).prod()),
                "complete": complete,
            }
        )
    return pl.DataFrame(rows, schema=WEEKLY_SCHEMA)
