"""Exchanges of the user's own file, served."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from quant_assets.exchanges import exchange, known
from quant_assets.replay.errors import HistoryError
from quant_assets.replay.generator import trading_sessions
from quant_assets.replay.launch import GeneratedExchange, LaunchError, ReplayConfig, start
from quant_assets.replay.venues import VENUES, session_close, venue, venue_of_symbol
from quant_assets.replay.venues_file import read_venues
from quant_assets_tests.replay.support import get_chart, result

ACRE = """
exchanges:
  ASX: {delay: 60}
  XETR: {suffix: .DE, close: "20:00"}
  ACRE:
    name: A Sunday exchange
    suffix: .ZA
    yahoo_codes: [TLV]
    calendar: XTAE
    zone: Asia/Jerusalem
    close: 17:25
    currencies: [ILA, ILS]
    weekdays: "0-4"
    closed: [2024-03-03]
    open: {2024-03-08: "12:00"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_read_venues_takes_the_exchanges_that_are_new(tmp_path: Path) -> None:
    xetr, acre = read_venues(written(tmp_path, ACRE))
    # Xetra by the file's code, as the server knows it.
    assert (xetr.code, xetr.yahoo_code, xetr.close) == ("XETR", "GER", time(17, 30))
    assert (acre.code, acre.suffix, acre.yahoo_code, acre.currency) == ("ACRE", ".ZA", "TLV", "ILA")
    assert (acre.open, acre.close, acre.zone) == (time(9, 30), time(17, 25), "Asia/Jerusalem")
    days = trading_sessions(acre, "2024-03-01", "2024-03-11").astype(object).tolist()
    # Sunday the 3rd is closed by the file, Friday the 8th open.
    assert days == [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 10, 11)]
    assert session_close(acre, date(2024, 3, 8)) == datetime(2024, 3, 8, 10, tzinfo=UTC)
    # A Sunday's close is looked up as any other's; the calendar has it early.
    assert session_close(acre, date(2024, 3, 10)).astimezone(UTC).date() == date(2024, 3, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exchanges: [", "YAML"),
        ("- ACRE", "no mapping of exchanges"),
        (ACRE.replace("17:25", "late"), "exchange ACRE: .*late"),
        (ACRE.replace("    zone: Asia/Jerusalem\n", ""), "exchange ACRE: 'zone' is missing"),
        (ACRE.replace("Asia/Jerusalem", "Asia/Nowhere"), "exchange ACRE: .*Asia/Nowhere"),
        (ACRE.replace("XTAE", "XXXX"), "exchange ACRE: exchange_calendars has no calendar 'XXXX'"),
        (ACRE.replace("[TLV]", "[]"), "exchange ACRE: .*index"),
        ("exchanges: {ACRE: 3}", "exchange ACRE"),
    ],
)
def test_a_wrong_file_is_named_with_the_exchange(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(HistoryError, match=f"{path}: .*{said}"):
        read_venues(path)


def test_a_new_exchange_is_generated_and_served(tmp_path: Path) -> None:
    made = GeneratedExchange("ACRE", 2, 1, "2023-10-01", "2024-03-20")
    with pytest.raises(LaunchError, match="unknown exchange 'ACRE'"):
        start(ReplayConfig(generated=[made]))
    config = ReplayConfig(
        generated=[made], now="2024-03-10T12:00:00+02:00", exchanges_file=written(tmp_path, ACRE)
    )
    with start(config) as handle:
        # Sunday, while Tel Aviv trades: the last bar is Friday's, which the file opened.
        answer = result(get_chart(handle.url, "AAA.ZA"))
        assert answer["meta"]["currency"] == "ILA"
        last = datetime.fromtimestamp(answer["timestamp"][-1], UTC)
        assert last == datetime(2024, 3, 8, 7, 30, tzinfo=UTC)
        handle.set_clock("2024-03-10T23:00:00+02:00")
        answer = result(get_chart(handle.url, "AAA.ZA"))
        assert datetime.fromtimestamp(answer["timestamp"][-1], UTC).date() == date(2024, 3, 10)


def test_the_servers_own_table_has_every_exchange_that_ships() -> None:
    """Told by suffix and Yahoo's code; its calendars and corrections are its own."""
    shipped = {(one.suffix, code) for one in known().values() for code in one.yahoo_codes}
    assert {(one.suffix, one.yahoo_code) for one in VENUES} == shipped
    assert {one.zone for one in VENUES} == {one.zone for one in known().values()}
    assert all(one.currency == venue_of_symbol(f"AAA{one.suffix}").currency for one in VENUES)


@pytest.mark.parametrize("code", ["TWSE", "NSE", "SSE", "JSE", "BMV", "TADAWUL"])
def test_the_servers_sessions_are_the_platforms_where_the_packages_err(code: str) -> None:
    first, last = date(2021, 1, 1), date(2026, 11, 30)
    served = trading_sessions(venue(code), str(first), str(last)).astype(object).tolist()
    assert served == exchange(code).calendar().sessions(first, last)


def test_a_history_may_end_with_the_days_that_a_calendar_knows() -> None:
    served = trading_sessions(venue("SSE"), "2026-12-28", "2026-12-31").astype(object).tolist()
    assert served == [date(2026, 12, day) for day in (28, 29, 30, 31)]
    assert session_close(venue("SSE"), date(2026, 12, 31)) == datetime(2026, 12, 31, 7, tzinfo=UTC)
    assert session_close(venue("SSE"), date(2027, 3, 1)) == datetime(2027, 3, 1, 7, tzinfo=UTC)
