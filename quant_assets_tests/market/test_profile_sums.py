"""Sums of years: in any number of parts the same to the bit; profiles of them are those of a loop over the rows."""

from __future__ import annotations

import math
import statistics
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.market.bars import content_sha256
from quant_assets.market.coverage import coverage_by_month
from quant_assets.market.profile_sums import FLAG, ROWS, SUMS_SCHEMA, advanced, carried, left_over, no_sums
from quant_assets.market.profile_years import bars_of, placed
from quant_assets.market.profiles import symbol_profiles

DAILY = {
    "symbol": pl.String,
    "date": pl.Date,
    "close": pl.Float64,
    "volume": pl.Int64,
    "dividend": pl.Float64,
    "split_ratio": pl.Float64,
    "flags": pl.String,
}
LISTED = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}
DAYS = [day for n in range(500) if (day := date(2018, 11, 1) + timedelta(n)).weekday() < 5]
FLAGS = ["", "", "", "no_trade", "no_trade,stale_price", "explained:a,explained:b"]


def history(seed: int, symbols: int = 12) -> pl.DataFrame:
    """Rows of symbols that come and go, pause over New Year, split, pay more than they are worth, stand still."""
    chance = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for number in range(symbols):
        first, last = sorted(chance.integers(0, len(DAYS), 2)) if number % 3 else (0, len(DAYS) - 1)
        price = 50.0
        for at in range(first, last + 1):
            if chance.random() < 0.02 * (number % 4) or (number % 5 == 4 and 20 < at < 200):
                continue
            price *= math.exp(chance.normal(0, 0.3 if number % 4 == 3 else 0.02))
            price = round(price, 0 if number % 2 else 2) + 0.01
            rows.append(
                (
                    f"S{number:02}",
                    DAYS[at],
                    None if chance.random() < 0.03 else price,
                    None if chance.random() < 0.02 else int(chance.integers(0, 4)),
                    float(chance.choice([0.1, 0.5, 60.0])) if chance.random() < 0.03 else None
                    if chance.random() < 0.01 else 0.0,
                    float(chance.choice([2, 0.5, 1 / 3])) if chance.random() < 0.02 else 1.0,
                    str(chance.choice(FLAGS)),
                )
            )  # fmt: skip
    return pl.DataFrame(rows, schema=DAILY, orient="row")


def by_years(rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
    return {
        year: rows.filter(pl.col("date").dt.year() == year).select(ROWS)
        for year in rows["date"].dt.year().unique().sort()
    }


@pytest.mark.parametrize("seed", range(3))
def test_rows_in_many_parts_have_the_sums_of_all_at_once_to_the_bit(seed: int) -> None:
    chance = np.random.default_rng(seed)
    whole = parted = no_sums()
    for rows in by_years(history(seed)).values():
        whole, parted = advanced(carried(whole), [rows]), carried(parted)
        days = rows["date"].unique().sort().to_list()
        while days:
            count = int(chance.integers(1, 40))
            now, days = rows.filter(pl.col("date").is_in(days[:count])), days[count:]
            half = now["symbol"].unique().sort()[now["symbol"].n_unique() // 2]
            parts = [now.filter(pl.col("symbol") < half), now.filter(pl.col("symbol") >= half)]
            parted = advanced(parted, parts)
        assert whole.schema == {
            **SUMS_SCHEMA,
            **dict.fromkeys((f"{FLAG}{c}" for c in ("explained", "no_trade", "stale_price")), pl.Int64()),
        }
        assert content_sha256(parted) == content_sha256(whole)


def test_what_is_carried_over_is_all_that_the_next_year_has_to_know() -> None:
    first, second = list(by_years(history(1)).values())[:2]
    sums = advanced(no_sums(), [first])
    of_first = [name for name in SUMS_SCHEMA if name not in left_over(sums).columns]
    forgotten = carried(sums)
    assert forgotten.select(of_first).equals(carried(no_sums()).select(of_first).clear(sums.height).with_columns(
        pl.exclude(pl.Date).fill_null(0)
    ))  # fmt: skip
    assert left_over(forgotten).equals(left_over(sums))
    assert advanced(forgotten, [second])["symbol"].to_list() == sorted({*first["symbol"], *second["symbol"]})


def test_rows_of_two_years_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of one year are summed; got those of 2018-11-01 to 2020"):
        advanced(no_sums(), [history(0)])
    assert advanced(no_sums(), [history(0).clear()]).equals(no_sums())


def looped(
    rows: pl.DataFrame, sessions: list[date], since: date | None, until: date | None
) -> dict[str, Any]:
    """A symbol's profile, one row after the other; what is a float is the sum of a list."""
    found: dict[str, Any] = dict.fromkeys(
        ("stale_days", "zero_volume_days", "suspicious_jumps", "splits", "dividends", "flagged_sessions"), 0
    )
    returns: list[float] = []
    values: list[float] = []
    closes: list[tuple[float, bool]] = []
    days: list[date] = []
    flags: dict[str, int] = {}
    shares, cash, kept, before = 1.0, 0.0, 0.0, None
    for row in rows.sort("date").rows(named=True):
        paid = row["dividend"] or 0.0
        found["splits"] += row["split_ratio"] != 1
        found["dividends"] += paid != 0
        found["flagged_sessions"] += row["flags"] != ""
        for kind in {code.split(":")[0] for code in row["flags"].split(",") if code}:
            flags[kind] = flags.get(kind, 0) + 1
        shares *= row["split_ratio"]
        cash += paid * shares
        if paid and before is not None:
            left = 1 - paid * shares / before
            kept += math.log(left) if left > 0 else math.nan
        close = row["close"]
        if close is None:
            continue
        days.append(row["date"])
        found["zero_volume_days"] += row["volume"] == 0
        if row["volume"] is not None:
            values.append(close * row["volume"])
        if before is not None:
            returns.append(math.log(close * shares / before) - kept)
            found["suspicious_jumps"] += abs(math.log((close * shares + cash) / before)) > math.log(1.6)
        closes.append((close, before == close and shares == 1.0))
        shares, cash, kept, before = 1.0, 0.0, 0.0, close
    run = 0
    for at, (_, same) in enumerate(closes):
        run = run + 1 if same else 1
        if at + 1 == len(closes) or not closes[at + 1][1]:
            found["stale_days"] += run if run >= 5 else 0
    start = since or (days[0] if days else sessions[0])
    due = [day for day in sessions if start <= day <= (until or sessions[-1])]
    missing = "".join(" " if day in days else "x" for day in due)
    total = sum(returns)
    return found | {
        "sessions": len(days),
        "expected_sessions": len(due),
        "missing_sessions": missing.count("x"),
        "longest_gap": max(map(len, missing.split()), default=0),
        "first_session": days[0] if days else None,
        "last_session": days[-1] if days else None,
        "last_close": before,
        "flags": ", ".join(f"{kind} {flags[kind]}" for kind in sorted(flags)),
        "total_return": math.exp(total) - 1 if returns and math.isfinite(total) else None,
        "volatility": statistics.stdev(returns) * 252**0.5
        if len(returns) > 1 and math.isfinite(total)
        else None,
        "dollar_volume": sum(values) / len(values) if values else None,
    }


@pytest.mark.parametrize("seed", range(3))
def test_profiles_are_those_of_a_loop_over_the_rows(seed: int) -> None:
    daily = history(seed)
    chance = np.random.default_rng(seed)
    sessions = [day for day in DAYS if chance.random() < 0.97 or day in (DAYS[0], DAYS[-1])]
    bounds = {
        symbol: (
            DAYS[chance.integers(0, 60)] if chance.random() < 0.5 else None,
            DAYS[-chance.integers(1, 200)] if chance.random() < 0.5 else None,
        )
        for symbol in [*daily["symbol"].unique().sort(), "NONE"]
    }
    listings = pl.DataFrame(
        [(symbol, *dates) for symbol, dates in bounds.items()],
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
        orient="row",
    )
    for row in symbol_profiles(daily, sessions, listings).rows(named=True):
        expected = looped(daily.filter(pl.col("symbol") == row["symbol"]), sessions, *bounds[row["symbol"]])
        assert {name: row[name] for name in expected} == {
            name: pytest.approx(value, rel=1e-10, abs=1e-10) if isinstance(value, float) else value
            for name, value in expected.items()
        }


def test_the_days_of_all_bars_are_kept() -> None:
    daily = history(2)
    years: dict[int, pl.DataFrame] = {}
    sums = no_sums()
    for year, rows in by_years(daily).items():
        sums = years[year] = advanced(carried(sums), [rows])
    bars = daily.filter(pl.col("close").is_not_null())
    some = pl.Series("symbol", ["S01", "S04", "NONE"])
    kept = bars_of(years, some).sort("symbol", "date")
    assert kept.equals(bars.filter(pl.col("symbol").is_in(some.implode())).select("symbol", "date"))
    listings = pl.DataFrame({"symbol": some, "listed_on": None, "delisted_on": None}).cast(
        {"listed_on": pl.Date, "delisted_on": pl.Date}
    )
    found = coverage_by_month(kept.with_columns(close=1.0), DAYS, listings)
    assert found.equals(coverage_by_month(bars, DAYS, listings))
    assert bars_of({}, some).is_empty()


def stands(prices: list[tuple[date, float]], **of_last: float) -> pl.DataFrame:
    """One symbol's closes, with what is said of the last of them."""
    rows = [("A", day, close, 100, 0.0, 1.0, "") for day, close in prices]
    last = rows[-1]
    rows[-1] = (*last[:4], of_last.get("dividend", 0.0), of_last.get("ratio", 1.0), "")
    return pl.DataFrame(rows, schema=DAILY, orient="row")


@pytest.mark.parametrize(
    ("before", "after", "stale"),
    [(5, 0, 5), (5, 1, 6), (5, 2, 7), (4, 0, 0), (4, 1, 5), (6, 1, 7), (4, 2, 6)],
)
def test_days_without_a_move_count_from_the_fifth_on_across_new_year(
    before: int, after: int, stale: int
) -> None:
    old = [(day, 7.0) for day in DAYS if day.year == 2018][-before:]
    new = [day for day in DAYS if day.year == 2019][: after + 1]
    this = [(day, 7.0) for day in new[:after]] + [(new[after], 9.0)]
    sums = advanced(no_sums(), [stands(old)])
    later = advanced(carried(sums), [stands(this)])
    assert sums["stale_days"].item() + later["stale_days"].item() == stale


@pytest.mark.parametrize(
    ("last", "acts", "jumps"),
    [
        (20.0, {}, 0), (20.01, {}, 1), (5.0, {}, 0), (4.99, {}, 1),
        # Two for one, or a dividend: what a share held has become is as much as that.
        (10.0, {"ratio": 2.0}, 0), (10.01, {"ratio": 2.0}, 1),
        (19.0, {"dividend": 1.0}, 0), (19.01, {"dividend": 1.0}, 1),
    ],
)  # fmt: skip
def test_the_largest_move_is_no_jump_and_more_is(last: float, acts: dict[str, float], jumps: int) -> None:
    rows = stands(list(zip(DAYS, [10.0, last], strict=False)), **acts)
    assert advanced(no_sums(), [rows], largest_move=2.0)["suspicious_jumps"].item() == jumps


def test_a_ratio_that_is_unknown_splits_nothing() -> None:
    rows = stands([(DAYS[0], 10.0), (DAYS[1], 11.0)])
    unknown = rows.with_columns(split_ratio=pl.lit(None, pl.Float64))
    assert advanced(no_sums(), [unknown]).equals(advanced(no_sums(), [rows]))


@pytest.mark.parametrize("growth", [1.0, 1.01, 1.013, 1.1, 0.97, 1.0003])
def test_a_price_that_always_grows_alike_does_not_vary(growth: float) -> None:
    """What should be nothing may be summed to a little less than nothing."""
    for count in range(3, 12):
        rows = stands([(day, 10.0 * growth**n) for n, day in enumerate(DAYS[:count])])
        found = symbol_profiles(rows, DAYS[:count], pl.DataFrame(schema=LISTED))
        assert found["volatility"].item() == pytest.approx(0.0, abs=1e-6)


def test_the_longest_gap_of_each_symbol_is_its_own() -> None:
    days = [day for day in DAYS if day.year == 2019][:8]
    gone = {"A": {2, 3}, "B": {1, 4, 5, 6}, "C": {3}, "D": set[int]()}
    rows = [
        (name, day, 10.0 + n % 2, 100, 0.0, 1.0, "")
        for name, absent in gone.items()
        for n, day in enumerate(days)
        if n not in absent
    ]
    found = symbol_profiles(pl.DataFrame(rows, schema=DAILY, orient="row"), days, pl.DataFrame(schema=LISTED))
    assert found["longest_gap"].to_list() == [2, 3, 1, 0]


def test_a_gap_after_the_first_session_of_all_goes_on_across_new_year() -> None:
    days = [date(2018, 12, 31), date(2019, 1, 2), date(2019, 1, 3), date(2019, 1, 4)]
    rows = [("A", day, 10.0, 9, 0.0, 1.0, "") for day in (days[0], days[3])]
    found = symbol_profiles(pl.DataFrame(rows, schema=DAILY, orient="row"), days, pl.DataFrame(schema=LISTED))
    assert found["longest_gap"].to_list() == [2]


def test_a_split_after_the_last_bar_of_a_year_is_no_jump_in_the_next() -> None:
    last = [day for day in DAYS if day.year == 2018][-2:]
    first = [day for day in DAYS if day.year == 2019][:2]
    old = [("A", last[0], 10.0, 9, 0.0, 1.0, ""), ("A", last[1], None, 0, 1.0, 2.0, "")]
    new = [("A", first[0], 4.0, 9, 0.0, 1.0, ""), ("A", first[1], 4.0, 9, 0.0, 1.0, "")]
    sums = no_sums()
    for rows in (old, new):
        sums = advanced(carried(sums), [pl.DataFrame(rows, schema=DAILY, orient="row")], largest_move=1.05)
    # A share of 10 became two of 4 and a dividend of 1 for each.
    assert sums["suspicious_jumps"].item() == 0
    assert sums["log_total"].item() == pytest.approx(0.0, abs=1e-12)
    assert (sums["shares"].item(), sums["cash"].item(), sums["log_factor"].item()) == (1.0, 0.0, 0.0)


def test_what_comes_after_the_last_bar_of_a_symbol_is_nothing_to_the_next_one() -> None:
    rows = [
        ("A", DAYS[0], 10.0, 9, 0.0, 1.0, ""), ("A", DAYS[1], None, 0, 1.0, 2.0, ""),
        ("B", DAYS[0], 10.0, 9, 0.0, 1.0, ""), ("B", DAYS[1], 11.0, 9, 0.0, 1.0, ""),
    ]  # fmt: skip
    sums = advanced(no_sums(), [pl.DataFrame(rows, schema=DAILY, orient="row")])
    assert sums["log_total"].to_list() == pytest.approx([0.0, math.log(1.1)])
    assert sums.select("shares", "cash", "log_factor").rows() == [(2.0, 2.0, math.log(0.8)), (1.0, 0.0, 0.0)]


def test_flags_are_counted_of_every_symbol_whenever_it_or_the_flag_comes() -> None:
    def part(day: date, **flags: str) -> pl.DataFrame:
        rows = [(symbol, day, 10.0, 100, 0.0, 1.0, said) for symbol, said in flags.items()]
        return pl.DataFrame(rows, schema=DAILY, orient="row")

    sums = advanced(no_sums(), [part(DAYS[0], A="no_trade"), part(DAYS[0], B="")])
    sums = advanced(sums, [part(DAYS[1], A="", C="stale_price,no_trade"), part(DAYS[1], D="")])
    sums = advanced(sums, [part(DAYS[2], A="no_trade", B="stale_price")])
    assert sums.select("symbol", "flagged_sessions", f"{FLAG}no_trade", f"{FLAG}stale_price").rows() == [
        ("A", 2, 2, 0), ("B", 1, 0, 1), ("C", 1, 1, 1), ("D", 0, 0, 0),
    ]  # fmt: skip
    assert sums["sessions"].to_list() == [3, 2, 1, 1]


def test_the_sums_of_a_few_rows_worked_out_by_hand() -> None:
    rows = [
        ("A", DAYS[0], 10.0, 100, 0.0, 1.0, ""),
        # Two shares of 0.5 each are paid before the next bar: 10 have become 13.
        ("A", DAYS[1], None, 0, 0.5, 2.0, ""),
        ("A", DAYS[2], 6.0, None, 0.0, 1.0, ""),
        ("A", DAYS[3], 6.0, 0, None, 1.0, ""),
        ("A", DAYS[4], None, 0, 0.1, 3.0, ""),
        ("B", DAYS[1], None, 0, 0.2, 1.0, ""),
    ]
    sums = advanced(no_sums(), [pl.DataFrame(rows, schema=DAILY, orient="row")])
    counts = (
        "sessions",
        "valued",
        "stale_days",
        "zero_volume_days",
        "suspicious_jumps",
        "splits",
        "dividends",
    )
    assert sums.select(counts).rows() == [(3, 2, 0, 1, 0, 2, 2), (0, 0, 0, 0, 0, 0, 1)]
    assert sums.select("first_session", "last_session").rows() == [(DAYS[0], DAYS[3]), (None, None)]
    total = math.log(12 / 10) - math.log(0.9)
    floats = ("log_total", "log_squares", "turnover", "close", "shares", "cash", "log_factor", "run")
    (first, second) = sums.select(floats).rows()
    assert first == pytest.approx((total, total**2, 1_000.0, 6.0, 3.0, 0.3, math.log(0.95), 2))
    assert second == pytest.approx((0.0, 0.0, 0.0, math.nan, 1.0, 0.2, 0.0, 0), nan_ok=True)
    assert advanced(sums, []).equals(sums)


def test_what_is_paid_before_the_first_bar_adds_up_part_by_part() -> None:
    sums = no_sums()
    for number, amount in enumerate([0.25, 0.5, 0.125]):
        rows = [("A", DAYS[number], None, 0, amount, 1.0, "")]
        sums = advanced(sums, [pl.DataFrame(rows, schema=DAILY, orient="row")])
    assert sums.select("shares", "cash", "log_factor", "dividends").rows() == [(1.0, 0.875, 0.0, 3)]


def test_a_symbol_without_a_bar_has_no_place_and_no_close() -> None:
    days = DAYS[:4]
    rows = [
        ("A", days[1], 10.0, 9, 0.0, 1.0, ""), ("A", days[3], 10.5, 9, 0.0, 1.0, ""),
        ("B", days[1], None, 0, 0.5, 1.0, ""),
    ]  # fmt: skip
    daily = pl.DataFrame(rows, schema=DAILY, orient="row")
    years = {2018: advanced(no_sums(), [daily])}
    listed = pl.DataFrame([("A", None, None), ("B", None, None)], schema=LISTED, orient="row")
    assert placed(years, pl.Series(days), listed).rows() == [(2, 1, 3, 1), (0, None, None, 0)]
    found = symbol_profiles(daily, days, listed)
    assert found.select("last_close", "dollar_volume", "total_return").rows()[1] == (None, None, None)


def test_symbols_with_as_many_bars_add_up_as_each_does_alone() -> None:
    """Some with as many bars as their neighbours, some not: from the first to the last, to the bit."""
    chance = np.random.default_rng(5)
    days = [date(2023, 1, 2) + timedelta(n) for n in range(40)]
    bars = [(f"S{n:02}", days[:count]) for n, count in enumerate([40] * 30 + [39] + [38] * 3 + [40] * 9)]
    closes = {name: chance.uniform(0.1, 900.0, len(there)).round(4).tolist() for name, there in bars}
    rows = pl.DataFrame(
        [
            (name, day, close, int(chance.integers(1, 10**7)), 0.0, 1.0, "")
            for name, there in bars
            for day, close in zip(there, closes[name], strict=True)
        ],
        schema=DAILY,
        orient="row",
    )
    half = date(2023, 1, 20)
    early, late = (rows.filter(pl.col("date") < half), rows.filter(pl.col("date") >= half))
    sums = advanced(advanced(no_sums(), [early]), [late])
    each = [rows.filter(pl.col("symbol") == name) for name, _ in bars]
    assert content_sha256(sums) == content_sha256(pl.concat(advanced(no_sums(), [one]) for one in each))
    turnover: list[float] = []
    for one in each:
        total = 0.0
        for close, volume in zip(one["close"], one["volume"], strict=True):
            total += close * volume
        turnover.append(total)
    assert sums["turnover"].to_list() == turnover
