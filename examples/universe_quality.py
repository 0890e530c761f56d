"""The quality of one's universe: how complete and plausible its histories are, and what is missing.

python examples/universe_quality.py             # on the sample store, which is made on the first call
python examples/universe_quality.py STORE ASX UNIVERSE
"""

import sys
from pathlib import Path

import polars as pl

from quant_assets import gaps, profiles, universe
from quant_assets.dev.sample_store import make_sample_store


def main(store, code, name):
    members = universe(name, store=store).filter(pl.col("exchange") == code).collect()["symbol"].to_list()
    quality = profiles(code, store=store).filter(pl.col("symbol").is_in(members)).collect()
    print(f"{name}: {quality.height} symbols, mean quality {quality['quality'].mean():.1f} of 100")
    worst = quality.sort("quality", "symbol")
    worst = worst.select("symbol", "quality", "coverage", "missing_sessions", "suspicious_jumps")
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(worst.head(5))
    missing = gaps(members, store=store).collect()
    for kind, symbol, first, last in missing.select("kind", "symbol", "first", "last").iter_rows():
        print(f"{kind} {symbol}: {first} … {last}")
    return quality, missing


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(*sys.argv[1:])
    else:
        main(make_sample_store(Path(".quant-assets/examples")), "ASX", "leaders")
