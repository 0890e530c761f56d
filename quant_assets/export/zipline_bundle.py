"""A bundle for zipline-reloaded: as-traded bars, splits and dividends as CSV, and the extension that registers it.

zipline looks for `extension.py` in ZIPLINE_ROOT, or takes one with `-e`. Ours needs neither quant_assets nor the
store: zipline lives in an environment of its own.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import polars as pl

from quant_assets.export.chosen import BARS, Chosen, ExportError
from quant_assets.export.csv_files import file_name

# By our codes: what exchange-calendars, zipline's library of sessions, calls the exchange, and its country.
CALENDARS = {
    "ASX": ("XASX", "AU"), "US": ("XNYS", "US"), "LSE": ("XLON", "GB"), "HKEX": ("XHKG", "HK"),
    "TSX": ("XTSE", "CA"), "JPX": ("XTKS", "JP"), "XETR": ("XFRA", "DE"), "XPAR": ("XPAR", "FR"),
    "KOSPI": ("XKRX", "KR"), "KOSDAQ": ("XKRX", "KR"), "SSE": ("XSHG", "CN"), "SZSE": ("XSHG", "CN"),
    "TWSE": ("XTAI", "TW"), "TPEX": ("XTAI", "TW"), "NSE": ("XBOM", "IN"), "BSE": ("XBOM", "IN"),
    "SGX": ("XSES", "SG"), "NZX": ("XNZE", "NZ"), "SIX": ("XSWX", "CH"), "XAMS": ("XAMS", "NL"),
    "XBRU": ("XBRU", "BE"), "XLIS": ("XLIS", "PT"), "XMIL": ("XMIL", "IT"), "XMAD": ("XMAD", "ES"),
    "XSTO": ("XSTO", "SE"), "XHEL": ("XHEL", "FI"), "XCSE": ("XCSE", "DK"), "XOSL": ("XOSL", "NO"),
    "XWAR": ("XWAR", "PL"), "JSE": ("XJSE", "ZA"), "B3": ("BVMF", "BR"), "BMV": ("XMEX", "MX"),
    "TASE": ("XTAE", "IL"), "TADAWUL": ("XSAU", "SA"),
}  # fmt: skip
_MOST_SHARES = 2**32 - 1
"""zipline keeps 32 bits of a volume and three decimals of a price."""


def bundle_name(code: str) -> str:
    """What zipline calls the bundle of an exchange."""
    return f"quant-assets-{code.lower()}"


def write_zipline(chosen: Chosen, made: Path) -> tuple[int, list[str]]:
    """Writes the folder, and answers how many bars it has and what zipline will not keep of them.

    bars/<exchange>/<symbol>.csv: date, open, high, low, close, volume (as traded), dividend, split_ratio, on the days
    that have a bar or an action; assets.csv: sid, symbol, name, exchange, calendar, country, file, first, last.

    Raises ExportError for an exchange whose calendar zipline has not.
    """
    if unknown := sorted(set(chosen.by_exchange) - set(CALENDARS)):
        raise ExportError(f"zipline has no calendar for {', '.join(unknown)}: export others with --exchange")
    names = (
        dict(chosen.catalog.select("symbol", "name").iter_rows()) if "name" in chosen.catalog.columns else {}
    )
    assets: list[dict[str, object]] = []
    rows = finer = larger = 0
    for code, symbols in chosen.batches():
        folder = made / "bars" / code
        folder.mkdir(parents=True, exist_ok=True)
        frame = chosen.daily(code, symbols)
        for (symbol,), part in frame.partition_by("symbol", as_dict=True, maintain_order=True).items():
            bars = part.filter(pl.col("close").is_not_null())
            if bars.is_empty():
                continue
            # An action before the first bar has nothing to adjust, and zipline no asset to pay it to.
            part = part.filter(pl.col("date") >= bars["date"][0])
            file = folder / f"{file_name(str(symbol))}.csv"
            part.select("date", *BARS, "dividend", "split_ratio").write_csv(file)
            calendar, country = CALENDARS[code]
            assets.append(
                {
                    "sid": len(assets),
                    "symbol": symbol,
                    "name": names.get(symbol) or symbol,
                    "exchange": code,
                    "calendar": calendar,
                    "country": country,
                    "file": file.relative_to(made).as_posix(),
                    "first": bars["date"][0],
                    "last": bars["date"][-1],
                }
            )
            rows += bars.height
            rounded = pl.any_horizontal((pl.col(n) - pl.col(n).round(3)).abs() > 1e-9 for n in BARS[:4])
            finer += bars.select(rounded.sum()).item()
            larger += bars.select((pl.col("volume") > _MOST_SHARES).sum()).item()
    pl.DataFrame(assets).write_csv(made / "assets.csv") if assets else None
    extension = files("quant_assets.export").joinpath("zipline_extension.py").read_text(encoding="utf-8")
    (made / "extension.py").write_text(extension, encoding="utf-8")
    notes: list[str] = []
    if finer:
        notes.append(f"{finer} bars have prices with more than three decimals; zipline rounds them to three")
    if larger:
        notes.append(f"{larger} bars have more than {_MOST_SHARES} shares; zipline takes them for none")
    return rows, notes
