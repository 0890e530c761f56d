"""The simulated year holds what it says, where it can be found out, and the replay server serves it so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.simulated_year.drawing import (
    FIRST,
    LAST,
    LEAD_IN,
    Market,
    Symbol,
    calendar,
    correctable,
    draw_lives,
    draw_missing_session,
    draw_splits,
)
from benchmarks.simulated_year.scenario import EXCHANGES, Planted, Scenario, make_scenario, truth
from quant_assets.market.bars import PRICES
from quant_assets.market.corporate_actions import as_traded
from quant_assets.replay.fault_book import FaultBook
from quant_assets.replay.faults import Fault
from quant_assets.replay.kinds import LIES, REFUSALS, STATES, FaultKind
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.resources.source import Outcome
from quant_assets.resources.yahoo_chart import read_chart
from quant_assets_tests.replay.support import FOREVER

ZONES = {"ASX": "Australia/Sydney", "US": "America/New_York"}
EVERYTHING = {"period1": "0", "period2": str(FOREVER), "interval": "1d", "events": "div,splits"}

scenario_of = cache(make_scenario)


@pytest.fixture(params=range(6))
def year(request: pytest.FixtureRequest) -> Scenario:
    return scenario_of(request.param)


def exchange_of(year: Scenario, symbol: str) -> str:
    return next(code for code, symbols in year.symbols.items() if symbol in symbols)


def calendar_of(year: Scenario, symbol: str) -> tuple[date, ...]:
    return year.sessions[exchange_of(year, symbol)]


def sessions_between(year: Scenario, symbol: str, first: date, last: date) -> int:
    """Sessions after `first` up to `last`; negative when `last` is before."""
    days = np.array(calendar_of(year, symbol), dtype="datetime64[D]")
    low, high = np.searchsorted(days, np.array([first, last], dtype="datetime64[D]"))
    return int(high - low)


def local_day(year: Scenario, symbol: str, moment: datetime) -> date:
    """The session before whose open the moment is: openings are at 23:00 or 0:00 UTC in Sydney."""
    assert (moment.hour, moment.minute) in {"ASX": {(23, 0), (0, 0)}, "US": {(13, 30), (14, 30)}}[
        exchange_of(year, symbol)
    ]
    return (moment + timedelta(hours=1)).date()


def in_rate_limits(year: Scenario, day: date) -> bool:
    return year.rate_limits.since.date() <= day < year.rate_limits.until.date()


def corrections(year: Scenario) -> list[Planted]:
    return [p for p in year.planted if p.kind == "correction"]


def hidden_spans(year: Scenario) -> dict[str, tuple[date, date]]:
    return {s.symbol: (s.date, local_day(year, s.symbol, s.told_at)) for s in year.splits if s.told_at}


def test_sessions_and_symbols(year: Scenario) -> None:
    assert {code: len(symbols) for code, symbols in year.symbols.items()} == {"ASX": 12, "US": 12}
    assert {code: len(days) for code, days in year.sessions.items()} == {"ASX": 252, "US": 250}
    for days in year.sessions.values():
        assert (days[0], days[-1]) == (FIRST, LAST)
    assert date(2023, 4, 25) not in year.sessions["ASX"]
    assert date(2023, 7, 4) not in year.sessions["US"]
    assert year.history.symbols == sorted(s for symbols in year.symbols.values() for s in symbols)


def test_every_bar_is_there_but_those_of_the_suspension(year: Scenario) -> None:
    (suspension,) = year.suspensions
    rows = truth(year)
    assert rows["date"].min() == FIRST
    for symbol in year.history.symbols:
        first, last = year.listings.get(symbol, FIRST), year.delistings.get(symbol, LAST)
        expected = [day for day in calendar_of(year, symbol) if first <= day <= last]
        if symbol == suspension.symbol:
            expected = [day for day in expected if not suspension.first <= day <= suspension.last]
        assert rows.filter(symbol=symbol)["date"].to_list() == expected
        assert (year.history.truth(symbol).dates[0].item() < FIRST) == (symbol not in year.listings)
    assert year.history.frame["date"].min() == LEAD_IN


def test_listings_delistings_and_the_suspension(year: Scenario) -> None:
    (suspension,) = year.suspensions
    assert (len(year.listings), len(year.delistings)) == (3, 2)
    assert len({*year.listings, *year.delistings, suspension.symbol}) == 6
    length = sessions_between(year, suspension.symbol, suspension.first, suspension.last) + 1
    assert 8 <= length <= 25
    assert suspension.first > FIRST
    assert suspension.last < LAST
    infos = year.history.infos
    assert {s: i.listed_on for s, i in infos.items() if i.listed_on > LEAD_IN} == year.listings
    assert {s: i.delisted_on for s, i in infos.items() if i.delisted_on} == year.delistings


def test_bars_are_bars_on_the_tick(year: Scenario) -> None:
    bars = year.history.frame
    assert bars.null_count().row(0) == (0,) * 9
    assert bars.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()
    assert bars.filter(pl.col("high") < pl.max_horizontal("open", "close")).is_empty()
    assert bars["low"].min() >= 1
    assert bars["high"].max() <= 300
    assert (bars["volume"] % 100 == 0).all()
    assert bars["volume"].min() > 0
    for name in PRICES:
        for symbol, price in bars.select("symbol", name).iter_rows():
            assert on_tick(symbol, price)


def on_tick(symbol: str, price: float) -> bool:
    thousandths = 5 if symbol.endswith(".AX") and price < 2 else 10
    return price == round(price, 3) and round(price * 1000) % thousandths == 0


def test_splits(year: Scenario) -> None:
    ordinary = [s for s in year.splits if s.told_at is None]
    late = [s for s in year.splits if s.told_at is not None]
    assert sorted(s.ratio for s in ordinary) == [0.1, 1.5, 2, 3, 4]
    assert {exchange_of(year, s.symbol) for s in ordinary} == set(EXCHANGES)
    assert len(late) == 2
    assert {s.ratio for s in late} <= {2, 3}
    told = truth(year).filter(pl.col("split_ratio") != 1)
    assert set(told.select("symbol", "date", "split_ratio").rows()) == {
        (s.symbol, s.date, s.ratio) for s in year.splits
    }
    assert told.height == len(year.splits)
    assert year.history.frame.filter(pl.col("date") < FIRST)["split_ratio"].unique().to_list() == [1]
    for code, symbols in year.symbols.items():
        assert len(set(symbols) - {s.symbol for s in year.splits}) >= 3, code
    for one in ordinary:
        for other in year.splits:
            if other is not one and other.symbol == one.symbol:
                assert abs(sessions_between(year, one.symbol, one.date, other.date)) > 25


def test_late_splits_are_seen_hidden_and_told_in_time(year: Scenario) -> None:
    lengths = []
    for symbol, (ex_date, told) in hidden_spans(year).items():
        lengths.append(sessions_between(year, symbol, ex_date, told))
        assert not in_rate_limits(year, ex_date)
        assert told < date(2023, 12, 1)
        assert symbol not in {*year.delistings, *(s.symbol for s in year.suspensions)}
    assert 3 <= min(lengths) <= 12
    assert max(lengths) <= 30
    assert [(p.symbol, p.date, p.field, p.old, p.new, p.told_at) for p in year.planted if p.kind != "correction"] == [
        (s.symbol, s.date, "split_ratio", 1.0, s.ratio, s.told_at) for s in year.splits if s.told_at
    ]  # fmt: skip
    assert Counter(p.kind for p in year.planted) == {"correction": 20, "late_split": 2}


def test_ex_dates_are_on_quiet_days(year: Scenario) -> None:
    rows = truth(year).filter((pl.col("split_ratio") != 1) | (pl.col("dividend") > 0))
    paid = rows.filter(pl.col("dividend") > 0)
    assert paid.height >= 15
    assert paid["symbol"].n_unique() >= 8
    assert {exchange_of(year, symbol) for symbol in paid["symbol"]} == set(EXCHANGES)
    for symbol, day in rows.select("symbol", "date").rows():
        assert sessions_between(year, symbol, day, LAST) >= 10
        if exchange_of(year, symbol) == year.missing_session.exchange:
            assert day != year.missing_session.date


def test_prices_jump_by_the_ratio_on_the_ex_date(year: Scenario) -> None:
    for split in year.splits:
        bars = year.history.truth(split.symbol)
        at = int(np.searchsorted(bars.dates, np.datetime64(split.date, "D")))
        assert abs(bars.prices[3, at] * split.ratio / bars.prices[3, at - 1] - 1) < 0.15


def test_corrections_are_of_bars_that_are_seen_and_still_bars(year: Scenario) -> None:
    planted = corrections(year)
    assert len({(p.symbol, p.date) for p in planted}) == len(planted) == 20
    hidden = hidden_spans(year)
    rows = {(r["symbol"], r["date"]): r for r in truth(year).iter_rows(named=True)}
    for p in planted:
        right = rows[p.symbol, p.date]  # so it is in the year, and not a day of suspension
        assert right[p.field] == p.new
        off = abs(p.old - p.new)
        tick = 100 if p.field == "volume" else 0.005 if p.symbol.endswith(".AX") and p.new < 2 else 0.01
        assert off > 2.9 * tick
        assert 0.003 < off / p.new < 0.2
        assert p.old % 100 == 0 if p.field == "volume" else on_tick(p.symbol, p.old)
        wrong = {**right, p.field: p.old}
        assert wrong["low"] <= min(wrong["open"], wrong["close"])
        assert wrong["high"] >= max(wrong["open"], wrong["close"])

        told = local_day(year, p.symbol, p.told_at)
        assert 2 <= sessions_between(year, p.symbol, p.date, told) <= 60
        assert told < date(2023, 12, 1)
        assert not in_rate_limits(year, p.date)
        if p.symbol in hidden:
            assert not hidden[p.symbol][0] <= p.date <= hidden[p.symbol][1]
        if p.symbol in year.delistings:
            assert sessions_between(year, p.symbol, told, year.delistings[p.symbol]) >= 20
        if exchange_of(year, p.symbol) == year.missing_session.exchange:
            assert p.date != year.missing_session.date


def test_where_a_correction_may_be() -> None:
    market = Market("US", *calendar("US"), date(2023, 5, 8), missing=300)
    start, end = market.start, market.end
    week = range(start + 86, start + 91)
    assert [market.day(at) for at in (week[0], week[-1])] == [date(2023, 5, 8), date(2023, 5, 12)]
    last = max(at for at in range(end) if market.day(at) < date(2023, 12, 1))
    barred = {*week, 300}
    plain = Symbol("A", market, last=end)
    assert set(correctable(plain)) == set(range(start, last - 1)) - barred
    late = Symbol("B", market, last=end, hidden={150: 160}, gap=range(220, 230))
    assert set(correctable(late)) == set(correctable(plain)) - set(range(150, 161)) - set(range(220, 230))
    assert set(correctable(Symbol("C", market, first=180, last=320))) == set(range(185, 299)) - barred


def test_where_things_may_happen_holds_for_many_seeds() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        monday = date(2023, 1, 30) + timedelta(weeks=int(rng.integers(41)))
        markets = [Market(code, *calendar(code), monday) for code in EXCHANGES]
        symbols = [Symbol(f"{m.code}{n}", m, last=m.end) for m in markets for n in range(12)]
        missing = draw_missing_session(rng, markets)
        draw_lives(rng, symbols)
        draw_splits(rng, markets, symbols)
        assert not missing.limited(missing.missing)
        for symbol in symbols:
            absent = symbol.market.missing
            assert absent not in (symbol.first, symbol.last)
            assert not symbol.gap or not symbol.gap[0] - 1 <= absent <= symbol.gap[-1] + 1
            ex_dates = sorted(symbol.ratios)
            assert all(symbol.trades(at) and at != absent and at <= symbol.market.end - 10 for at in ex_dates)
            assert all(b - symbol.hidden.get(a, a) > 25 for a, b in pairwise(ex_dates))
            for at, told in symbol.hidden.items():
                assert not symbol.market.limited(at)
                assert symbol.market.day(told) < date(2023, 12, 1)


def test_one_session_is_missing_for_a_while(year: Scenario) -> None:
    missing = year.missing_session
    assert missing.date in year.sessions[missing.exchange]
    assert not in_rate_limits(year, missing.date)
    told = local_day(year, missing.symbols[0], missing.told_at)
    assert 3 <= sessions_between(year, missing.symbols[0], missing.date, told) <= 8
    traded = truth(year).filter(pl.col("date") == missing.date)["symbol"]
    assert set(missing.symbols) == set(traded) & set(year.symbols[missing.exchange])
    assert len(missing.symbols) >= 9


def test_faults(year: Scenario) -> None:
    faults = [Fault.from_dict(raw) for raw in year.faults]
    lasting, random = ([f for f in faults if (f.rate is not None) == wanted] for wanted in (False, True))
    assert Counter(f.kind for f in lasting) == {
        "hidden_split": 2, "corrected_bar": 20, "missing_session": len(year.missing_session.symbols),
        "rate_limited_429": 1,
    }  # fmt: skip
    assert all(f.until is not None for f in lasting)
    assert all(f.times is None for f in faults)
    (week,) = [f for f in lasting if f.kind is FaultKind.RATE_LIMITED_429]
    assert (week.since, week.until, week.symbol) == (year.rate_limits.since, year.rate_limits.until, "*")
    assert week.since is not None
    assert (week.since.weekday(), year.rate_limits.until - week.since) == (0, timedelta(days=5))
    assert FIRST < week.since.date() < LAST
    # No quotes are asked for in this year.
    elsewhere = {FaultKind.RATE_LIMITED_429, FaultKind.QUOTES_DOWN}
    assert {f.kind for f in random} | elsewhere >= set(FaultKind) - STATES - LIES - REFUSALS
    assert len({f.kind for f in random}) == len({f.seed for f in random}) == len(random) == 15
    assert sum(f.rate or 0 for f in random) == pytest.approx(0.01)


def test_one_request_of_a_hundred_fails() -> None:
    book = FaultBook(f for f in map(Fault.from_dict, scenario_of(1).faults) if f.rate)
    now = datetime(2023, 6, 1, tzinfo=UTC)
    hits = sum(bool(book.draw(symbol, now)) for symbol in scenario_of(1).history.symbols for _ in range(125))
    assert 12 <= hits <= 55


def test_the_seed_decides() -> None:
    one, again, other = make_scenario(3), make_scenario(3), make_scenario(4)
    assert one.history.frame.equals(again.history.frame)
    for name in ("planted", "splits", "suspensions", "listings", "delistings", "missing_session", "faults"):
        assert getattr(one, name) == getattr(again, name)
        assert getattr(one, name) != getattr(other, name)
    assert not one.history.frame.equals(other.history.frame)
    assert len({scenario_of(seed).rate_limits for seed in range(6)}) > 3
    with pytest.raises(ValueError, match="0 or above"):
        make_scenario(-1)


# On the server


class Served:
    """A year on a real server, without the faults that come at random."""

    def __init__(self, year: Scenario, server: ReplayHandle) -> None:
        self.year = year
        self.server = server
        # One for all: to make a client costs more than to ask.
        self.client = httpx.Client(base_url=server.url, params=EVERYTHING, timeout=10)
        self.clock: datetime | None = None

    def get(self, symbol: str, now: datetime) -> httpx.Response:
        """The answer at `now`."""
        if self.clock != now:
            self.server.set_clock(now)
            self.clock = now
        return self.client.get(f"/v8/finance/chart/{symbol}")

    def ask(self, symbol: str, now: datetime) -> pl.DataFrame:
        """What was traded, as the answer at `now` tells it."""
        response = self.get(symbol, now)
        answer = read_chart(
            response.status_code,
            response.content,
            symbol=symbol,
            zone=ZONES[exchange_of(self.year, symbol)],
        )
        assert answer.outcome is Outcome.OK, (symbol, now, answer.reason)
        return as_traded(answer.bars, answer.splits, answer.dividends).drop("scale")

    def expect(self, symbol: str, now: datetime) -> pl.DataFrame:
        """The truth with what is wrong at `now`; `now` is an evening, and no exchange is open."""
        year, missing = self.year, self.year.missing_session
        rows = year.history.frame.filter(pl.col("symbol") == symbol, pl.col("date") <= now.date())
        if symbol in missing.symbols and now < missing.told_at:
            rows = rows.filter(pl.col("date") != missing.date)
        for p in year.planted:
            if p.symbol == symbol and now < p.told_at:
                is_it = pl.col("date") == p.date
                wrong = pl.lit(p.old, dtype=rows.schema[p.field])
                rows = rows.with_columns(pl.when(is_it).then(wrong).otherwise(p.field).alias(p.field))
        return rows.drop("symbol")


@pytest.fixture(scope="module", params=[1, 2])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    year = scenario_of(request.param)
    path: Path = tmp_path_factory.mktemp("year") / "history.csv"
    year.write_history(path)
    certain: list[dict[str, Any]] = [fault for fault in year.faults if "rate" not in fault]
    config = ReplayConfig(history_files=[(path, "as_traded")], faults=certain, now=evening(LAST))
    with start(config) as server:
        served = Served(year, server)
        with served.client:
            yield served


def evening(day: date) -> datetime:
    """Both exchanges have closed on `day`, and Sydney has not opened on the next."""
    return datetime.combine(day, time(22, 30), UTC)


def evening_before(year: Scenario, symbol: str, moment: datetime) -> datetime:
    """The last evening of a session before news at `moment`, so the last daily run that does not know it."""
    return max(evening(day) for day in calendar_of(year, symbol) if evening(day) < moment)


def test_at_the_end_of_the_year_all_is_true(served: Served) -> None:
    year = served.year
    told = []
    for symbol in year.history.symbols:
        rows = served.ask(symbol, evening(LAST))
        told.append(rows.select(pl.lit(symbol).alias("symbol"), pl.all()).filter(pl.col("date") >= FIRST))
    assert_frame_equal(pl.concat(told), truth(year), check_exact=True)
    catalog = {row["symbol"]: (row["listed_on"], row["delisted_on"]) for row in served.server.catalog()}
    assert {s: last for s, (_, last) in catalog.items() if last} == {
        symbol: last.isoformat() for symbol, last in year.delistings.items()
    }
    assert {s: first for s, (first, _) in catalog.items() if first > LEAD_IN.isoformat()} == {
        symbol: first.isoformat() for symbol, first in year.listings.items()
    }


def test_every_correction_is_served_wrong_and_then_right(served: Served) -> None:
    year = served.year
    for p in corrections(year):
        # On its own evening, and on the last one before the correction that has no rate limit.
        last = evening_before(year, p.symbol, p.told_at)
        for now in {evening(p.date), last if not in_rate_limits(year, last.date()) else evening(p.date)}:
            rows = served.ask(p.symbol, now)
            assert rows.row(by_predicate=pl.col("date") == p.date, named=True)[p.field] == p.old
        if not in_rate_limits(year, p.told_at.date()):
            rows = served.ask(p.symbol, p.told_at)
            assert rows.row(by_predicate=pl.col("date") == p.date, named=True)[p.field] == p.new


def test_on_its_turning_points_the_server_tells_the_truth_but_for_what_is_planted(served: Served) -> None:
    year = served.year
    missing = year.missing_session
    # The first and the last evening of each piece of late news, and the first after it is told.
    news = [(symbol, missing.date, missing.told_at) for symbol in missing.symbols[:1]]
    news += [(s.symbol, s.date, s.told_at) for s in year.splits if s.told_at is not None]
    for subject, day, told_at in news:
        for now in (evening(day), evening_before(year, subject, told_at)):
            for symbol in year.history.symbols if not in_rate_limits(year, now.date()) else ():
                if year.listings.get(symbol, LEAD_IN) <= now.date():
                    assert_frame_equal(served.ask(symbol, now), served.expect(symbol, now), check_exact=True)
        after = evening((told_at + timedelta(hours=1)).date())
        if not in_rate_limits(year, after.date()):
            assert_frame_equal(served.ask(subject, after), served.expect(subject, after), check_exact=True)


def test_for_a_week_nothing_is_answered(served: Served) -> None:
    week = served.year.rate_limits

    second = timedelta(seconds=1)
    moments = (week.since - second, week.since, week.until - second, week.until)
    symbol = next(s for s in served.year.history.symbols if s not in served.year.listings)
    assert [served.get(symbol, now).status_code for now in moments] == [200, 429, 429, 200]


def test_lies_change_nothing_but_what_is_told() -> None:
    honest, lying = make_scenario(3), make_scenario(3, lies=True)
    assert lying.history.frame.equals(honest.history.frame)
    assert lying.faults[: len(honest.faults)] == honest.faults
    assert len(lying.lies) > 24
    in_force = {(p.symbol, p.date, p.told_at.date()) for p in lying.planted}
    for lie in lying.lies:
        market = lie.symbol.market
        first, last = market.day(lie.at), market.day(lie.at + lie.evenings)
        assert not any(name == lie.symbol.name and a <= last and first <= b for name, a, b in in_force)
    for fault in lying.faults:
        Fault.from_dict(fault)
