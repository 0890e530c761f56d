"""States of the world as they go over the wire, and faults that come and go with the server's clock."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from quant_assets.replay.launch import ReplayHandle
from quant_assets_tests.replay.support import dates_of, epoch, get_chart, result, unadjust

YEAR_2005 = epoch("2005-01-03T00:00:00-05:00")
# Apple split 2:1 on 2005-02-28 and paid 2.65 on 2012-08-09.
SPLIT = "2005-02-28"
DIVIDEND = "2012-08-09"


def ask(replay: ReplayHandle, symbol: str = "AAPL", start: int = YEAR_2005) -> dict[str, Any]:
    return result(get_chart(replay.url, symbol, start))


def quote(answer: dict[str, Any]) -> dict[str, list[Any]]:
    return answer["indicators"]["quote"][0]


def on(answer: dict[str, Any], day: str) -> int:
    return dates_of(answer).index(date.fromisoformat(day))


def float32(values: list[float]) -> list[float]:
    return np.array(values).astype(np.float32).astype(np.float64).tolist()


def test_a_hidden_split_appears_late_event_and_rescaling_together(replay: ReplayHandle) -> None:
    replay.add_faults(
        {"kind": "hidden_split", "symbol": "AAPL", "date": SPLIT, "until": "2005-03-04T15:00:00Z"}
    )
    replay.set_clock("2005-03-03T22:00:00Z")
    for _ in range(2):  # it stays
        hidden = ask(replay)
    assert "events" not in hidden
    at = on(hidden, SPLIT)
    # As they traded: 88.99 before, 44.86 after; served as if nothing had happened.
    assert quote(hidden)["close"][at - 1 : at + 1] == float32([88.99, 44.86])
    replay.set_clock("2005-03-04T14:59:59Z")
    assert ask(replay)["indicators"] == hidden["indicators"]
    replay.set_clock("2005-03-04T15:00:00Z")
    told = ask(replay)
    assert [split["splitRatio"] for split in told["events"]["splits"].values()] == ["2:1"]
    assert quote(told)["close"][at - 1 : at + 1] == float32([88.99 / 2, 44.86])
    assert quote(told)["volume"][:at] == [volume * 2 for volume in quote(hidden)["volume"][:at]]
    # What was traded is the same by both.
    assert unadjust(told)["close"] == unadjust(hidden)["close"]


def test_only_the_split_of_the_ex_date_is_hidden(replay: ReplayHandle) -> None:
    good = ask(replay, start=0)
    replay.add_faults({"kind": "hidden_split", "symbol": "AAPL", "date": SPLIT})
    hidden = ask(replay, start=0)
    assert set(good["events"]["splits"]) - set(hidden["events"]["splits"]) == {
        str(epoch(f"{SPLIT}T14:30:00Z"))
    }
    assert set(hidden["events"]["splits"]) == {
        str(epoch(f"{day}T13:30:00Z")) for day in ("2000-06-21", "2014-06-09", "2020-08-31")
    }
    at = on(good, SPLIT)
    assert quote(hidden)["close"][:at] == pytest.approx([c * 2 for c in quote(good)["close"][:at]], rel=1e-7)
    assert quote(hidden)["close"][at:] == quote(good)["close"][at:]


def test_a_hidden_dividend_is_told_late(replay: ReplayHandle) -> None:
    replay.set_clock("2012-08-14T22:00:00Z")
    good = ask(replay)
    replay.add_faults({"kind": "hidden_dividend", "symbol": "AAPL", "date": DIVIDEND, "until": "2012-08-15"})
    hidden = ask(replay)
    assert [event["amount"] for event in good["events"]["dividends"].values()] == [2.65]
    assert "dividends" not in hidden["events"]
    assert hidden["events"]["splits"] == good["events"]["splits"]
    assert quote(hidden) == quote(good)
    # Nor does the adjusted close know of it.
    assert hidden["indicators"]["adjclose"][0]["adjclose"] == pytest.approx(quote(good)["close"], rel=1e-7)
    replay.set_clock("2012-08-15T00:00:00Z")
    assert ask(replay)["events"] == good["events"]


def test_unscaled_history_is_rescaled_by_a_split_it_does_not_tell(replay: ReplayHandle) -> None:
    replay.set_clock("2005-03-03T22:00:00Z")
    good = ask(replay)
    replay.add_faults({"kind": "unscaled_history", "symbol": "AAPL", "date": SPLIT, "until": "2005-03-04"})
    half_done = ask(replay)
    assert "splits" in good["events"]
    assert "events" not in half_done
    assert half_done["indicators"] == good["indicators"]
    replay.set_clock("2005-03-04")
    assert ask(replay)["events"] == good["events"]


def test_wrong_unit_of_every_bar(replay: ReplayHandle) -> None:
    good = ask(replay)
    replay.add_faults({"kind": "wrong_unit", "symbol": "AAPL", "currency": "GBP"})
    bad = ask(replay)
    for name in ("open", "high", "low", "close"):
        assert quote(bad)[name] == float32([value / 100 for value in quote(good)[name]])
    assert quote(bad)["volume"] == quote(good)["volume"]
    assert bad["indicators"]["adjclose"][0]["adjclose"] == pytest.approx(
        [value / 100 for value in good["indicators"]["adjclose"][0]["adjclose"]], rel=1e-12
    )
    assert (good["meta"]["currency"], bad["meta"]["currency"]) == ("USD", "GBP")
    assert bad["events"] == good["events"]


def test_wrong_unit_of_one_bar_leaves_the_currency(replay: ReplayHandle) -> None:
    good = ask(replay)
    replay.add_faults({"kind": "wrong_unit", "symbol": "AAPL", "date": DIVIDEND})
    bad = ask(replay)
    at = on(good, DIVIDEND)
    closes = quote(good)["close"]
    assert quote(bad)["close"] == [*closes[:at], *float32([closes[at] / 100]), *closes[at + 1 :]]
    assert bad["meta"] == good["meta"]


def test_wrong_unit_of_a_live_bar_too(replay: ReplayHandle) -> None:
    replay.set_clock("2012-11-07T17:00:00Z")
    replay.add_faults({"kind": "wrong_unit", "symbol": "AAPL"}, {"kind": "live_partial_bar"})
    live = ask(replay)
    assert live["timestamp"][-1] == epoch("2012-11-07T17:00:00Z")
    closes = quote(live)["close"]
    assert closes[-2] * 0.9 < closes[-1] < closes[-2] * 1.1


def test_wrong_currency(replay: ReplayHandle) -> None:
    good = ask(replay)
    replay.add_faults({"kind": "wrong_currency", "symbol": "AAPL", "currency": "CAD"})
    bad = ask(replay)
    assert bad["meta"] == {**good["meta"], "currency": "CAD"}
    assert {**bad, "meta": None} == {**good, "meta": None}


def test_other_history_under_the_asked_symbols_own_name(replay: ReplayHandle) -> None:
    good, other = ask(replay), ask(replay, "IBM")
    replay.add_faults(
        {"kind": "other_history", "symbol": "AAPL", "other": "ibm"},
        # It is corrected where it is shown, and only there.
        {"kind": "corrected_bar", "symbol": "AAPL", "date": DIVIDEND, "field": "volume", "value": 100},
    )
    bad = ask(replay)
    assert bad["timestamp"] == other["timestamp"]
    assert quote(bad)["close"] == quote(other)["close"]
    assert quote(bad)["volume"][on(bad, DIVIDEND)] == 100
    assert bad["events"] == other["events"]
    for name in ("symbol", "longName", "currency", "firstTradeDate", "exchangeName"):
        assert bad["meta"][name] == good["meta"][name]
    assert ask(replay, "IBM") == other


def test_another_exchanges_history_is_stamped_as_the_asked_symbols(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "other_history", "symbol": "AAA.AX", "other": "AAPL"})
    bad = ask(replay, "AAA.AX", start=0)
    assert bad["meta"]["exchangeTimezoneName"] == "Australia/Sydney"
    assert dates_of(bad) == dates_of(ask(replay, "AAPL", start=0))


def test_a_history_of_nobody_is_not_found(replay: ReplayHandle) -> None:
    replay.add_faults({"kind": "other_history", "symbol": "AAPL", "other": "GONE"})
    assert get_chart(replay.url, "AAPL").status_code == 404


def test_extra_bar_on_a_closed_day_is_the_bar_before(replay: ReplayHandle) -> None:
    replay.set_clock("2005-03-09T22:00:00Z")
    good = ask(replay)
    replay.add_faults({"kind": "extra_bar", "symbol": "AAPL", "date": "2005-03-05"})  # a Saturday
    bad = ask(replay)
    at = on(bad, "2005-03-05")
    assert bad["timestamp"][:at] + bad["timestamp"][at + 1 :] == good["timestamp"]
    for name, values in quote(bad).items():
        assert values[at] == values[at - 1]
        assert values[:at] + values[at + 1 :] == quote(good)[name]
    replay.set_clock("2005-03-04T22:00:00Z")
    assert date(2005, 3, 5) not in dates_of(ask(replay))  # not before its day is over


def test_extra_bar_changes_nothing_where_there_is_a_bar_or_none_before(replay: ReplayHandle) -> None:
    good = ask(replay, start=0)
    replay.add_faults(
        {"kind": "extra_bar", "symbol": "AAPL", "date": SPLIT},
        {"kind": "extra_bar", "symbol": "AAPL", "date": "1999-01-01"},
    )
    assert ask(replay, start=0) == good


def test_corrected_bar_of_several_fields(replay: ReplayHandle) -> None:
    good = ask(replay)
    wrong = {"open": 600.0, "high": 610.5, "low": 599.5, "close": 605.25, "volume": 4200}
    replay.set_clock("2013-03-01T22:00:00Z")
    replay.add_faults({"kind": "corrected_bar", "symbol": "AAPL", "date": DIVIDEND, "values": wrong})
    bad = ask(replay)
    at = on(bad, DIVIDEND)
    assert {name: values[at] for name, values in quote(bad).items()} == wrong
    replay.clear_faults()
    replay.set_clock("2024-03-01T23:00:00Z")
    assert ask(replay) == good


def test_states_combine_with_each_other_and_with_one_failure(replay: ReplayHandle) -> None:
    replay.set_clock("2005-03-09T22:00:00Z")
    good = ask(replay)
    replay.add_faults(
        {"kind": "wrong_unit", "symbol": "AAPL", "date": "2005-03-02"},
        {"kind": "hidden_split", "symbol": "AAPL", "date": SPLIT},
        {"kind": "extra_bar", "symbol": "AAPL", "date": "2005-03-05"},
        {"kind": "wrong_currency", "symbol": "AAPL", "currency": "CAD"},
        {"kind": "null_bar", "date": "2005-03-03", "times": None},
        {"kind": "missing_session", "date": "2005-03-01", "times": None},
        {"kind": "server_error_500_json"},
    )
    assert get_chart(replay.url, "AAPL", YEAR_2005).status_code == 500
    bad = ask(replay)
    assert "events" not in bad
    assert bad["meta"]["currency"] == "CAD"
    lost, won = (set(dates_of(a)) - set(dates_of(b)) for a, b in ((good, bad), (bad, good)))
    assert (lost, won) == ({date(2005, 3, 1)}, {date(2005, 3, 5)})
    shown = dict(zip(dates_of(bad), quote(bad)["close"], strict=True))
    before = dict(zip(dates_of(good), quote(good)["close"], strict=True))
    # The null is the right day's, though a bar before it is gone.
    assert [day for day, close in shown.items() if close is None] == [date(2005, 3, 3)]
    assert shown[date(2005, 3, 2)] == float32([before[date(2005, 3, 2)] / 100])[0]
    assert shown[date(2005, 2, 25)] == float32([88.99])[0]


def test_a_fault_is_in_force_from_since_until_until(replay: ReplayHandle) -> None:
    replay.set_clock("2012-11-04T23:59:59Z")
    replay.add_faults(
        {
            "kind": "server_error_500_html",
            "times": None,
            "since": "2012-11-05",
            "until": "2012-11-05T10:00+02:00",
        }
    )
    statuses = []
    for clock in (
        "2012-11-04T23:59:59Z",
        "2012-11-05T00:00:00Z",
        "2012-11-05T07:59:59Z",
        "2012-11-05T08:00:00Z",
        "2012-11-05T03:00:00Z",  # the clock may go back
    ):
        replay.set_clock(clock)
        statuses.append(get_chart(replay.url, "AAPL", YEAR_2005).status_code)
    assert statuses == [200, 500, 500, 200, 500]
    assert replay.stats()["faults"] == {"server_error_500_html": 3}


def test_requests_out_of_force_are_not_counted(replay: ReplayHandle) -> None:
    replay.set_clock("2012-11-04T12:00:00Z")
    replay.add_faults({"kind": "empty_body", "times": 2, "after": 1, "after_total": 2, "since": "2012-11-05"})

    def empty() -> list[bool]:
        return [not get_chart(replay.url, "AAPL", YEAR_2005).content for _ in range(5)]

    assert empty() == [False] * 5
    replay.set_clock("2012-11-05T12:00:00Z")
    assert empty() == [False, False, True, True, False]


def test_a_missing_session_and_a_correction_that_end(replay: ReplayHandle) -> None:
    replay.set_clock("2012-11-07T22:00:00Z")
    good = ask(replay)
    replay.add_faults(
        {"kind": "missing_session", "date": "2012-11-05", "times": None, "until": "2012-11-08"},
        {"kind": "corrected_bar", "symbol": "AAPL", "date": "2012-11-06", "field": "high", "value": 600,
         "since": "2012-11-06", "until": "2012-11-08"},
    )  # fmt: skip
    bad = ask(replay)
    assert set(dates_of(good)) - set(dates_of(bad)) == {date(2012, 11, 5)}
    assert quote(bad)["high"][on(bad, "2012-11-06")] == 600
    replay.set_clock("2012-11-08T00:00:00Z")
    assert {**ask(replay), "meta": None} == {**good, "meta": None}


def test_random_faults_are_the_same_ones_whenever_their_time_begins(replay: ReplayHandle) -> None:
    fault = {"kind": "empty_body", "rate": 0.3, "seed": 5}

    def hits(n: int) -> list[bool]:
        return [not get_chart(replay.url, "IBM", 0, 1).content for _ in range(n)]

    replay.set_clock("2012-11-05")
    replay.add_faults(fault)
    always = hits(40)
    assert any(always)
    replay.clear_faults()
    replay.set_clock("2012-11-05")
    replay.add_faults({**fault, "since": "2012-11-06", "until": "2012-11-07"})
    assert not any(hits(20))
    replay.set_clock("2012-11-06T00:00:00Z")
    assert hits(40) == always
    replay.set_clock("2012-11-07T00:00:00Z")
    assert not any(hits(20))
