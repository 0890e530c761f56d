"""yfinance's client on a session of ours: one for each that asks, with cookies and pace of the host that is asked."""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quant_assets.resources.asking_again import Passing
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.settings import Settings
from quant_assets.resources.shared_redis import open_shared

if TYPE_CHECKING:
    from quant_assets.resources.shared_pace import SharedPace
    from quant_assets.resources.yahoo_session import ObservingSession

YAHOO = "https://query2.finance.yahoo.com"


@dataclass(frozen=True)
class YahooClient:
    """What requests to Yahoo are sent with. `data` is yfinance's own (YfData): it has no types."""

    session: ObservingSession
    pacer: Pacer
    data: Any

    def close(self) -> None:
        """Gives connections and the shared pace file back."""
        self.pacer.close()
        self.session.close()


def base_url(settings: Settings) -> str:
    """The server that is asked instead of Yahoo; "" for Yahoo itself."""
    return (settings.source_url or "").rstrip("/")


def cache_folder(settings: Settings) -> Path:
    """Where cookies and the shared pace lie. They belong to a host: a replay server's must never reach Yahoo, nor
    the other way round."""
    host = urlsplit(base_url(settings) or YAHOO).hostname or ""
    return (
        Path(settings.home).absolute() / "cache" / f"source-{hashlib.sha256(host.encode()).hexdigest()[:12]}"
    )


def open_client(settings: Settings) -> YahooClient:
    """A client of its own."""
    # Imported on first use: yfinance costs seconds, and loading the definitions must not pay for it.
    yfinance: Any = importlib.import_module("yfinance")
    yfinance_data: Any = importlib.import_module("yfinance.data")
    from quant_assets.resources.yahoo_session import ObservingSession

    cache = cache_folder(settings)
    cache.mkdir(parents=True, exist_ok=True)
    yfinance.set_tz_cache_location(str(cache))
    # The package goes on using the cookie file that it opened first in this process, which may be another
    # host's: a cookie belongs to the host that set it.
    yfinance_cache: Any = importlib.import_module("yfinance.cache")
    yfinance_cache._CookieCacheManager._Cookie_cache = None
    pacer = Pacer(
        settings.requests_per_second,
        settings.rate_limit_budget_seconds,
        cache / "pace.sqlite",
        _over_machines(settings, cache.name),
    )
    session = ObservingSession(base_url(settings), settings.timeout_seconds, pacer)
    # YfData makes itself one per process, whose session the last source to open would replace: this
    # one's questions would then go to another address. So each source gets an instance of its own.
    data = type.__call__(yfinance_data.YfData, session=session)
    # What failed is in the results; by itself it prints that as well.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    return YahooClient(session, pacer, data)


def _over_machines(settings: Settings, source: str) -> SharedPace | None:
    """The pace of all machines; None where there is one machine, or no pace."""
    if not settings.requests_per_second or (shared := open_shared(settings)) is None:
        return None
    from quant_assets.resources.shared_pace import SharedPace

    return SharedPace(shared, source, settings.requests_per_second, settings.workers)


def answer_of(settings: Settings, send: Callable[[], Any]) -> tuple[int, bytes]:
    """Status and body of what `send` (one of YfData's requests) is answered.

    Raises Passing for no answer, and for a status that says nothing of what was asked; RateBudgetSpent, Interrupted.
    """
    from curl_cffi.requests.exceptions import RequestException

    yfinance_errors: Any = importlib.import_module("yfinance.exceptions")
    try:
        response = send()
    except yfinance_errors.YFRateLimitError as error:
        raise Passing("it answered with status 429 (too many requests)", rate_limited=True) from error
    except (RequestException, yfinance_errors.YFException, OSError) as error:
        text = " ".join(str(error).split()).partition(" See https")[0][:160]
        address = base_url(settings) or YAHOO
        raise Passing(f"no answer from {address} ({type(error).__name__}: {text})") from error
    status = int(response.status_code)
    if status == 429:
        raise Passing("it answered with status 429 (too many requests)", rate_limited=True)
    if status in (401, 403, 999) or status >= 500:
        raise Passing(f"it answered with status {status}")
    return status, bytes(response.content)
