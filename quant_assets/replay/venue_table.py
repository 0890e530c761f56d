"""The replay server's table of exchanges, as Yahoo names them, with their regular session hours.

Deliberately a table of its own: the replay server must not share the product's idea of an
exchange, or an error there would be invisible here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time


@dataclass(frozen=True)
class Venue:
    """One exchange: `open`/`close` are local times of the regular session in `zone`.

    `closed` and `opened` (day, local close) are days on which the calendar is wrong.
    """

    code: str
    suffix: str
    yahoo_code: str
    full_name: str
    zone: str
    open: time
    close: time
    currency: str
    calendar: str  # a name of exchange_calendars
    region: str = "us"
    closed: frozenset[date] = frozenset()
    opened: tuple[tuple[date, time], ...] = ()


_NY = {
    "suffix": "",
    "zone": "America/New_York",
    "open": time(9, 30),
    "close": time(16),
    "currency": "USD",
    "calendar": "XNYS",
}

_FIRST = (
    Venue("NASDAQ", yahoo_code="NMS", full_name="NasdaqGS", **_NY),
    Venue("NYSE", yahoo_code="NYQ", full_name="NYSE", **_NY),
    Venue("NASDAQ-GM", yahoo_code="NGM", full_name="NasdaqGM", **_NY),
    Venue("NASDAQ-CM", yahoo_code="NCM", full_name="NasdaqCM", **_NY),
    Venue("AMEX", yahoo_code="ASE", full_name="NYSE American", **_NY),
    Venue("ARCA", yahoo_code="PCX", full_name="NYSEArca", **_NY),
    Venue("ASX", ".AX", "ASX", "ASX", "Australia/Sydney", time(10), time(16), "AUD", "XASX", region="au"),
    Venue("LSE", ".L", "LSE", "LSE", "Europe/London", time(8), time(16, 30), "GBp", "XLON", region="gb"),
    Venue("HKEX", ".HK", "HKG", "HKSE", "Asia/Hong_Kong", time(9, 30), time(16), "HKD", "XHKG", region="hk"),
    Venue(
        "TSX", ".TO", "TOR", "Toronto", "America/Toronto", time(9, 30), time(16), "CAD", "XTSE", region="ca"
    ),
    Venue("JPX", ".T", "JPX", "Tokyo", "Asia/Tokyo", time(9), time(15, 30), "JPY", "XTKS", region="jp"),
    Venue("XETRA", ".DE", "GER", "XETRA", "Europe/Berlin", time(9), time(17, 30), "EUR", "XETR", region="de"),
    Venue("PARIS", ".PA", "PAR", "Paris", "Europe/Paris", time(9), time(17, 30), "EUR", "XPAR", region="fr"),
)


def _days(text: str) -> frozenset[date]:
    return frozenset(map(date.fromisoformat, text.split()))


def _closes(text: str) -> tuple[tuple[date, time], ...]:
    """`2024-05-18@12:30 …` as days with their local close."""
    pairs = (entry.split("@") for entry in text.split())
    return tuple((date.fromisoformat(day), time.fromisoformat(at)) for day, at in pairs)


# Where exchange_calendars errs.
_KOREA = {"zone": "Asia/Seoul", "open": time(9), "close": time(15, 30), "currency": "KRW", "calendar": "XKRX"}
_KOREA |= {"region": "kr", "closed": _days("2026-06-03 2026-07-17")}
_CHINA = {
    "zone": "Asia/Shanghai",
    "open": time(9, 30),
    "close": time(15),
    "currency": "CNY",
    "calendar": "XSHG",
}
_CHINA |= {"region": "cn"}
_TAIWAN = {
    "zone": "Asia/Taipei",
    "open": time(9),
    "close": time(13, 30),
    "currency": "TWD",
    "calendar": "XTAI",
}
_TAIWAN |= {"region": "tw", "closed": _days("2022-02-04 2023-01-18 2024-10-31")}
_TAIWAN |= {
    "opened": _closes("2017-02-18@13:30 2017-06-03@13:30 2017-09-30@13:30 2018-03-31@13:30 2018-12-22@13:30")
}
_INDIA = {
    "zone": "Asia/Kolkata",
    "open": time(9, 15),
    "close": time(15, 30),
    "currency": "INR",
    "calendar": "XBOM",
}
_INDIA |= {"region": "in", "closed": _days("2020-05-25")}
_INDIA |= {
    "opened": _closes(
        "2016-10-30@19:30 2019-10-27@19:15 2020-02-01@15:30 2020-07-31@15:30 2020-11-14@19:15 2021-11-04@19:15 "
        "2022-10-24@19:15 2023-11-12@19:15 2024-01-20@15:30 2024-03-02@12:30 2024-05-18@12:30 2024-11-01@19:00 "
        "2025-02-01@15:30 2025-10-21@14:45 2026-02-01@15:30 2026-11-08@19:15"
    )
}
_EURONEXT = {"open": time(9), "close": time(17, 30), "currency": "EUR"}
_RIYADH = {
    "closed": _days(
        "2021-05-11 2021-05-12 2022-09-22 2022-11-23 2023-06-25 2023-06-26 2023-09-24 2025-02-23 2025-06-10"
    ),
    "opened": _closes(
        "2021-02-22@15:00 2022-04-28@15:00 2022-05-08@15:00 2022-07-13@15:00 2023-07-02@15:00 2024-04-14@15:00 "
        "2024-04-15@15:00 2024-06-13@15:00 2024-06-23@15:00 2025-06-04@15:00"
    ),
}
_JOHANNESBURG = _days("2021-11-01 2022-12-27 2023-12-15 2024-05-29 2026-11-04")

VENUES: tuple[Venue, ...] = (
    *_FIRST,
    Venue("KOSPI", ".KS", "KSC", "KSE", **_KOREA),
    Venue("KOSDAQ", ".KQ", "KOE", "KOSDAQ", **_KOREA),
    Venue("SSE", ".SS", "SHH", "Shanghai", **_CHINA),
    Venue("SZSE", ".SZ", "SHZ", "Shenzhen", **_CHINA),
    Venue("TWSE", ".TW", "TAI", "Taiwan", **_TAIWAN),
    Venue("TPEX", ".TWO", "TWO", "Taipei Exchange", **_TAIWAN),
    Venue("NSE", ".NS", "NSI", "NSE", **_INDIA),
    Venue("BSE", ".BO", "BSE", "BSE", **_INDIA),
    Venue("SGX", ".SI", "SES", "SES", "Asia/Singapore", time(9), time(17), "SGD", "XSES", region="sg"),
    Venue("NZX", ".NZ", "NZE", "NZSE", "Pacific/Auckland", time(10), time(16, 45), "NZD", "XNZE", region="nz"),
    Venue("SIX", ".SW", "EBS", "Swiss", "Europe/Zurich", time(9), time(17, 30), "CHF", "XSWX", region="ch"),
    Venue("XAMS", ".AS", "AMS", "Amsterdam", "Europe/Amsterdam", calendar="XAMS", region="nl", **_EURONEXT),
    Venue("XBRU", ".BR", "BRU", "Brussels", "Europe/Brussels", calendar="XBRU", region="be", **_EURONEXT),
    Venue("XLIS", ".LS", "LIS", "Lisbon", "Europe/Lisbon", time(8), time(16, 30), "EUR", "XLIS", region="pt"),
    Venue("XMIL", ".MI", "MIL", "Milan", "Europe/Rome", calendar="XMIL", region="it", **_EURONEXT),
    Venue("XMAD", ".MC", "MCE", "MCE", "Europe/Madrid", calendar="XMAD", region="es", **_EURONEXT),
    Venue("XSTO", ".ST", "STO", "Stockholm", "Europe/Stockholm", time(9), time(17, 30), "SEK", "XSTO", region="se"),
    Venue("XHEL", ".HE", "HEL", "Helsinki", "Europe/Helsinki", time(10), time(18, 30), "EUR", "XHEL", region="fi"),
    Venue("XCSE", ".CO", "CPH", "Copenhagen", "Europe/Copenhagen", time(9), time(17), "DKK", "XCSE", region="dk"),
    Venue("XOSL", ".OL", "OSL", "Oslo", "Europe/Oslo", time(9), time(16, 20), "NOK", "XOSL", region="no"),
    Venue("XWAR", ".WA", "WSE", "Warsaw", "Europe/Warsaw", time(9), time(17), "PLN", "XWAR", region="pl"),
    Venue(
        "JSE", ".JO", "JNB", "Johannesburg", "Africa/Johannesburg", time(9), time(17), "ZAc", "XJSE", region="za",
        closed=_JOHANNESBURG,
    ),
    Venue("B3", ".SA", "SAO", "São Paulo", "America/Sao_Paulo", time(10), time(18), "BRL", "BVMF", region="br"),
    Venue(
        "BMV", ".MX", "MEX", "Mexico", "America/Mexico_City", time(8, 30), time(15), "MXN", "XMEX", region="mx",
        closed=_days("2024-10-01"),
    ),
    Venue(
        "TASE", ".TA", "TLV", "Tel Aviv", "Asia/Jerusalem", time(9, 59), time(17, 15), "ILA", "XTAE", region="il",
        closed=_days("2018-10-30 2024-02-27 2026-01-04"),
    ),
    Venue("TADAWUL", ".SR", "SAU", "Saudi", "Asia/Riyadh", time(10), time(15), "SAR", "XSAU", region="sa", **_RIYADH),
)  # fmt: skip
