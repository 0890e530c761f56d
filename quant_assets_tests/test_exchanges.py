"""The exchanges we ship, files that change and extend them, and what is said about a wrong file."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yfinance.const import EQUITY_SCREENER_EQ_MAP

from quant_assets.exchanges import (
    ExchangeConfigError,
    UnknownExchange,
    enabled,
    exchange,
    grid_weekdays,
    known,
    load,
)

MUMBAI = """
exchanges:
  MUMBAI:
    name: Bombay Stock Exchange
    suffix: .BY
    yahoo_codes: [BSE]
    calendar: XBOM
    zone: Asia/Kolkata
    close: 15:30
    currencies: [INR]
    open:
      2024-05-18: 12:30 # a Saturday's session to try the recovery site
"""
RIYADH = """
exchanges:
  SAU:
    name: Saudi Exchange
    suffix: .SR
    yahoo_codes: [SAU]
    calendar: XSAU
    zone: Asia/Riyadh
    close: "15:00"
    currencies: [SAR]
    weekdays: "0-4"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text, "utf-8")
    return file


def test_the_latest_close_is_the_usual_one_or_that_of_a_longer_extra_day(tmp_path: Path):
    # Diwali's hour of trading in the evening.
    evening = MUMBAI + '      2024-11-01: "19:15"\n'
    assert exchange("MUMBAI", written(tmp_path, evening)).latest_close == time(19, 15)
    assert exchange("US").latest_close == time(16)


SUFFIXES = {
    "ASX": ".AX", "US": "", "LSE": ".L", "HKEX": ".HK", "TSX": ".TO", "JPX": ".T", "XETR": ".DE", "XPAR": ".PA",
    "KOSPI": ".KS", "KOSDAQ": ".KQ", "SSE": ".SS", "SZSE": ".SZ", "TWSE": ".TW", "TPEX": ".TWO", "NSE": ".NS",
    "BSE": ".BO", "SGX": ".SI", "NZX": ".NZ", "SIX": ".SW", "XAMS": ".AS", "XBRU": ".BR", "XLIS": ".LS",
    "XMIL": ".MI", "XMAD": ".MC", "XSTO": ".ST", "XHEL": ".HE", "XCSE": ".CO", "XOSL": ".OL", "XWAR": ".WA",
    "JSE": ".JO", "B3": ".SA", "BMV": ".MX", "TASE": ".TA", "TADAWUL": ".SR",
}  # fmt: skip


def test_what_we_ship():
    assert {code: one.suffix for code, one in known().items()} == SUFFIXES
    minor = {code: one.currencies[0] for code, one in known().items() if not one.currencies[0].isupper()}
    assert minor == {"LSE": "GBp", "JSE": "ZAc"}
    assert known()["TASE"].currencies == ("ILA", "ILS", "USD")
    assert {code for code, one in known().items() if one.first_weekday == 0} == {"TASE", "TADAWUL"}


def test_the_codes_are_those_of_yahoos_screener():
    codes = [code for one in known().values() for code in one.yahoo_codes]
    screener = EQUITY_SCREENER_EQ_MAP["exchange"]
    assert set(codes) <= {code for region in screener.values() for code in region}
    assert len(set(codes)) == len(codes)


def test_the_codes_and_currencies_of_others():
    assert known()["US"].yahoo_codes == ("NMS", "NGM", "NCM", "NYQ", "ASE", "PCX")
    assert known()["LSE"].currencies == ("GBp", "GBP", "USD", "EUR")
    assert exchange("JPX").close == time(15, 30)
    assert exchange("TSX").zone == "America/Toronto"


@pytest.mark.parametrize(
    ("code", "utc"),
    [
        ("ASX", time(6)),
        ("US", time(20)),
        ("LSE", time(15, 30)),
        ("HKEX", time(8)),
        ("TSX", time(20)),
        ("JPX", time(6, 30)),
        ("XETR", time(15, 30)),
        ("XPAR", time(15, 30)),
        ("NZX", time(4, 45)),
        ("TADAWUL", time(12)),
        ("BMV", time(21)),
    ],
)
def test_the_usual_close_of_a_day_in_june(code: str, utc: time):
    """The configured close is what every full session of today's hours answers, so a slip moves them all."""
    day = date(2025, 6, 3)
    assert exchange(code).calendar().closes_at(day) == datetime.combine(day, utc, UTC)


@pytest.mark.parametrize(
    ("symbol", "owner"),
    [
        ("AAPL", "US"),
        ("BRK-B", "US"),
        ("BRK.B", "US"),
        ("aapl", "US"),
        ("BHP.AX", "ASX"),
        ("bhp.ax", "ASX"),
        ("VOD.L", "LSE"),
        ("BT-A.L", "LSE"),
        ("0005.HK", "HKEX"),
        ("RY.TO", "TSX"),
        ("BBD-B.TO", "TSX"),
        ("7203.T", "JPX"),
        ("SAP.DE", "XETR"),
        ("MC.PA", "XPAR"),
        ("ENI.MI", "XMIL"),
        ("2330.TW", "TWSE"),
        ("6488.TWO", "TPEX"),
        ("005930.KS", "KOSPI"),
        ("2222.SR", "TADAWUL"),
        ("BF.B", "US"),
        ("SAP.F", None),
        ("^GSPC", None),
        ("EURUSD=X", None),
        (".AX", None),
        ("", None),
    ],
)
def test_a_symbol_has_at_most_one_owner(symbol: str, owner: str | None):
    assert [one.code for one in known().values() if one.owns(symbol)] == ([owner] if owner else [])


@given(
    st.text(alphabet="ABLT.-^=09", max_size=8),
    st.sampled_from(["", ".AX", ".L", ".T", ".TO", ".MI", ".TW", ".TWO", ".S"]),
)
def test_no_symbol_has_two_owners(root: str, suffix: str):
    owners = [one.code for one in known().values() if one.owns(root + suffix)]
    assert len(owners) <= 1


@pytest.mark.parametrize(
    ("symbol", "codes"),
    [
        ("^GSPC", ["ASX", "TASE", "US"]),
        ("^gspc", ["ASX", "TASE", "US"]),
        ("^TA125.TA", ["TASE"]),
        ("^VXD.X", ["ASX", "TASE", "US"]),
        ("XJO.AX", ["ASX"]),
        ("GSPC", ["US"]),
        ("^", []),
        ("^.TA", []),
        ("^ES=F", []),
        ("^SAP.F", []),
        ("", []),
    ],
)
def test_an_index_may_be_of_any_exchange_that_its_suffix_allows(symbol: str, codes: list[str]):
    assert [code for code in ("ASX", "TASE", "US") if exchange(code).may_have_index(symbol)] == codes


@pytest.mark.parametrize(
    ("code", "symbol", "spelled"),
    [
        ("US", "BRK.B", "BRK-B"),
        ("US", "BRK-B", "BRK-B"),
        ("US", "JPM.PR.C", "JPM-PC"),
        ("US", "JPM.PRC", "JPM-PC"),
        ("US", "AAPL", "AAPL"),
        ("US", "^GSPC", "^GSPC"),
        ("US", "BHP.AX", "BHP.AX"),
        ("LSE", "BT.A.L", "BT-A.L"),
        ("LSE", "VOD.L", "VOD.L"),
        ("TSX", "RCI.B.TO", "RCI-B.TO"),
        ("XCSE", "NOVO.B.CO", "NOVO-B.CO"),
    ],
)
def test_how_yahoo_spells_a_symbol_with_dots(code: str, symbol: str, spelled: str):
    assert exchange(code).yahoo_spelling(symbol) == spelled


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("ASX", "30 16 * * 1-5"),
        ("US", "30 16 * * 1-5"),
        ("LSE", "0 17 * * 1-5"),
        ("HKEX", "30 16 * * 1-5"),
        ("JPX", "0 16 * * 1-5"),
        ("XPAR", "0 18 * * 1-5"),
    ],
)
def test_the_cron_line_is_close_and_delay(code: str, line: str):
    assert exchange(code).cron() == line


def test_at_its_cron_moment_a_usual_session_is_over():
    one = exchange("ASX")
    minute, hour = map(int, one.cron().split()[:2])
    at = datetime(2024, 3, 15, hour, minute, tzinfo=UTC) - timedelta(hours=11)  # Sydney's summer time
    assert one.calendar().is_over(date(2024, 3, 15), at, one.delay)
    assert not one.calendar().is_over(date(2024, 3, 15), at - timedelta(minutes=1), one.delay)


def test_a_delay_past_midnight_moves_the_days(tmp_path: Path):
    extra = written(tmp_path, "exchanges: {US: {delay: 540}, JPX: {delay: 510}}")
    assert exchange("US", extra).cron() == "0 1 * * 2-6"
    assert exchange("JPX", extra).cron() == "0 0 * * 2-6"
    sunday = load(written(tmp_path, RIYADH + '    delay: "600"\n'))["SAU"]
    assert sunday.cron() == "0 1 * * 1-5"


def test_an_unknown_code_is_told_the_known_ones():
    with pytest.raises(UnknownExchange, match=r"'ASXX'.*ASX, B3, BMV, .*, XWAR; did you mean ASX"):
        exchange("ASXX")
    with pytest.raises(UnknownExchange, match="mean LSE"):
        enabled(["ASX", "lse"])
    assert issubclass(UnknownExchange, ValueError)


def test_enabled_keeps_the_order_and_drops_repeats():
    assert [one.code for one in enabled(["US", "ASX", "US"])] == ["US", "ASX"]


def test_what_is_handed_out_is_a_copy():
    known().clear()
    assert "ASX" in known()


# Files of users -----------------------------------------------------------------------------------


def test_a_file_adds_an_exchange_and_takes_its_suffix_from_the_rest(tmp_path: Path):
    extra = written(tmp_path, MUMBAI)
    mumbai = exchange("MUMBAI", extra)
    assert mumbai.owns("RELIANCE.BY")
    assert not exchange("US", extra).owns("RELIANCE.BY")
    assert (mumbai.close, mumbai.delay, mumbai.weekdays) == (time(15, 30), timedelta(minutes=30), "1-5")
    assert "MUMBAI" not in known()
    assert set(known(extra)) == {*known(), "MUMBAI"}


def test_an_exchange_of_ones_own_stands_in_place_of_ours_with_its_suffix(tmp_path: Path):
    """Cells are named by the code, so a store that had the exchange before we shipped it keeps it."""
    extra = written(tmp_path, RIYADH)
    assert set(known(extra)) == {*known(), "SAU"} - {"TADAWUL"}
    assert [one.code for one in known(extra).values() if one.owns("2222.SR")] == ["SAU"]
    assert exchange("SAU", extra).rules.known_from is None


def test_how_far_a_calendar_reaches_goes_with_the_calendar(tmp_path: Path):
    other = load(written(tmp_path, "exchanges: {NSE: {calendar: XBOM}, SSE: {delay: 60}}"))
    assert (other["NSE"].rules.known_from, other["NSE"].rules.known_until) == (None, None)
    assert other["SSE"].rules.known_from == date(1991, 1, 1)


def test_a_saturdays_session_has_a_cell_and_a_schedule(tmp_path: Path):
    extra = written(tmp_path, MUMBAI)
    mumbai = exchange("MUMBAI", extra)
    assert mumbai.calendar().closes_at(date(2024, 5, 18)) == datetime(2024, 5, 18, 7, 0, tzinfo=UTC)
    assert mumbai.cron() == "0 16 * * 1-6"
    assert grid_weekdays([mumbai]) == "1-6"
    assert grid_weekdays(enabled(["ASX", "MUMBAI"], extra)) == "1-6"
    assert grid_weekdays(enabled(["ASX", "US"], extra)) == "1-5"


def test_an_exchange_may_trade_on_sundays(tmp_path: Path):
    riyadh = load(written(tmp_path, RIYADH))["SAU"]
    week = riyadh.calendar().sessions(date(2024, 3, 1), date(2024, 3, 9))
    assert week == [date(2024, 3, day) for day in (3, 4, 5, 6, 7)]
    assert riyadh.cron() == "30 15 * * 0-4"
    assert grid_weekdays([riyadh]) == "0-4"
    assert grid_weekdays([riyadh, exchange("ASX")]) == "0-5"


def test_a_week_begins_after_the_weekend_unless_configured(tmp_path: Path):
    riyadh = load(written(tmp_path, RIYADH))["SAU"]
    assert riyadh.first_weekday == 0
    assert riyadh.week_days(date(2024, 3, 4)) == (date(2024, 3, 3), date(2024, 3, 9))
    assert riyadh.week_sessions(date(2024, 3, 4)) == [date(2024, 3, day) for day in (3, 4, 5, 6, 7)]
    assert riyadh.week_of(date(2024, 3, 3)) == riyadh.week_of(date(2024, 3, 7)) == date(2024, 3, 4)
    assert exchange("US").week_sessions(date(2001, 9, 10)) == [date(2001, 9, 10)]
    told = load(written(tmp_path, RIYADH + "    first_weekday: 6\n"))["SAU"]
    assert told.first_weekday == 6
    assert load(written(tmp_path, RIYADH + "    first_weekday: 7\n"))["SAU"].first_weekday == 0


def test_a_grid_needs_an_exchange():
    with pytest.raises(ValueError, match="no exchange"):
        grid_weekdays([])


@pytest.mark.parametrize(
    ("written_as", "cron"),
    [('"5-7"', "0,5-6"), ('"0,2-4"', "0,2-4"), ("7", "0"), ('"1,2,3,4,5"', "1-5"), ('"1, 2"', "1-2")],
)
def test_weekdays_are_spelled_as_cron_spells_them(tmp_path: Path, written_as: str, cron: str):
    extra = written(tmp_path, f"exchanges: {{ASX: {{weekdays: {written_as}}}}}")
    assert load(extra)["ASX"].weekdays == cron


def test_a_file_changes_single_keys_and_its_days_win(tmp_path: Path):
    extra = written(
        tmp_path,
        """
exchanges:
  HKEX:
    delay: 60
    closed: [2024-11-14, 2011-02-02]
    open: {2023-09-08: "12:00"}
""",
    )
    before, after = exchange("HKEX"), load(extra)["HKEX"]
    assert after.delay == timedelta(hours=1)
    assert (after.name, after.suffix, after.rules.zone) == (before.name, before.suffix, before.rules.zone)
    days = [date(2023, 9, 1), date(2023, 9, 8), date(2024, 11, 14), date(2011, 2, 2), date(2008, 2, 6)]
    assert [before.calendar().is_session(day) for day in days] == [False, False, True, True, True]
    assert [after.calendar().is_session(day) for day in days] == [False, True, False, False, True]
    assert load(extra)["ASX"] == exchange("ASX")


def test_a_file_may_be_empty_or_only_name_suffixes(tmp_path: Path):
    assert load(written(tmp_path, "")) == known()
    told = load(written(tmp_path, "other_suffixes: [.ZZ]\nexchanges:\n"))
    assert exchange("US").owns("ABC.ZZ")
    assert not told["US"].owns("ABC.ZZ")


MINE = "exchanges: {{ASX: {{{}}}}}".format
WRONG = {
    "not YAML": ("exchanges: [", ["YAML"]),
    "too deep": ("exchanges: " + "[" * 2000, ["YAML"]),
    "a list": ("- ASX", ["the file", "mapping", "exchanges"]),
    "a text": ("ASX", ["the file", "mapping"]),
    "top key": ("exchange: {}", ["exchange:", "unknown key", "did you mean exchanges"]),
    "key": (MINE("closes: '16:00'"), ["exchanges.ASX.closes", "unknown key", "did you mean close"]),
    "strange key": (MINE("colour: red"), ["exchanges.ASX.colour", "the keys are name, suffix"]),
    "key twice": ("exchanges:\n  ASX: {delay: 1}\n  ASX: {delay: 2}", ["ASX is there twice"]),
    "key of no kind": ("exchanges: {[1]: {}}", ["YAML"]),
    "code": ("exchanges: {asx|1: {}}", ["exchanges.asx|1", "A-Z"]),
    "no entry": ("exchanges: {ASX: 3}", ["exchanges.ASX", "mapping"]),
    "no entries": ("exchanges: [ASX]", ["exchanges", "no mapping"]),
    "time": (MINE("close: 4 pm"), ["exchanges.ASX.close", "'4 pm'", '"16:30"']),
    "hour": (MINE("close: '25:00'"), ["exchanges.ASX.close", "'25:00'"]),
    "zone": (MINE("zone: Sydney"), ["exchanges.ASX.zone", "'Sydney'", "IANA"]),
    "zone folder": (MINE("zone: Australia"), ["exchanges.ASX.zone", "IANA"]),
    "zone outside": (MINE("zone: ../../etc/passwd"), ["exchanges.ASX.zone", "IANA"]),
    "calendar": (MINE("calendar: XASXX"), ["exchanges.ASX.calendar", "'XASXX'", "XASX"]),
    "delay": (MINE("delay: half an hour"), ["exchanges.ASX.delay", "minutes"]),
    "delay below": (MINE("delay: -5"), ["exchanges.ASX.delay", "0 to 1440"]),
    "delay above": (MINE("delay: 1441"), ["exchanges.ASX.delay", "0 to 1440"]),
    "weekdays": (MINE("weekdays: mon-fri"), ["exchanges.ASX.weekdays", "0 is Sunday"]),
    "weekdays backwards": (MINE("weekdays: 6-3"), ["exchanges.ASX.weekdays", "'6-3'"]),
    "first weekday": (
        MINE("first_weekday: sunday"),
        ["exchanges.ASX.first_weekday", "'sunday'", "0 (Sunday)"],
    ),
    "closed": (MINE("closed: [2024-02-30]"), ["exchanges.ASX.closed", "'2024-02-30'", "2024-05-18"]),
    "closed number": (MINE("closed: [20240229]"), ["exchanges.ASX.closed", "'20240229'"]),
    "closed alone": (MINE("closed: 2024-02-29"), ["exchanges.ASX.closed", "no list"]),
    "open": (MINE("open: [2024-02-29]"), ["exchanges.ASX.open", "no mapping"]),
    "open time": (MINE("open: {2024-02-29: noon}"), ["exchanges.ASX.open", "'noon'"]),
    "closed and open": (
        MINE("closed: [2024-02-29], open: {2024-02-29: '12:00'}"),
        ["exchanges.ASX.open", "2024-02-29", "take it out"],
    ),
    "suffix": (MINE("suffix: AX"), ["exchanges.ASX.suffix", "'AX'", "dot"]),
    "suffix of another": (MINE("suffix: .L"), [".suffix", "'.L'", "its own"]),
    "no currency": (MINE("currencies: []"), ["exchanges.ASX.currencies", "at least one"]),
    "empty name": (MINE("name: ''"), ["exchanges.ASX.name", "no text"]),
    "missing": ("exchanges: {WIEN: {name: Vienna}}", ["exchanges.WIEN", "suffix is missing", "add it"]),
    "known until": (
        MINE("known_from: 2020-01-01, known_until: 2019-12-31"),
        ["exchanges.ASX.known_until", "2019-12-31", "later day"],
    ),
    "suffix twice": (
        RIYADH + RIYADH.replace("\nexchanges:", "").replace("SAU:", "SAV:", 1),
        ["exchanges.SAV.suffix", "'.SR'", "SAU already"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_by_name_key_and_remedy(tmp_path: Path, case: str):
    text, told = WRONG[case]
    file = written(tmp_path, text)
    with pytest.raises(ExchangeConfigError) as caught:
        load(file)
    assert [part for part in told if part not in str(caught.value)] == [], str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ExchangeConfigError, match=r"none\.yaml.*cannot be read"):
        known(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"exchanges: {ASX: {name: B\xf6rse}}")
    with pytest.raises(ExchangeConfigError, match=r"latin\.yaml.*UTF-8"):
        load(tmp_path / "latin.yaml")


def test_importing_and_reading_ask_no_calendar_library():
    script = "import sys, quant_assets.exchanges as e; print(len(e.known()), *sorted(sys.modules))"
    count, *loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(count) == len(known())
    assert {"pandas_market_calendars", "pandas", "polars", "dagster"}.isdisjoint(loaded)
