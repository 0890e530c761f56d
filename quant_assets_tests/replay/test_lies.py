"""Well-formed answers that are wrong inside: each fault changes what it says, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.replay.answers import ChartAnswers
from quant_assets.replay.fault_book import FaultBook
from quant_assets.replay.faults import Fault
from quant_assets.replay.generator import generate
from quant_assets.replay.history import History
from quant_assets.replay.kinds import KINDS, LIES, listing
from quant_assets.replay.protocol import ChartQuery
from quant_assets.replay.sampledata import sampledata
from quant_assets.replay.world import World, parse_moment
from quant_assets_tests.replay.support import FOREVER, dates_of

# Apple split 2:1 on 2005-02-28 and paid 2.65 on 2012-08-09, 2012-11-07 and 2013-02-07.
SPLIT = "2005-02-28"
PAID = ("2012-08-09", "2012-11-07", "2013-02-07")
NOW = "2013-03-01T23:00:00Z"
PRICES = ("open", "high", "low", "close")
QUERY = ChartQuery(0, FOREVER, None, "1d", frozenset({"div", "split", "capitalGains"}))


@cache
def recorded() -> History:
    return sampledata()


@dataclass
class Answer:
    """A 200 answer, by what it says: bars by field, events by the day they are stamped on, metadata."""

    raw: dict[str, Any]

    def __post_init__(self) -> None:
        quote = self.raw["indicators"]["quote"][0]
        adjclose = self.raw["indicators"]["adjclose"][0]["adjclose"]
        self.parts: dict[str, Any] = {
            "timestamp": self.raw["timestamp"],
            **{name: np.array(quote[name], dtype=float) for name in (*PRICES, "volume")},
            "adjclose": np.array(adjclose, dtype=float),
            "dividends": self._events("dividends"),
            "gains": self._events("capitalGains"),
            "splits": self._events("splits"),
            "meta": self.raw["meta"],
        }
        self.dates = dates_of(self.raw)

    def _events(self, kind: str) -> list[tuple[date, Any]]:
        events = self.raw.get("events", {}).get(kind, {}).values()
        days = dates_of({**self.raw, "timestamp": [event["date"] for event in events]})
        return [
            (day, event.get("amount", event.get("splitRatio")))
            for day, event in zip(days, events, strict=True)
        ]

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["parts"][name]

    def at(self, day: str) -> int:
        return self.dates.index(date.fromisoformat(day))

    def changed(self, good: Answer) -> set[str]:
        """The parts that are not as in `good`."""
        return {name for name, value in self.parts.items() if not np.array_equal(value, good.parts[name])}

    def adjusted_for(self, dividends: list[tuple[date, float]]) -> np.ndarray:
        """The adjusted close by its formula: close x product over later ex-dates of 1 - D / C_prev."""
        out = self.close.copy()
        sums: Counter[date] = Counter()
        for day, amount in dividends:
            sums[day] += amount
        for day, amount in sums.items():
            later = np.searchsorted(np.array(self.dates, dtype="datetime64[D]"), np.datetime64(day, "D"))
            if later:
                out[:later] *= 1 - amount / self.close[later - 1]
        return out


def ask(
    *faults: dict[str, Any],
    symbol: str = "AAPL",
    now: str = NOW,
    query: ChartQuery = QUERY,
    history: History | None = None,
) -> Answer:
    book = FaultBook(Fault.from_dict(fault) for fault in faults)
    world = World(history or recorded(), parse_moment(now))
    response = ChartAnswers(world, book, Counter(), Counter()).data(symbol, query)
    assert response.status_code == 200
    return Answer(orjson.loads(response.body)["chart"]["result"][0])


def day(text: str) -> date:
    return date.fromisoformat(text)


def float32(values: Any) -> np.ndarray:
    return np.asarray(values).astype(np.float32).astype(float)


ADJUSTED = pytest.mark.parametrize("adjusted", [False, True], ids=["adjclose right", "adjclose wrong"])


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "MSFT"])
def test_an_honest_adjclose_follows_the_listed_dividends(symbol: str) -> None:
    good = ask(symbol=symbol)
    assert len(good.dividends) >= 3
    np.testing.assert_allclose(good.adjclose, good.adjusted_for(good.dividends), rtol=5e-7)


def test_an_honest_adjclose_follows_all_that_real_life_pays() -> None:
    history = generate("NYSE", 20, "2019-01-02", "2024-03-01", seed=7, events="real_life")
    seen: Counter[str] = Counter()
    for symbol in history.symbols:
        good = ask(symbol=symbol, history=history, now="2024-03-01T23:00:00Z")
        np.testing.assert_allclose(
            good.adjclose, good.adjusted_for([*good.dividends, *good.gains]), rtol=5e-7
        )
        seen.update(dividends=len(good.dividends), gains=len(good.gains), splits=len(good.splits))
    assert min(seen.values()) >= 4


def test_honest_metadata_is_of_the_newest_bars_split_adjusted() -> None:
    # After the 2:1 of February 2005 the year before it is told on the new basis.
    good = ask(now="2005-03-02T22:00:00Z")
    year = np.array([d > good.dates[-1] - timedelta(days=365) for d in good.dates])
    assert good.meta["regularMarketPrice"] == good.close[-1]
    assert good.meta["regularMarketTime"] == good.timestamp[-1] + 6.5 * 3600
    assert good.meta["fiftyTwoWeekHigh"] == good.high[year].max() < 46
    assert good.meta["fiftyTwoWeekLow"] == good.low[year].min()
    assert good.meta["firstTradeDate"] == good.timestamp[0]


def test_on_a_half_day_the_price_is_not_of_a_time_to_come() -> None:
    # The day after Thanksgiving 2012 ended at 13:00 in New York.
    answer = ask(now="2012-11-23T18:30:00Z")
    assert answer.dates[-1] == date(2012, 11, 23)
    assert answer.meta["regularMarketTime"] == int(parse_moment("2012-11-23T18:30:00Z").timestamp())


def test_a_split_before_its_ex_date() -> None:
    fault = {"kind": "split_before_ex_date", "symbol": "AAPL", "date": "2013-03-04", "ratio": 4}
    good, bad = ask(), ask(fault)
    assert bad.changed(good) == {"splits"}
    assert bad.splits == [*good.splits, (day("2013-03-04"), "4:1")]
    # Told whatever end is asked for, as long as the answer reaches the last bar.
    until_now = ChartQuery(0, int(parse_moment(NOW).timestamp()), None, "1d", QUERY.events)
    assert ask(fault, query=until_now).splits[-1] == (day("2013-03-04"), "4:1")
    before = ChartQuery(0, int(parse_moment("2013-02-20T23:00:00Z").timestamp()), None, "1d", QUERY.events)
    assert ask(fault, query=before).changed(ask(query=before)) == set()
    assert ask(fault, query=ChartQuery(0, FOREVER, None, "1d", frozenset({"div"}))).splits == []
    # From the ex-date's bar on there is nothing ahead.
    soon, day_before = {**fault, "date": "2013-03-01"}, "2013-02-28T23:00:00Z"
    assert ask(soon, now=day_before).splits[-1] == (day("2013-03-01"), "4:1")
    assert ask(soon).changed(good) == set()


def test_a_split_that_is_announced_and_then_comes() -> None:
    fault = {"kind": "split_before_ex_date", "symbol": "AAPL", "date": SPLIT, "ratio": 2}
    eve, then = "2005-02-25T22:00:00Z", "2005-02-28T22:00:00Z"
    assert ask(fault, now=eve).splits == [*ask(now=eve).splits, (day(SPLIT), "2:1")]
    assert ask(fault, now=eve).close[-1] == float32(88.99)
    assert ask(fault, now=then).changed(ask(now=then)) == set()


@pytest.mark.parametrize(
    ("sessions", "again"),
    [(1, "2005-03-01"), (0, SPLIT), (-1, "2005-02-25"), (-2, "2005-02-24"), (3, "2005-03-03")],
)
def test_a_split_repeated(sessions: int, again: str) -> None:
    good = ask()
    bad = ask({"kind": "split_repeated", "symbol": "AAPL", "date": SPLIT, "sessions": sessions})
    assert bad.changed(good) == {"splits"}
    assert sorted(bad.splits) == sorted([*good.splits, (day(again), "2:1")])
    assert [split["date"] for split in bad.raw["events"]["splits"].values()] == [
        int(stamp) for stamp in bad.raw["events"]["splits"]
    ]


def test_a_repeated_split_is_told_no_earlier_than_either_date() -> None:
    later = {"kind": "split_repeated", "symbol": "AAPL", "date": SPLIT}
    assert ask(later, now="2005-02-28T22:00:00Z").changed(ask(now="2005-02-28T22:00:00Z")) == set()
    assert len(ask(later, now="2005-03-01T22:00:00Z").splits) == 3
    earlier = {**later, "sessions": -2}
    assert ask(earlier, now="2005-02-25T22:00:00Z").changed(ask(now="2005-02-25T22:00:00Z")) == set()
    assert len(ask(earlier, now="2005-02-28T22:00:00Z").splits) == 3


@pytest.mark.parametrize("volume", [True, False])
def test_rescaled_bars(volume: bool) -> None:
    good = ask()
    bad = ask(
        {"kind": "rescaled_bars", "symbol": "AAPL", "first": "2005-02-18", "last": SPLIT, "factor": 0.5,
         "volume": volume}
    )  # fmt: skip
    assert bad.changed(good) == {*PRICES, "adjclose", *(["volume"] if volume else [])}
    factor = np.ones(len(good.dates))
    factor[good.at("2005-02-18") : good.at(SPLIT) + 1] = 0.5
    for name in PRICES:
        assert np.array_equal(bad.parts[name], float32(good.parts[name] * factor))
    np.testing.assert_allclose(bad.adjclose, good.adjclose * factor, rtol=1e-12)
    if volume:
        assert np.array_equal(bad.volume, np.rint(good.volume / factor))


@pytest.mark.parametrize("bounds", [{}, {"first": "2000-01-01"}, {"last": "2013-03-01"}])
def test_a_whole_rescaled_answer_takes_its_metadata_along(bounds: dict[str, str]) -> None:
    good, bad = ask(), ask({"kind": "rescaled_bars", "symbol": "AAPL", "factor": 1.1, **bounds})
    assert bad.changed(good) == {*PRICES, "adjclose", "volume", "meta"}
    assert bad.meta["regularMarketPrice"] == bad.close[-1]
    changed = {name for name, value in good.meta.items() if bad.meta[name] != value}
    assert changed == {
        "regularMarketPrice", "regularMarketDayHigh", "regularMarketDayLow", "regularMarketVolume",
        "fiftyTwoWeekHigh", "fiftyTwoWeekLow", "chartPreviousClose",
    }  # fmt: skip
    # Part of a history is not the whole, though the answer holds only that part.
    recent = ChartQuery(int(parse_moment("2013-02-01").timestamp()), FOREVER, None, "1d", QUERY.events)
    part = {"kind": "rescaled_bars", "symbol": "AAPL", "factor": 1.1, "first": "2013-01-02"}
    assert "meta" not in ask(part, query=recent).changed(ask(query=recent))


@pytest.mark.parametrize("name", [*PRICES, "adjclose", "volume"])
def test_field_factor(name: str) -> None:
    good = ask()
    bad = ask({"kind": "field_factor", "symbol": "AAPL", "date": PAID[0], "field": name, "factor": 100})
    assert bad.changed(good) == {name}
    at = good.at(PAID[0])
    assert np.flatnonzero(bad.parts[name] != good.parts[name]).tolist() == [at]
    assert bad.parts[name][at] == pytest.approx(good.parts[name][at] * 100, rel=1e-7)


def test_metadata_is_not_of_a_wrong_bar() -> None:
    good = ask()
    for fault in (
        {"kind": "field_factor", "date": "2013-03-01", "field": "high", "factor": 100},
        {"kind": "corrected_bar", "date": "2013-03-01", "field": "high", "value": 9999},
        {"kind": "wrong_unit", "date": "2013-03-01"},
    ):
        bad = ask({**fault, "symbol": "AAPL"})
        assert {"high"} <= bad.changed(good) <= {*PRICES, "adjclose"}
    # A whole answer in another unit has its price in it.
    assert ask({"kind": "wrong_unit", "symbol": "AAPL"}).meta["fiftyTwoWeekHigh"] == pytest.approx(
        good.meta["fiftyTwoWeekHigh"] / 100, rel=1e-6
    )


@ADJUSTED
@pytest.mark.parametrize("when", [None, PAID[1]], ids=["all", "one"])
@pytest.mark.parametrize("what", ["dividends", "splits", "all"])
def test_events_left_out(what: str, when: str | None, adjusted: bool) -> None:
    good = ask()
    bad = ask({"kind": "events_left_out", "symbol": "AAPL", "what": what, "date": when, "adjusted": adjusted})
    gone = (lambda d: True) if when is None else (lambda d: d == day(when))
    dividends = good.dividends if what == "splits" else [e for e in good.dividends if not gone(e[0])]
    splits = good.splits if what == "dividends" else [e for e in good.splits if not gone(e[0])]
    assert (bad.dividends, bad.splits) == (dividends, splits)
    assert bad.changed(good) - {"dividends", "splits"} == (
        {"adjclose"} if adjusted and what != "splits" else set()
    )
    np.testing.assert_allclose(
        bad.adjclose, good.adjusted_for(dividends if adjusted else good.dividends), rtol=5e-7
    )


@ADJUSTED
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "dividend_factor", "date": PAID[1], "factor": 100}, [2.65, 265.0, 2.65]),
        ({"kind": "dividend_factor", "date": PAID[1], "factor": 0.01}, [2.65, 0.0265, 2.65]),
        ({"kind": "phantom_dividend", "date": "2012-10-10", "amount": 3.5}, [2.65, 3.5, 2.65, 2.65]),
        ({"kind": "phantom_dividend", "date": "2012-10-13", "amount": 3.5}, [2.65, 3.5, 2.65, 2.65]),
        ({"kind": "dividend_repeated", "date": PAID[1]}, [2.65, 2.65, 2.65, 2.65]),
        ({"kind": "dividend_repeated", "date": PAID[1], "sessions": 0}, [2.65, 2.65, 2.65, 2.65]),
        ({"kind": "dividend_repeated", "date": PAID[2], "sessions": 4}, [2.65, 2.65, 2.65, 2.65]),
    ],
)  # fmt: skip
def test_wrong_dividends(fault: dict[str, Any], told: list[float], adjusted: bool) -> None:
    good, bad = ask(), ask({**fault, "symbol": "AAPL", "adjusted": adjusted})
    assert [amount for _, amount in bad.dividends] == pytest.approx(told)
    assert bad.changed(good) == {"dividends", *(["adjclose"] if adjusted else [])}
    np.testing.assert_allclose(
        bad.adjclose, good.adjusted_for(bad.dividends if adjusted else good.dividends), rtol=5e-7
    )


@pytest.mark.parametrize(("sessions", "again"), [(-1, "2012-11-06"), (0, PAID[1]), (2, "2012-11-09")])
def test_a_dividend_is_repeated_so_many_sessions_away(sessions: int, again: str) -> None:
    bad = ask({"kind": "dividend_repeated", "symbol": "AAPL", "date": PAID[1], "sessions": sessions})
    assert sorted(d for d, _ in bad.dividends) == sorted([*map(day, PAID), day(again)])


def test_an_amount_is_as_declared_and_told_on_todays_basis() -> None:
    later = {
        "kind": "phantom_dividend",
        "symbol": "AAPL",
        "date": "2012-10-10",
        "amount": 2.8,
        "adjusted": True,
    }
    bad = ask(later, now="2024-03-01T23:00:00Z")
    assert dict(bad.dividends)[day("2012-10-10")] == pytest.approx(2.8 / 28)
    np.testing.assert_allclose(bad.adjclose, bad.adjusted_for(bad.dividends), rtol=5e-7)


def test_dividend_faults_follow_one_another() -> None:
    good = ask()
    bad = ask(
        {"kind": "dividend_factor", "symbol": "AAPL", "date": PAID[0], "factor": 10},
        {"kind": "phantom_dividend", "symbol": "AAPL", "date": "2012-10-10", "amount": 5, "adjusted": True},
        {"kind": "hidden_dividend", "symbol": "AAPL", "date": PAID[2]},
    )
    assert [amount for _, amount in bad.dividends] == pytest.approx([26.5, 5, 2.65])
    followed = [good.dividends[0], (day("2012-10-10"), 5.0), good.dividends[1]]
    np.testing.assert_allclose(bad.adjclose, good.adjusted_for(followed), rtol=5e-7)


def test_a_dividend_ahead_is_not_bent_before_its_day() -> None:
    eve = "2012-11-06T22:00:00Z"
    for kind in ("dividend_factor", "dividend_repeated"):
        factor = {"factor": 2} if kind == "dividend_factor" else {}
        fault = {"kind": kind, "symbol": "AAPL", "date": PAID[1], "adjusted": True, **factor}
        assert ask(fault, now=eve).changed(ask(now=eve)) == set()


def test_a_dividend_in_another_currency() -> None:
    good = ask()
    fault = {"kind": "dividend_currency", "symbol": "AAPL", "date": PAID[1], "currency": "GBP", "factor": 0.5}
    bad = ask(fault)
    assert bad.changed(good) == {"dividends"}
    assert [amount for _, amount in bad.dividends] == [2.65, 1.325, 2.65]
    currencies = [event.get("currency") for event in bad.raw["events"]["dividends"].values()]
    assert currencies == [None, "GBP", None]
    assert [amount for _, amount in ask({**fault, "factor": None}).dividends] == [2.65] * 3


@pytest.mark.parametrize("adjusted", [True, False])
def test_gains_counted_twice(adjusted: bool) -> None:
    good = ask()
    fault = {"kind": "gains_counted_twice", "symbol": "AAPL", "date": PAID[1], "amount": 1.5}
    bad = ask(fault if adjusted else {**fault, "adjusted": False})
    assert bad.changed(good) == {"gains", *(["adjclose"] if adjusted else [])}
    assert bad.gains == [(day(PAID[1]), 1.5)]
    paid = [*good.dividends, *(bad.gains if adjusted else [])]
    np.testing.assert_allclose(bad.adjclose, good.adjusted_for(paid), rtol=5e-7)


def test_a_capital_gain_beside_the_dividend_is_adjusted_for_and_can_be_counted_twice() -> None:
    frame = recorded().frame.with_columns(
        capital_gain=pl.when(pl.col("date") == day(PAID[1]), pl.col("dividend") > 0).then(2.0).otherwise(0.0)
    )
    history = History(frame, recorded().infos.values())
    good = ask(history=history)
    assert good.dividends == [(day(PAID[0]), 2.65), (day(PAID[1]), pytest.approx(0.65)), (day(PAID[2]), 2.65)]
    assert good.gains == [(day(PAID[1]), 2.0)]
    # The same was paid in all.
    np.testing.assert_allclose(good.adjclose, ask().adjclose, rtol=1e-12)
    without = ChartQuery(0, FOREVER, None, "1d", frozenset({"div", "split"}))
    assert ask(history=history, query=without).gains == []
    fault = {"kind": "gains_counted_twice", "symbol": "AAPL", "date": PAID[1], "amount": 2.0}
    bad = ask(fault, history=history)
    assert bad.changed(good) == {"dividends", "adjclose"}
    assert bad.dividends == [(day(paid), pytest.approx(2.65)) for paid in PAID]
    for kind, more in (("hidden_dividend", {}), ("events_left_out", {"what": "dividends"})):
        assert ask({"kind": kind, "symbol": "AAPL", "date": PAID[1], **more}, history=history).gains == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [("1:0", (1.0, 0.0)), ("2:1 bonus", (2.0, None)), ("two", (None, None)), ("", (None, None))],
)
def test_an_unreadable_split(text: str, parts: tuple[float | None, float | None]) -> None:
    good = ask()
    bad = ask({"kind": "unreadable_event", "symbol": "AAPL", "date": SPLIT, "what": "split", "text": text})
    assert bad.changed(good) == {"splits"}
    assert bad.splits == [(d, text if d == day(SPLIT) else ratio) for d, ratio in good.splits]
    event = bad.raw["events"]["splits"][str(bad.timestamp[bad.at(SPLIT)])]
    assert (event["numerator"], event["denominator"]) == parts


def test_an_unreadable_dividend() -> None:
    good = ask()
    fault = {
        "kind": "unreadable_event",
        "symbol": "AAPL",
        "date": PAID[1],
        "what": "dividend",
        "text": "3.14 USD",
    }
    bad = ask(fault)
    assert bad.changed(good) == {"dividends"}
    assert [amount for _, amount in bad.dividends] == [2.65, "3.14 USD", 2.65]


@pytest.mark.parametrize(("when", "part"), [(SPLIT, "splits"), (PAID[1], "dividends")])
def test_an_action_on_a_closed_day(when: str, part: str) -> None:
    good = ask()
    to = day(when) - timedelta(days=2)
    bad = ask({"kind": "action_on_closed_day", "symbol": "AAPL", "date": when, "to": str(to)})
    assert bad.changed(good) == {part}
    assert bad.parts[part] == [(to if d == day(when) else d, value) for d, value in good.parts[part]]


@pytest.mark.parametrize("hour", [23, 0, 2])
def test_bars_and_events_stamped_on_the_day_before(hour: int) -> None:
    # The session after the night in which New York's clocks go forward, and that of a dividend.
    good = ask()
    first, last = "2012-11-05", "2013-03-01"
    bad = ask({"kind": "stamped_before", "symbol": "AAPL", "first": first, "last": last, "hour": hour})
    assert bad.changed(good) == {"timestamp", "dividends"}
    a = good.at(first)
    assert bad.timestamp[:a] == good.timestamp[:a]
    zone = ZoneInfo("America/New_York")
    moments = [datetime.fromtimestamp(stamp, zone) for stamp in bad.timestamp[a:]]
    assert [moment.date() for moment in moments] == [d - timedelta(days=1) for d in good.dates[a:]]
    assert {moment.hour for moment in moments} == {hour}
    assert {(moment.minute, moment.second) for moment in moments} == {(0, 0)}
    stamps = [
        datetime.fromtimestamp(event["date"], zone) for event in bad.raw["events"]["dividends"].values()
    ]
    assert [(stamp.date(), stamp.hour) for stamp in stamps[1:]] == [
        (day(paid) - timedelta(days=1), hour) for paid in PAID[1:]
    ]


def test_an_hour_that_the_clock_leaves_out_is_still_on_the_day_before() -> None:
    # 02:00 on 2009-03-08 was no time in New York.
    bad = ask(
        {"kind": "stamped_before", "symbol": "AAPL", "first": "2009-03-09", "last": "2009-03-09", "hour": 2}
    )
    good = ask()
    (moved,) = [stamp for stamp in bad.timestamp if stamp not in good.timestamp]
    assert datetime.fromtimestamp(moved, ZoneInfo("America/New_York")).date() == date(2009, 3, 8)


@pytest.mark.parametrize("differs", [False, True])
def test_a_live_row_beside_the_last_bar(differs: bool) -> None:
    good = ask()
    bad = ask({"kind": "live_row_beside_last", "symbol": "AAPL", "differs": differs})
    assert bad.timestamp == [*good.timestamp, good.meta["regularMarketTime"]]
    assert bad.meta == good.meta
    for name in (*PRICES, "adjclose", "volume"):
        assert np.array_equal(bad.parts[name][:-1], good.parts[name])
        assert (bad.parts[name][-1] == good.parts[name][-1]) == (not differs)
    # An answer of the past has no live row.
    past = ChartQuery(0, int(parse_moment("2012-01-01").timestamp()), None, "1d", QUERY.events)
    assert ask({"kind": "live_row_beside_last"}, query=past).changed(ask(query=past)) == set()


def test_a_live_row_is_bent_with_its_bar_and_stays_where_it_is() -> None:
    bad = ask(
        {"kind": "stamped_before", "symbol": "AAPL"},
        {"kind": "rescaled_bars", "symbol": "AAPL", "first": "2013-03-01", "factor": 2},
        {"kind": "live_row_beside_last", "symbol": "AAPL"},
    )
    good = ask()
    assert bad.close[-2:].tolist() == [good.close[-1] * 2] * 2
    assert bad.timestamp[-1] == good.meta["regularMarketTime"]
    assert bad.timestamp[-2] < good.timestamp[-1]


def test_what_is_wrong_with_one_bar_is_not_wrong_with_the_live_row() -> None:
    last = {"symbol": "AAPL", "date": "2013-03-01"}
    faults = [
        {"kind": "field_factor", **last, "field": "high", "factor": 100},
        {"kind": "live_row_beside_last", "symbol": "AAPL"},
    ]
    good = ask()
    for order in (1, -1):
        bad = ask(*faults[::order])
        assert bad.high[-2:].tolist() == [float32(good.high[-1] * 100), good.high[-1]]
    # Nor is it gone with its bar.
    alone = ask({"kind": "missing_session", **last}, faults[1])
    assert alone.timestamp == [*good.timestamp[:-1], good.meta["regularMarketTime"]]


def test_no_currency() -> None:
    good, bad = ask(), ask({"kind": "no_currency", "symbol": "AAPL"})
    assert bad.changed(good) == {"meta"}
    assert bad.meta == {**good.meta, "currency": None}


NOWHERE = {
    "dividend_currency": {"date": "2012-01-05", "currency": "GBP"},
    "gains_counted_twice": {"date": "2012-01-05", "amount": 1},
    "unreadable_event": {"date": "2012-01-05", "what": "split", "text": "1:0"},
    "action_on_closed_day": {"date": "2012-01-05", "to": "2012-01-02"},
    "stamped_before": {"first": "1990-01-01", "last": "1999-01-01"},
    "split_repeated": {"date": "2012-01-05"},
    "rescaled_bars": {"first": "1990-01-01", "last": "1999-01-01", "factor": 2},
    "field_factor": {"date": "2012-01-07", "field": "high", "factor": 2},
    "events_left_out": {"date": "2012-01-05"},
    "dividend_factor": {"date": "2012-01-05", "factor": 2},
    "dividend_repeated": {"date": "2012-01-05"},
    "split_before_ex_date": {"date": "2012-01-05", "ratio": 2},
    "phantom_dividend": {"date": "2014-01-06", "amount": 1},
}


@pytest.mark.parametrize("kind", sorted(NOWHERE))
def test_where_there_is_nothing_to_bend_nothing_changes(kind: str) -> None:
    assert ask({"kind": kind, **NOWHERE[kind]}).changed(ask()) == set()


def test_every_lie_is_tested() -> None:
    assert {*NOWHERE, "live_row_beside_last", "no_currency"} == {str(kind) for kind in LIES}


def test_several_symbols() -> None:
    fault = {"kind": "rescaled_bars", "symbols": ["aapl", "MSFT"], "factor": 2}
    assert [bool(ask(fault, symbol=s).changed(ask(symbol=s))) for s in ("AAPL", "IBM", "MSFT")] == [
        True, False, True,
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.dates(date(2004, 1, 1), date(2013, 1, 1)), st.integers(0, 600))
def test_rescaled_bars_touch_no_other_bar(factor: float, first: date, length: int) -> None:
    last = first + timedelta(days=length)
    good = ask()
    bad = ask({"kind": "rescaled_bars", "first": str(first), "last": str(last), "factor": factor})
    inside = np.array([first <= d <= last for d in good.dates])
    for name in (*PRICES, "adjclose", "volume"):
        assert np.array_equal(bad.parts[name][~inside], good.parts[name][~inside])
    assert np.array_equal(bad.close[inside], float32(good.close[inside] * factor))
    assert bad.meta == good.meta


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"kind": "rescaled_bars"}, "needs factor"),
        ({"kind": "rescaled_bars", "factor": 0}, "factor must be above 0, not 0"),
        ({"kind": "rescaled_bars", "factor": "2"}, "factor must be a number, not '2'"),
        ({"kind": "rescaled_bars", "factor": 2, "volume": 1}, "volume must be true or false, not 1"),
        (
            {"kind": "rescaled_bars", "factor": 2, "first": "2013-01-02", "last": "2013-01-01"},
            "first must not be",
        ),
        ({"kind": "rescaled_bars", "factor": 2, "first": "monday"}, "first: .*write a date like 2013-03-01"),
        (
            {"kind": "rescaled_bars", "factor": 2, "date": "2013-01-02"},
            "takes no date: leave it out; its own",
        ),
        ({"kind": "consent_page", "date": "2013-01-02"}, "takes no date: leave it out; it has no fields"),
        ({"kind": "split_before_ex_date", "date": "2013-01-02"}, "needs date and ratio"),
        (
            {"kind": "split_repeated", "date": "2013-01-02", "sessions": 0.5},
            "sessions must be a whole number",
        ),
        (
            {"kind": "field_factor", "date": "2013-01-02", "field": "mood", "factor": 2},
            "field must be one of open",
        ),
        (
            {"kind": "events_left_out", "what": "bars"},
            "what must be one of dividends, splits, all, not 'bars'",
        ),
        ({"kind": "dividend_factor", "date": "2013-01-02"}, "needs date and factor"),
        ({"kind": "phantom_dividend", "date": "2013-01-02", "amount": -1}, "amount must be above 0"),
        ({"kind": "stamped_before", "hour": 24}, "hour must be from 0 to 23, not 24"),
        ({"kind": "too_many_requests_text", "status": 500}, "status must be 200 or 999, not 500"),
        (
            {"kind": "action_on_closed_day", "date": "2013-01-02", "to": "2013-01-02"},
            "to must be a day before date",
        ),
        ({"kind": "unreadable_event", "date": "2013-01-02", "what": "split"}, "needs date and what and text"),
        (
            {"kind": "unreadable_event", "date": "2013-01-02", "what": "all", "text": ""},
            "what must be one of split, d",
        ),
        (
            {"kind": "unreadable_event", "date": "2013-01-02", "what": "split", "text": 3},
            "text must be a text",
        ),
        ({"kind": "slow", "symbols": "AAPL"}, 'symbols must be a list like \\["AAPL", "IBM"\\]'),
        ({"kind": "slow", "symbols": ["AAPL"], "symbol": "IBM"}, "symbol and symbols are both given"),
    ],
)
def test_senseless_parameters_are_refused(raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Exception, match=f"fault {raw['kind']}: {complaint}"):
        Fault.from_dict(raw)


def test_every_kind_is_listed_and_documented_with_its_fields() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "replay.md").read_text("utf-8")
    listed = dict(line.split(maxsplit=1) for line in listing().splitlines())
    for kind, known in KINDS.items():
        (row,) = [part for part in documented.split("\n\n") if f"`{kind}`" in part][:1]
        (line,) = [line for line in row.splitlines() if f"`{kind}`" in line][:1]
        for name in known.takes:
            assert name in listed[kind], (kind, name)
            assert f"`{name}`" in (line if known.state else row), (kind, name)
