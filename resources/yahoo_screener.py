"""Yahoo's screener: the listings that match a query, all pages of them, through yfinance."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.asking_again import Passing, StillFailing, ask_again
from quant_assets.resources.pacing import RateBudgetSpent
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo_client import answer_of, open_client

if TYPE_CHECKING:
    from quant_assets.resources.yahoo_client import YahooClient

_SCREENER = "https://query1.finance.yahoo.com/v1/finance/screener"
_PARAMS = {"corsDomain": "finance.yahoo.com", "formatted": "false", "lang": "en-US", "region": "US"}
PAGE = 250
"""Listings a page: the most that Yahoo gives."""
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
        assert self._client is not None
        try:
            return ask_again(self._settings, lambda: self._ask(query, asset_type, offset), self._client.pacer)
        except (StillFailing, RateBudgetSpent) as error:
            raise ScreenFailed(str(error), "try again later") from error

    def _ask(
        self, query: Mapping[str, Any], asset_type: AssetType, offset: int
    ) -> tuple[int, list[Screened]]:
        """One attempt at one page: how many listings match in all, and those of the page."""
        import orjson

        assert self._client is not None
        data = self._client.data
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
        status, answered = answer_of(
            self._settings,
            lambda: data.post(
                _SCREENER,
                data=orjson.dumps(body).decode(),
                params=_PARAMS,
                timeout=self._settings.timeout_seconds,
            ),
        )
        return read_screen(status, answered)


def read_screen(status: int, body: bytes) -> tuple[int, list[Screened]]:
    """How many listings match, and those of this page. Raises ScreenFailed, and Passing for what is no answer."""
    import orjson

    try:
        answer: Any = orjson.loads(body)
        finance: Any = answer["finance"]
        error, results = finance.get("error"), finance.get("result")
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        start = " ".join(body[:60].decode("utf-8", "replace").split())
        raise Passing(f"it answered with status {status} and no screen ({start!r}…)") from wrong
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
        raise Passing("it answered with a screen that has no listings in it") from wrong
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
