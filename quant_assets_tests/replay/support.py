"""The real client on the loopback server, and arithmetic of our own to check its numbers with."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from http.cookiejar import Cookie
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from curl_cffi import requests

FOREVER = 4_000_000_000


class LoopbackSession(requests.Session):
    """What a browser-like session is, with every request sent to `base` instead of Yahoo."""

    def __init__(self, base: str) -> None:
        super().__init__(impersonate="chrome")
        self.base = base
        self.asked: list[str] = []

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(url)
        self.asked.append(f"{parts.hostname}{parts.path}")
        headers = {**(kwargs.pop("headers", None) or {}), "X-Forwarded-Host": str(parts.hostname)}
        query = f"?{parts.query}" if parts.query else ""
        response = super().request(
            method, f"{self.base}{parts.path}{query}", *args, headers=headers, **kwargs
        )
        response.url = url
        if parts.hostname == "fc.yahoo.com":
            # The server's cookie is for .yahoo.com, which curl refuses from a loopback address.
            assert "A3=" in response.headers["Set-Cookie"]
            # yfinance needs its expiry, and takes one after May 2033 for milliseconds, thus for past.
            self.cookies.jar.set_cookie(_a3())
        return response


def _a3() -> Cookie:
    return Cookie(
        version=0, name="A3", value="d=replay", port=None, port_specified=False, domain=".yahoo.com",
        domain_specified=True, domain_initial_dot=True, path="/", path_specified=True, secure=True,
        expires=int(time.time()) + 86_400, discard=False, comment=None, comment_url=None, rest={},
    )  # fmt: skip


def get_chart(url: str, symbol: str, start: int = 0, end: int = FOREVER, **more: str) -> httpx.Response:
    """A raw chart data request."""
    params = {"period1": str(start), "period2": str(end), "interval": "1d", "events": "div,splits", **more}
    return httpx.get(f"{url}/v8/finance/chart/{symbol}", params=params, timeout=10)


def result(response: httpx.Response) -> dict[str, Any]:
    """The one result of a good answer."""
    assert response.status_code == 200, response.text
    return response.json()["chart"]["result"][0]


def epoch(text: str) -> int:
    """ISO text with an offset, as epoch seconds."""
    return int(datetime.fromisoformat(text).timestamp())


def dates_of(answer: dict[str, Any]) -> list[date]:
    """The local dates of an answer's bars."""
    offset = {"America/New_York": -5, "Australia/Sydney": 10}[answer["meta"]["exchangeTimezoneName"]]
    return [datetime.fromtimestamp(t + offset * 3600, UTC).date() for t in answer.get("timestamp", [])]


def unadjust(answer: dict[str, Any]) -> dict[str, list[Any]]:
    """As-traded prices and volumes and declared dividends, recovered from one answer and its own events
    only: the splits later than a bar multiply it back."""
    splits = [
        (s["date"], s["numerator"] / s["denominator"])
        for s in answer.get("events", {}).get("splits", {}).values()
    ]

    def scale(stamp: int) -> float:
        out = 1.0
        for when, ratio in splits:
            if when > stamp:
                out *= ratio
        return out

    quote = answer["indicators"]["quote"][0]
    stamps = answer["timestamp"]
    out: dict[str, list[Any]] = {
        name: [_money(v, scale(t)) for v, t in zip(quote[name], stamps, strict=True)]
        for name in ("open", "high", "low", "close")
    }
    out["volume"] = [round(v / scale(t)) for v, t in zip(quote["volume"], stamps, strict=True)]
    out["dividends"] = [
        (d["date"], round(d["amount"] * scale(d["date"]), 6))
        for d in answer.get("events", {}).get("dividends", {}).values()
    ]
    return out


def _money(value: float, scale: float) -> float:
    assert value == float(np.float32(value)), "Yahoo's prices are widened float32"
    price = value * scale
    return round(price, 4 if price < 838 else 3 if price < 8380 else 2)
