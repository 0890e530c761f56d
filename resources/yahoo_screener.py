"""Yahoo's screener: the listings that match a query, all pages of them, through yfinance."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.interrupts import Interrupted, wait_unless_interrupted
from quant_assets.resources.pacing import RateBudgetSpent
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo_client import YAHOO, base_url, open_client

if TYPE_CHECKING:
    from quant_assets.resources.yahoo_client import YahooClient

_SCREENER = "https://query1.finance.yahoo.com/v1/finance/screener"
_PARAMS = {"corsDomain": "finance.yahoo.com", "formatted": "false", "lang": "en-US", "region": "US"}
PAGE = 250
"""Listings a page: the most that Yahoo gives."""
_LONGEST_PAUSE = 30.0
_COMPARISONS = ("gt", "gte", "lt", "lte", "btwn")
_OPERATORS = ("and", "or", "eq", "is-in", *_COMPARISONS)

AssetType = Literal["equity", "etf"]


class ScreenFailed(QuantAssetsError):
    """The screener gave no whole answer, or cannot be asked that; the message says what was seen and the remedy.

    Args:
        seen: what was seen.
        remedy: what to do about it.
    """

    def __init__(self, seen: str, remedy: str) -> None:
        super().__init__(f"Yahoo's screener: {seen}; {remedy}")
        self.seen = f"Yahoo's screener: {seen}"
        self.remedy = remedy


class _Passing(Exception):
    """A failure that may pass: worth asking again."""

    def __init__(self, what: str, *, rate_limited: bool = False) -> None:
        super().__init__(what)
        self.rate_limited = rate_limited


@dataclass(frozen=True, slots=True)
class Screened:
    """One listing as the screener names it: Yahoo's symbol and code of the exchange; "" for what it left out."""

    symbol: str
    name: str
    exchange: str
    currency: str


class Screener:
    """Asks Yahoo's screener, or a server that speaks its protocol, at the pace of the source of prices.

    Args:
        settings: address, pace, attempts, pauses, time-outs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: YahooClient | None = None

    def screened(self, query: Mapping[str, Any], asset_type: AssetType, most: int) -> list[Screened]:
        """The listings that match, by symbol. `query` is operators with their operands, of which all must hold:
        {"eq": ["region", "au"], "and": [{"gt": ["intradaymarketcap", 1e9]}, …]}; numbers may be texts.

        Raises ScreenFailed: for a query that yfinance does not know, for more than `most` listings, and when the
        pages do not show as many listings as the screener counts. Interrupted.
        """
        asked = _asked(query, asset_type)
        if self._client is None:
            self._client = open_client(self._settings)
        found: dict[str, Screened] = {}
        offset, total = 0, 1
        while offset < total:
            total, page = self._page(asked, asset_type, offset)
            if total > most:
                raise ScreenFailed(
                    f"it finds {total} listings, of which {most} are allowed",
                    "narrow the query, or raise `most`",
                )
            if not page:
                break
            found |= {one.symbol: one for one in page}
            offset += len(page)
        if len(found) < total:
            raise ScreenFailed(f"it counts {total} listings and shows {len(found)}", "try again later")
        return sorted(found.values(), key=lambda one: one.symbol)

    def close(self) -> None:
        """Gives connections and the shared pace file back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _page(
        self, query: Mapping[str, Any], asset_type: AssetType, offset: int
    ) -> tuple[int, list[Screened]]:
        last = ""
        for number in range(1, self._settings.attempts + 1):
            try:
                return self._ask(query, asset_type, offset)
            except _Passing as error:
                last = str(error)
                if number < self._settings.attempts:
                    self._wait(number, error.rate_limited)
        times = "once" if self._settings.attempts == 1 else f"{self._settings.attempts} times"
        raise ScreenFailed(f"{last}, asked {times}", "try again later")

    def _wait(self, number: int, rate_limited: bool) -> None:
        assert self._client is not None
        if rate_limited:
            self._client.pacer.cool_down(min(60.0, self._settings.cool_down_seconds * 2 ** (number - 1)))
        elif wait_unless_interrupted(
            min(_LONGEST_PAUSE, self._settings.retry_wait_seconds * 2 ** (number - 1))
        ):
            raise Interrupted

    def _ask(
        self, query: Mapping[str, Any], asset_type: AssetType, offset: int
    ) -> tuple[int, list[Screened]]:
        """One attempt at one page: how many listings match in all, and those of the page."""
        import orjson
        from curl_cffi.requests.exceptions import RequestException

        yfinance_errors: Any = importlib.import_module("yfinance.exceptions")
        assert self._client is not None
        body = {
            "offset": offset,
            "size": PAGE,
            "sortField": "ticker",
            "sortType": "ASC",
            "userId": "",
            "userIdType": "guid",
            "quoteType": asset_type.upper(),
            "query": query,
        }
        try:
            response = self._client.data.post(
                _SCREENER,
                data=orjson.dumps(body).decode(),
                params=_PARAMS,
                timeout=self._settings.timeout_seconds,
            )
        except yfinance_errors.YFRateLimitError as error:
            raise _Passing("it answered with status 429 (too many requests)", rate_limited=True) from error
        except RateBudgetSpent as error:
            raise ScreenFailed(str(error), "try again later") from error
        except (RequestException, yfinance_errors.YFException, OSError) as error:
            text = " ".join(str(error).split()).partition(" See https")[0][:160]
            address = base_url(self._settings) or YAHOO
            raise _Passing(f"no answer from {address} ({type(error).__name__}: {text})") from error
        status = int(response.status_code)
        if status == 429:
            raise _Passing("it answered with status 429 (too many requests)", rate_limited=True)
        if status in (401, 403, 999) or status >= 500:
            raise _Passing(f"it answered with status {status}")
        return read_screen(status, bytes(response.content))


def read_screen(status: int, body: bytes) -> tuple[int, list[Screened]]:
    """How many listings match, and those of this page. Raises ScreenFailed, and _Passing for what is no answer."""
    import orjson

    try:
        answer: Any = orjson.loads(body)
        finance: Any = answer["finance"]
        error, results = finance.get("error"), finance.get("result")
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        start = " ".join(body[:60].decode("utf-8", "replace").split())
        raise _Passing(f"it answered with status {status} and no screen ({start!r}…)") from wrong
    if status != 200 or error:
        told = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
        raise ScreenFailed(
            f"it refused the query: status {status}, {str(told.get('description') or told.get('code'))[:160]!r}",
            "correct the query",
        )
    try:
        total = results[0]["total"]
        page = [_listing(quote) for quote in results[0]["quotes"]]
        if not isinstance(total, int) or total < 0:
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError) as wrong:
        raise _Passing("it answered with a screen that has no listings in it") from wrong
    return total, page


def _listing(quote: Mapping[str, Any]) -> Screened:
    symbol = quote["symbol"]
    if not isinstance(symbol, str) or not symbol:
        raise TypeError
    name, exchange, currency = (
        value if isinstance(value, str) else ""
        for value in (
            quote.get("longName") or quote.get("shortName"),
            quote.get("exchange"),
            quote.get("currency"),
        )
    )
    return Screened(symbol, name, exchange, currency)


def _asked(query: Mapping[str, Any], asset_type: AssetType) -> dict[str, Any]:
    """The query as Yahoo is sent it, checked by yfinance's own class for it. Raises ScreenFailed."""
    yfinance: Any = importlib.import_module("yfinance")
    kind: Any = {"equity": yfinance.EquityQuery, "etf": yfinance.ETFQuery}[asset_type]
    try:
        return _built(query, kind).to_dict()
    except (ValueError, TypeError) as error:
        told = " ".join(str(error).split())[:200]
        raise ScreenFailed(f"it cannot be asked that: {told}", "correct the query") from error


def _built(query: object, kind: Any) -> Any:
    if not isinstance(query, Mapping) or not query:
        raise ValueError(f"{query!r:.60} is no query; write an operator and its operands, {{gt: [beta, 1]}}")
    parts: list[Any] = []
    for operator, operands in cast("Mapping[object, object]", query).items():
        if operator not in _OPERATORS:
            raise ValueError(f"{operator!r:.60} is no operator; write one of {', '.join(_OPERATORS)}")
        if not isinstance(operands, list) or not operands:
            raise ValueError(f"{operator} has no list of operands; write {operator}: [one, two]")
        some = cast("list[object]", operands)
        if operator in ("and", "or"):
            inner = [_built(one, kind) for one in some]
            # yfinance takes no `and` of one.
            parts.append(inner[0] if len(inner) == 1 else kind(operator, inner))
        else:
            parts.append(kind(operator, [str(some[0]), *_values(str(operator), some[1:])]))
    return parts[0] if len(parts) == 1 else kind("and", parts)


def _values(operator: str, values: list[object]) -> list[object]:
    """Values as yfinance takes them: what looks like a number is one, and only that can be compared with."""
    if operator in _COMPARISONS:
        return [_number(value) for value in values]
    words = [str(value) for value in values]
    return [_number(word) if _NUMBER.fullmatch(word) else word for word in words]


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _number(value: object) -> int | float:
    text = str(value)
    if _NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
        raise ValueError(f"{text!r:.60} is no number")
    number = float(text)
    return int(number) if number.is_integer() else number
