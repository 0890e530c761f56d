"""What a restatement did to a signal: the rank by 20-session momentum as it was known then, and as it is known now.

python examples/restated_signal.py              # on the sample store, which is made on the first call
python examples/restated_signal.py STORE ASX
"""

import sys
from datetime import timedelta
from pathlib import Path

import polars as pl

from quant_assets import prices, restatements, universe
from quant_assets.dev.sample_store import make_sample_store

LOOK_BACK = 20


def ranks(symbols, day, store, as_of=None):
    """Symbols by what they rose in the last sessions through a day, the best first."""
    rows = prices(
        symbols, day - timedelta(days=3 * LOOK_BACK), day, adjust="total_return", as_of=as_of, store=store
    )
    risen = rows.group_by("symbol").agg(
        rise=pl.col("close").drop_nulls().last() / pl.col("close").drop_nulls().tail(LOOK_BACK + 1).first()
        - 1
    )
    ranked = risen.drop_nulls().sort("rise", "symbol", descending=[True, False]).with_row_index("rank", 1)
    return ranked.collect()


def main(store, code):
    changed = restatements(exchange=code, store=store).filter(pl.col("field") == "close").collect()
    symbols = universe(store=store).filter(pl.col("exchange") == code).collect()["symbol"]
    told = []
    for symbol, day, old, new, found in changed.select(
        "symbol", "date", "old", "new", "detected_at"
    ).iter_rows():
        # The last moment at which the old close was all that anybody knew.
        then, now = (
            ranks(symbols, day, store, as_of).row(by_predicate=pl.col("symbol") == symbol, named=True)
            for as_of in (found - timedelta(microseconds=1), None)
        )
        told.append((symbol, then["rank"], now["rank"]))
        print(
            f"{symbol} {day}: close {old} became {new} on {found:%Y-%m-%d}; "
            f"{LOOK_BACK}-session momentum {then['rise']:+.1%} (rank {then['rank']}) → {now['rise']:+.1%} "
            f"(rank {now['rank']})"
        )
    return told


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(sys.argv[1], sys.argv[2])
    else:
        main(make_sample_store(Path(".quant-assets/examples")), "ASX")
