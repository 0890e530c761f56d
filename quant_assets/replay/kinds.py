"""The kinds of fault, and for each its parameters, their defaults, and one line on what the server then says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """The kinds of fault."""

    NOT_FOUND_404 = "not_found_404"
    RATE_LIMITED_429 = "rate_limited_429"
    RATE_LIMITED_429_RETRY_AFTER = "rate_limited_429_retry_after"
    SERVER_ERROR_500_HTML = "server_error_500_html"
    SERVER_ERROR_500_JSON = "server_error_500_json"
    UNAUTHORIZED_401 = "unauthorized_401"
    MALFORMED_JSON = "malformed_json"
    TRUNCATED = "truncated"
    EMPTY_BODY = "empty_body"
    HANG = "hang"
    SLOW = "slow"
    WRONG_SYMBOL = "wrong_symbol"
    DUPLICATE_TIMESTAMP = "duplicate_timestamp"
    LIVE_PARTIAL_BAR = "live_partial_bar"
    TOO_MANY_REQUESTS_TEXT = "too_many_requests_text"
    CONSENT_PAGE = "consent_page"
    HTML_CRUMB = "html_crumb"
    QUOTES_DOWN = "quotes_down"
    MISSING_SESSION = "missing_session"
    NULL_BAR = "null_bar"
    CORRECTED_BAR = "corrected_bar"
    LATER_SPLIT = "later_split"
    HIDDEN_SPLIT = "hidden_split"
    HIDDEN_DIVIDEND = "hidden_dividend"
    UNSCALED_HISTORY = "unscaled_history"
    WRONG_UNIT = "wrong_unit"
    WRONG_CURRENCY = "wrong_currency"
    OTHER_HISTORY = "other_history"
    EXTRA_BAR = "extra_bar"
    SPLIT_BEFORE_EX_DATE = "split_before_ex_date"
    SPLIT_REPEATED = "split_repeated"
    RESCALED_BARS = "rescaled_bars"
    FIELD_FACTOR = "field_factor"
    EVENTS_LEFT_OUT = "events_left_out"
    DIVIDEND_FACTOR = "dividend_factor"
    PHANTOM_DIVIDEND = "phantom_dividend"
    DIVIDEND_REPEATED = "dividend_repeated"
    DIVIDEND_CURRENCY = "dividend_currency"
    GAINS_COUNTED_TWICE = "gains_counted_twice"
    UNREADABLE_EVENT = "unreadable_event"
    ACTION_ON_CLOSED_DAY = "action_on_closed_day"
    STAMPED_BEFORE = "stamped_before"
    LIVE_ROW_BESIDE_LAST = "live_row_beside_last"
    NO_CURRENCY = "no_currency"


NEEDED = object()
"""In the place of a default: the parameter must be given."""


@dataclass(frozen=True)
class Kind:
    """What is to be known of one kind.

    says: what the server then says. takes: its own parameters with their defaults. state: whether it is a
    state of the world, which combines with others. lasting: whether it goes on when `times` is not given.
    of_one: whether its symbols must be named. lie: whether the answer is well formed and wrong inside.
    """

    says: str
    takes: Mapping[str, Any] = field(default_factory=dict)
    state: bool = True
    lasting: bool = True
    of_one: bool = False
    lie: bool = False


def _failure(says: str, **takes: Any) -> Kind:
    return Kind(says, takes, state=False, lasting=False)


def _lie(says: str, **takes: Any) -> Kind:
    return Kind(says, takes, lie=True)


KINDS: Mapping[FaultKind, Kind] = {
    FaultKind.NOT_FOUND_404: _failure("404, no data found, symbol may be delisted"),
    FaultKind.RATE_LIMITED_429: _failure("429, Too Many Requests"),
    FaultKind.RATE_LIMITED_429_RETRY_AFTER: _failure(
        "429 with a Retry-After of so many seconds", retry_after=1
    ),
    FaultKind.SERVER_ERROR_500_HTML: _failure("500 with an HTML page"),
    FaultKind.SERVER_ERROR_500_JSON: _failure("500 with a JSON error"),
    FaultKind.UNAUTHORIZED_401: _failure("401, Invalid Crumb"),
    FaultKind.MALFORMED_JSON: _failure("200 with the first two thirds of the JSON as a whole body"),
    FaultKind.TRUNCATED: _failure("half of the body it promised, then the end of the connection"),
    FaultKind.EMPTY_BODY: _failure("200 with nothing"),
    FaultKind.HANG: _failure("nothing for so many seconds, then the end of the connection", seconds=30.0),
    FaultKind.SLOW: _failure("the proper answer, so many seconds late", seconds=1.0),
    FaultKind.WRONG_SYMBOL: _failure(
        "the answer of the symbol `other` (the next one when not given)", other=None
    ),
    FaultKind.DUPLICATE_TIMESTAMP: _failure(
        "the bar of `date` (a middle one when not given) twice; with `differs`, the second with other values",
        date=None,
        differs=False,
    ),
    FaultKind.LIVE_PARTIAL_BAR: _failure("today's unfinished bar as well, while the session lasts"),
    FaultKind.TOO_MANY_REQUESTS_TEXT: _failure(
        "Too Many Requests as text, with `status` 200 or 999", status=200
    ),
    FaultKind.CONSENT_PAGE: _failure("200 with the HTML page that asks for consent to cookies"),
    FaultKind.HTML_CRUMB: _failure(
        "60 kB of HTML with status 200 to the request for a crumb; all who bring such a crumb are sent away with 401"
    ),
    FaultKind.QUOTES_DOWN: _failure("503 with an HTML page to requests for quotes, whatever their symbols"),
    FaultKind.MISSING_SESSION: Kind(
        "no bar on that session (a middle one when not given); once, unless `times` says more",
        {"date": None},
        lasting=False,
    ),
    FaultKind.NULL_BAR: Kind("a bar of nulls, likewise", {"date": None}, lasting=False),
    FaultKind.CORRECTED_BAR: Kind(
        "other as-traded values on that bar, `field` and `value` or `values` by field; with `until`: a bar first "
        "served wrong, then corrected",
        {"date": NEEDED, "field": None, "value": None, "values": None},
    ),
    FaultKind.LATER_SPLIT: Kind("one more split", {"date": NEEDED, "ratio": NEEDED}),
    FaultKind.HIDDEN_SPLIT: Kind(
        "neither the split of that ex-date nor any rescaling by it; with `until`: a late split",
        {"date": NEEDED},
        of_one=True,
    ),
    FaultKind.HIDDEN_DIVIDEND: Kind(
        "no dividend on that ex-date, nor in the adjusted close; with `until`: a late dividend",
        {"date": NEEDED},
        of_one=True,
    ),
    FaultKind.UNSCALED_HISTORY: Kind(
        "everything before that ex-date rescaled, but no split told: a split half done",
        {"date": NEEDED},
        of_one=True,
    ),
    FaultKind.WRONG_UNIT: Kind(
        "prices divided by 100, of every bar or that of `date`; `currency`, if given, as their currency",
        {"date": None, "currency": None},
    ),
    FaultKind.WRONG_CURRENCY: Kind("that currency, the same prices", {"currency": NEEDED}),
    FaultKind.OTHER_HISTORY: Kind(
        "bars and events of `other` under the symbol's own name: a reused or renamed ticker",
        {"other": NEEDED},
        of_one=True,
    ),
    FaultKind.EXTRA_BAR: Kind(
        "a bar on a day without one, a copy of the last bar before it", {"date": NEEDED}
    ),
    FaultKind.SPLIT_BEFORE_EX_DATE: _lie(
        "a split whose ex-date `date` is after the last bar, with prices not rescaled yet; nothing once that "
        "day has its bar",
        date=NEEDED,
        ratio=NEEDED,
    ),
    FaultKind.SPLIT_REPEATED: _lie(
        "the split of `date` listed once more, `sessions` sessions later (0: on the same day; negative: earlier), "
        "with prices rescaled once",
        date=NEEDED,
        sessions=1,
    ),
    FaultKind.RESCALED_BARS: _lie(
        "prices and adjusted closes of the bars from `first` to `last` × `factor`, and their volumes ÷ `factor` "
        "unless `volume` is false; today's price and the 52-week range only with the whole history",
        first=None,
        last=None,
        factor=NEEDED,
        volume=True,
    ),
    FaultKind.FIELD_FACTOR: _lie(
        "`field` (open, high, low, close, adjclose or volume) of the bar of `date` × `factor`, nothing else",
        date=NEEDED,
        field=NEEDED,
        factor=NEEDED,
    ),
    FaultKind.EVENTS_LEFT_OUT: _lie(
        "no events (`what`: dividends, splits or all; of `date`, or of every day), with prices rescaled as ever; "
        "with `adjusted`, dividends are missing in the adjusted close too",
        what="all",
        date=None,
        adjusted=False,
    ),
    FaultKind.DIVIDEND_FACTOR: _lie(
        "the dividend of `date` × `factor`; with `adjusted`, in the adjusted close too",
        date=NEEDED,
        factor=NEEDED,
        adjusted=False,
    ),
    FaultKind.PHANTOM_DIVIDEND: _lie(
        "a dividend of `amount`, as declared on `date`, that was never paid; with `adjusted`, in the adjusted close "
        "too",
        date=NEEDED,
        amount=NEEDED,
        adjusted=False,
    ),
    FaultKind.DIVIDEND_REPEATED: _lie(
        "the dividend of `date` listed once more, `sessions` sessions later (0: on the same day; negative: earlier); "
        "with `adjusted`, in the adjusted close too",
        date=NEEDED,
        sessions=-1,
        adjusted=False,
    ),
    FaultKind.DIVIDEND_CURRENCY: _lie(
        "the dividend of `date` × `factor`, in `currency`", date=NEEDED, currency=NEEDED, factor=1.0
    ),
    FaultKind.GAINS_COUNTED_TWICE: _lie(
        "all that was paid on `date` as its dividend, and `amount` of it, as declared, once more as a capital gain; "
        "unless `adjusted` is false, in the adjusted close too",
        date=NEEDED,
        amount=NEEDED,
        adjusted=True,
    ),
    FaultKind.UNREADABLE_EVENT: _lie(
        "`text` as the ratio of the split of `date`, or as the amount of its dividend (`what`: split or dividend)",
        date=NEEDED,
        what=NEEDED,
        text=NEEDED,
    ),
    FaultKind.ACTION_ON_CLOSED_DAY: _lie(
        "the dividends and splits of `date` on the day `to` before it, with prices as ever",
        date=NEEDED,
        to=NEEDED,
    ),
    FaultKind.STAMPED_BEFORE: _lie(
        "bars and events of the sessions from `first` to `last` stamped at `hour` o'clock of the day before",
        first=None,
        last=None,
        hour=23,
    ),
    FaultKind.LIVE_ROW_BESIDE_LAST: _lie(
        "the last bar once more, stamped at its session's close; with `differs`, with other values",
        differs=False,
    ),
    FaultKind.NO_CURRENCY: _lie("null as the currency"),
}

STATES = frozenset(kind for kind, known in KINDS.items() if known.state)
"""States of the world: they combine with each other and with one other fault."""
LIES = frozenset(kind for kind, known in KINDS.items() if known.lie)
"""Well-formed answers that are wrong inside."""
REFUSALS = frozenset({FaultKind.TOO_MANY_REQUESTS_TEXT, FaultKind.CONSENT_PAGE, FaultKind.HTML_CRUMB})
"""Refusals that come as success."""


def listing() -> str:
    """Every kind with its parameters (`*` for one that must be given) and what it says, for people, one a line."""
    width = max(len(kind) for kind in FaultKind)
    lines: list[str] = []
    for kind, known in KINDS.items():
        takes = ["symbol*"] if known.of_one else []
        takes += [name + ("*" if default is NEEDED else "") for name, default in known.takes.items()]
        lines.append(f"{kind:<{width}}  {', '.join(takes) or '-'}: {known.says}")
    return "\n".join(lines)
