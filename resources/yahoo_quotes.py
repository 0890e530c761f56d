"""Yahoo's quotes: what it says of many symbols at this moment, some hundred of them a request, through yfinance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from quant_assets.resources.asking_again import Passing, StillFailing, ask_again
from quant_assets.resources.pacing import RateBudgetSpent
from quant_assets.resources.settings import Settings
from quant_assets.resources.yahoo_client import answer_of, open_client

if TYPE_CHECKING:
    from quant_assets.resources.yahoo_client import YahooClient

_QUOTE = "https://query1.finance.yahoo.com/v7/finance/quote"
_PARAMS = {"formatted": "false", "lang": "en-US", "region": "US"}
CHUNK = 200
"""Symbols a request: their names make an address of two or three thousand characters."""
_FAILURES_IN_A_ROW = 2
"""Requests that fail one after the other, each with all its attempts, before the rest is not asked for."""


@dataclass
class Quoted:
    """What came of asking for some symbols."""

    quotes: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """By symbol what Yahoo says of it, as it says it: any field may be absent, or hold anything."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """By symbol why it could not be asked for. A symbol in neither was asked for and not answered."""


class Quotes:
    """Asks for Yahoo's quotes, or a server that speaks its protocol, at the pace of the source of prices.

    Args:
        settings: address, pace, attempts, pauses, time-outs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: YahooClient | None = None

    def quoted(self, symbols: Sequence[str]) -> Quoted:
        """The quotes of symbols. A request that fails for good costs its own symbols; when two in a row do, or the
        time for rate limits is spent, the rest is not asked for. Raises Interrupted."""
        found = Quoted()
        in_a_row, stopped = 0, ""
        for at in range(0, len(symbols), CHUNK):
            chunk = symbols[at : at + CHUNK]
            if not stopped:
                try:
                    answered = self._asked(chunk)
                except (StillFailing, RateBudgetSpent) as error:
                    in_a_row += 1
                    found.failed |= dict.fromkeys(chunk, str(error))
                    if in_a_row == _FAILURES_IN_A_ROW or isinstance(error, RateBudgetSpent):
                        stopped = str(error)
                else:
                    in_a_row = 0
                    found.quotes |= {symbol: answered[symbol] for symbol in chunk if symbol in answered}
                continue
            found.failed |= dict.fromkeys(chunk, f"not asked for any more: {stopped}")
        return found

    def close(self) -> None:
        """Gives connections and the shared pace file back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _asked(self, symbols: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        client = self._client = self._client or open_client(self._settings)
        params = {**_PARAMS, "symbols": ",".join(symbols)}
        timeout = self._settings.timeout_seconds

        def ask() -> dict[str, Mapping[str, Any]]:
            return read_quotes(
                *answer_of(self._settings, lambda: client.data.get(_QUOTE, params=params, timeout=timeout))
            )

        return ask_again(self._settings, ask, client.pacer)


def read_quotes(status: int, body: bytes) -> dict[str, Mapping[str, Any]]:
    """The quotes in an answer by symbol, of one that is there twice the first. Raises Passing for what is none."""
    try:
        # Not orjson: Yahoo writes NaN as a number now and then, which is a fault of one field and no reason to
        # throw two hundred quotes away.
        answer: Any = json.loads(body)
        response: Any = answer["quoteResponse"]
        error, results = response.get("error"), response["result"]
        if status != 200 or error or not isinstance(results, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
        start = " ".join(body[:60].decode("utf-8", "replace").split())
        raise Passing(f"it answered with status {status} and no quotes ({start!r}…)") from wrong
    quotes: dict[str, Mapping[str, Any]] = {}
    for one in cast("list[object]", results):
        if isinstance(one, dict):
            quote = cast("dict[str, Any]", one)
            if isinstance(symbol := quote.get("symbol"), str):
                quotes.setdefault(symbol, quote)
    return quotes
