"""Exchanges of the user's own file, served."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from quant_assets.replay.errors import HistoryError
from quant_assets.replay.generator import trading_sessions
from quant_assets.replay.launch import GeneratedExchange, LaunchError, ReplayConfig, start
from quant_assets.replay.venues import session_close
from quant_assets.replay.venues_file import read_venues
from quant_assets_tests.replay.support import get_chart, result

TASE = """
exchanges:
  ASX: {delay: 60}
  XETR: {suffix: .DE, close: "20:00"}
  TASE:
    name: Tel Aviv Stock Exchange
    suffix: .TA
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
    (tase,) = read_venues(written(tmp_path, TASE))
    assert (tase.code, tase.suffix, tase.yahoo_code, tase.currency) == ("TASE", ".TA", "TLV", "ILA")
    assert (tase.open, tase.close, tase.zone) == (time(9, 30), time(17, 25), "Asia/Jerusalem")
    days = trading_sessions(tase, "2024-03-01", "2024-03-11").astype(object).tolist()
    # Sunday the 3rd is closed by the file, Friday the 8th open.
    assert days == [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 10, 11)]
    assert session_close(tase, date(2024, 3, 8)) == datetime(2024, 3, 8, 10, tzinfo=UTC)
    # A Sunday's close is looked up as any other's; the calendar has it early.
    assert session_close(tase, date(2024, 3, 10)).astimezone(UTC).date() == date(2024, 3, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exchanges: [", "YAML"),
        ("- TASE", "no mapping of exchanges"),
        (TASE.replace("17:25", "late"), "exchange TASE: .*late"),
        (TASE.replace("    zone: Asia/Jerusalem\n", ""), "exchange TASE: 'zone' is missing"),
        (TASE.replace("Asia/Jerusalem", "Asia/Nowhere"), "exchange TASE: .*Asia/Nowhere"),
        (TASE.replace("XTAE", "XXXX"), "exchange TASE: exchange_calendars has no calendar 'XXXX'"),
        (TASE.replace("[TLV]", "[]"), "exchange TASE: .*index"),
        ("exchanges: {TASE: 3}", "exchange TASE"),
    ],
)
def test_a_wrong_file_is_named_with_the_exchange(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(HistoryError, match=f"{path}: .*{said}"):
        read_venues(path)


def test_a_new_exchange_is_generated_and_served(tmp_path: Path) -> None:
    made = GeneratedExchange("TASE", 2, 1, "2023-10-01", "2024-03-20")
    with pytest.raises(LaunchError, match="unknown exchange 'TASE'"):
        start(ReplayConfig(generated=[made]))
    config = ReplayConfig(
        generated=[made], now="2024-03-10T12:00:00+02:00", exchanges_file=written(tmp_path, TASE)
    )
    with start(config) as handle:
        # Sunday, while Tel Aviv trades: the last bar is Friday's, which the file opened.
        answer = result(get_chart(handle.url, "AAA.TA"))
        assert answer["meta"]["currency"] == "ILA"
        last = datetime.fromtimestamp(answer["timestamp"][-1], UTC)
        assert last == datetime(2024, 3, 8, 7, 30, tzinfo=UTC)
        handle.set_clock("2024-03-10T23:00:00+02:00")
        answer = result(get_chart(handle.url, "AAA.TA"))
        assert datetime.fromtimestamp(answer["timestamp"][-1], UTC).date() == date(2024, 3, 10)
