"""The HTTP session that yfinance uses: paced, counted, redirected to the configured address, and observed."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from http.cookiejar import Cookie
from typing import Any
from urllib.parse import urlsplit

from curl_cffi import CurlHttpVersion
from curl_cffi.requests import Response, Session

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.counters import DATA_REQUESTS, count
from quant_assets.resources.pacing import Pacer

_CHART = re.compile(r"/v8/finance/chart/[^/?]+")
_CRUMB_PATH = "/v1/test/getcrumb"
# A crumb is one short word. What comes in its place is a page, "Too Many Requests", or an error in JSON.
_CRUMB = re.compile(r"[^\s<>{}]{1,64}")
_LONGEST_CRUMB_PAUSE = 60.0


class ChartRefused(QuantAssetsError):
    """A chart request was answered with an error status; carries the raw answer.

    Raised through yfinance, which would otherwise change its cookies and ask a second time.
    """

    def __init__(self, status: int, body: bytes, retry_after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after


class NoCrumb(QuantAssetsError, OSError):
    """What came instead of a crumb is none, or it is too early to ask for one again.

    An OSError, for which yfinance asks on without a crumb (charts need none); anything else it would keep and send
    along with every request, a whole page too.
    """


class ObservingSession(Session[Response]):
    """A browser-like session for yfinance.

    Args:
        base_url: where every request goes instead of Yahoo, its path and query kept and the host it was meant for
            in `X-Forwarded-Host`; "" for Yahoo itself.
        timeout_seconds: upper bound of every request, cookie and crumb requests included.
        pacer: asked before every request.
    """

    def __init__(self, base_url: str, timeout_seconds: float, pacer: Pacer) -> None:
        # A plain loopback server knows no HTTP/2, and says so about every offer to upgrade.
        version = CurlHttpVersion.V1_1 if base_url.startswith("http://") else None
        super().__init__(impersonate="chrome", http_version=version)
        self._base_url = base_url
        self._limit = timeout_seconds
        self._pacer = pacer
        self._counts: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._no_crumb_until = 0.0
        self._crumb_pause = 0.0
        self.crumb_refused = False
        """Whether what came for the last crumb was none: new cookies may be the cure. Whoever renews them says so."""

    @property
    def data_requests(self) -> int:
        """Chart requests sent so far."""
        return self._counts["data"]

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        asked = str(url)
        parts = urlsplit(asked)
        is_chart = _CHART.fullmatch(parts.path) is not None
        timeout = kwargs.get("timeout")
        kwargs["timeout"] = min(timeout, self._limit) if isinstance(timeout, (int, float)) else self._limit
        target = asked
        if self._base_url:
            target = f"{self._base_url}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "X-Forwarded-Host": parts.netloc}
        is_crumb = parts.path == _CRUMB_PATH
        if is_crumb and time.monotonic() < self._no_crumb_until:
            raise NoCrumb("no crumb to be had a moment ago")
        self._pacer.wait()
        with self._count_lock:
            self._counts["data" if is_chart else "other"] += 1
        if is_chart:
            count(DATA_REQUESTS)
        response = super().request(method, target, *args, **kwargs)  # type: ignore[arg-type]
        if self._base_url:
            # yfinance looks at the final URL for Yahoo's consent page, and at the cookie jar for Yahoo's domain.
            response.url = asked
            if parts.netloc == "fc.yahoo.com":
                cookies: Any = self.cookies
                cookies.jar.set_cookie(_yahoo_cookie())
        if is_crumb:
            self._judge_crumb(response)
        # 401 is left to yfinance: it then fetches a new crumb, which is the cure.
        if is_chart and response.status_code >= 400 and response.status_code != 401:
            raise ChartRefused(response.status_code, response.content, _retry_after(response))
        return response

    def _judge_crumb(self, response: Response) -> None:
        """Raises NoCrumb when this is none; then nobody asks for one for a while, each time longer."""
        if response.status_code == 200 and _CRUMB.fullmatch(response.text.strip()):
            self._crumb_pause = 0.0
            return
        self._crumb_pause = min(_LONGEST_CRUMB_PAUSE, max(1.0, 2 * self._crumb_pause))
        self._no_crumb_until = time.monotonic() + self._crumb_pause
        self.crumb_refused = True
        raise NoCrumb(f"status {response.status_code} and no crumb")


def renew_cookies(yfinance_data: Any) -> None:
    """Has the next request of a YfData (yfinance 1.7.0) fetch a new cookie and crumb: it forgets both, on disk too.

    It then goes yfinance's second way, which gives the consent that a consent page asks for.
    """
    from yfinance import cache

    with yfinance_data._cookie_lock:
        yfinance_data._cookie = yfinance_data._crumb = None
        yfinance_data._session.cookies.clear()
        yfinance_data._cookie_strategy = "csrf"
        stored: Any = cache.get_cookie_cache()
        stored.store("curlCffi", None)


def _yahoo_cookie() -> Cookie:
    # yfinance keeps the cookie between processes and cannot read back one that never expires.
    return Cookie(
        version=0,
        name="A3",
        value="replay",
        port=None,
        port_specified=False,
        domain=".yahoo.com",
        domain_specified=True,
        domain_initial_dot=True,
        path="/",
        path_specified=True,
        secure=False,
        expires=int(time.time()) + 86_400,
        discard=False,
        comment=None,
        comment_url=None,
        rest={},
    )


def _retry_after(response: Response) -> float | None:
    value = response.headers.get("Retry-After")
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
