"""qlib's binary format (Microsoft's pyqlib): calendars, instruments and features, by day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.exchanges import UnknownExchange, exchange
from quant_assets.export.chosen import BARS, Chosen
from quant_assets.market.corporate_actions import Adjust
from quant_assets.resources.settings import load_settings

_RESERVED = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
FIELDS = (*BARS, "factor")


def write_qlib(chosen: Chosen, made: Path, adjust: Adjust) -> int:
    """Writes the folder that `qlib.init(provider_uri=…)` takes, and answers how many bars it has.

    calendars/day.txt has the sessions of all exchanges in it; instruments/all.txt and one file for each exchange the
    symbols with their first and last bar. Features are float32, as qlib has them: open, high, low, close adjusted as
    asked for, `factor` the adjusted close by the one as traded, and volume as traded by `factor`, so that
    `$close / $factor` and `$volume * $factor` are what was traded. A session without a bar is NaN.
    """
    spans: dict[str, dict[str, tuple[date, date]]] = {code: {} for code in chosen.by_exchange}
    days: set[date] = set()
    for code, symbols in chosen.batches():
        bars = chosen.daily(code, symbols).filter(pl.col("close").is_not_null())
        days.update(bars["date"].unique())
        found = bars.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max())
        spans[code].update({symbol: (first, last) for symbol, first, last in found.iter_rows()})
    calendar = sorted(days | _sessions(spans))
    places = pl.DataFrame(
        {"date": calendar, "place": range(len(calendar))}, schema_overrides={"date": pl.Date}
    )
    _write_lines(made / "calendars" / "day.txt", [str(day) for day in calendar])
    every = {symbol: span for of_one in spans.values() for symbol, span in of_one.items()}
    for name, listed in {"all": every, **{code.lower(): of_one for code, of_one in spans.items()}}.items():
        lines = [f"{symbol.upper()}\t{first}\t{last}" for symbol, (first, last) in sorted(listed.items())]
        _write_lines(made / "instruments" / f"{name}.txt", lines)
    rows = 0
    for code, symbols in chosen.batches():
        traded = chosen.daily(code, symbols)
        bars = traded if adjust == "none" else chosen.daily(code, symbols, adjust)
        bars = bars.with_columns(traded=traded["close"], shares=traded["volume"])
        bars = bars.filter(pl.col("close").is_not_null())
        bars = bars.with_columns(factor=pl.col("close") / pl.col("traded"))
        bars = bars.with_columns(volume=pl.col("shares") / pl.col("factor")).join(places, on="date")
        for (symbol,), part in bars.partition_by("symbol", as_dict=True, maintain_order=True).items():
            _write_features(made / "features" / _folder(str(symbol)), part.sort("place"))
            rows += part.height
    return rows


def _sessions(spans: dict[str, dict[str, tuple[date, date]]]) -> set[date]:
    days: set[date] = set()
    for code, listed in spans.items():
        if not listed:
            continue
        try:
            calendar = exchange(code, load_settings().exchanges_file).calendar()
        except UnknownExchange:
            continue
        first, last = min(first for first, _ in listed.values()), max(last for _, last in listed.values())
        days.update(calendar.sessions(first, last))
    return days


def _write_features(folder: Path, bars: pl.DataFrame) -> None:
    folder.mkdir(parents=True)
    places = bars["place"].to_numpy()
    at = places - places[0]
    for field in FIELDS:
        values = np.full(int(at[-1]) + 2, np.nan, dtype="<f4")
        # The first number says on which session of the calendar the others begin.
        values[0] = places[0]
        values[1 + at] = bars[field].cast(pl.Float64).to_numpy()
        values.tofile(folder / f"{field}.day.bin")


def _folder(symbol: str) -> str:
    name = symbol.lower()
    return f"_qlib_{name}" if name in _RESERVED else name


def _write_lines(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
