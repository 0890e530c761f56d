"""Momentum with the members of each day: buy, at each month's first session, the three members of a universe that
have risen most in 60 sessions; hold them a month. Beside it the same over today's members, whom nobody could know.

    python examples/momentum.py            # on the sample store, which is made on the first call
    python examples/momentum.py STORE UNIVERSE 2015-01-02 2024-12-31
"""

import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl

from quant_assets import prices, universe
from quant_assets.dev.sample_store import make_sample_store

LOOK_BACK, HELD = 60, 3


def closes(symbols, store):
    """Total-return closes, a row a session and a column a symbol; a session without a bar keeps the last close."""
    rows = prices(symbols, adjust="total_return", store=store).select("symbol", "date", "close").collect()
    wide = rows.pivot("symbol", index="date", values="close").sort("date")
    return wide.with_columns(pl.exclude("date").forward_fill())


def months(wide, start, end):
    """The first session of each month, and the last of all."""
    days = wide["date"].filter(wide["date"].is_between(start, end)).to_list()
    return sorted({*{(day.year, day.month): day for day in reversed(days)}.values(), days[-1]})


def backtest(store, name, start, end, members):
    """What one unit became, and who was held: `members(day)` are the symbols to choose from."""
    wide = closes(universe(store=store).collect()["symbol"], store)
    place = {day: at for at, day in enumerate(wide["date"])}
    value, held = 1.0, []
    turns = months(wide, start, end)
    for day, until in pairwise(turns):
        # What is known in the morning: closes through the session before.
        then, before = wide.row(place[day] - 1 - LOOK_BACK, named=True), wide.row(place[day] - 1, named=True)
        rise = {s: before[s] / then[s] for s in members(day) if before.get(s) and then.get(s)}
        chosen = sorted(rise, key=lambda s: (-rise[s], s))[:HELD]
        bought, sold = wide.row(place[day], named=True), wide.row(place[until], named=True)
        value *= sum(sold[s] / bought[s] for s in chosen) / len(chosen)
        held.append((day, chosen))
    return value - 1, held


def main(store, name, start, end):
    def members_on(day):
        return universe(name, on=day, store=store).collect()["symbol"]

    todays = universe(name, store=store).collect()["symbol"]
    then, held = backtest(store, name, start, end, members_on)
    today, _ = backtest(store, name, start, end, lambda _: todays)
    for day, chosen in held:
        print(day, " ".join(chosen))
    print(f"members of each day: {then:+.1%}   today's members: {today:+.1%}")
    return then, today


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(sys.argv[1], sys.argv[2], *map(date.fromisoformat, sys.argv[3:]))
    else:
        main(make_sample_store(Path(".quant-assets/examples")), "leaders", date(2012, 6, 1), date(2013, 3, 1))
