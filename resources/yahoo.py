"""The Yahoo price source: the yfinance package for the protocol, our session to observe and pace it."""

from __future__ import annotations

import importlib
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from quant_assets.resources.interrupts import Interrupted, interrupted, wait_unless_interrupted
from quant_assets.resources.pacing import Pacer, RateBudgetSpent
from quant_assets.resources.settings import Settings
from quant_assets.resources.source import FetchResult, HistoryRequest, Outcome, SourceUnavailable
from quant_assets.resources.yahoo_chart import read_chart
from quant_assets.resources.yahoo_client import YAHOO, base_url, open_client

if TYPE_CHECKING:
    from quant_assets.resources.yahoo_session import ObservingSession

# A source that fails this many symbols in a row by not answering is down, not unlucky.
_DOWN_AFTER = 12

_LONGEST_PAUSE = 30.0
_RENEW_AT_MOST_EVERY = 30.0

# curl's numbers for: no proxy or host of that name, no connection, no TLS or no certificate to trust.
_CANNOT_CONNECT = (5, 6, 7, 35, 60, 77)


class _Passing(Exception):
    """A failure that may pass: worth asking again."""

    def __init__(self, result: FetchResult, wait_seconds: float | None = None) -> None:
        self.result = result
        self.wait_seconds = wait_seconds


class _NoAnswer(Exception):
    """A request ended without a whole answer; `unreachable` when not even a connection came about."""

    def __init__(self, reason: str, *, unreachable: bool) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class YahooSource:
    """Daily histories from Yahoo, or from a server that speaks its protocol.

    One retry layer (`_one`) and one pacing layer (`Pacer`). What Yahoo answers is judged from the raw status and
    body (`read_chart`). A symbol that is not found, or has no data, is asked once. When the run is interrupted
    (`resources.interrupts`) nothing more is sent: the requests under way end, and all other symbols are FAILED.

    Args:
        settings: address, pace, attempts, pauses, time-outs; `settings.clock()` is the now that requests reach
            through.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = base_url(settings)
        self._refusals = itertools.count()
        self._pacer: Pacer | None = None
        self._session: ObservingSession | None = None
        self._yf: Any = None
        self._open_lock = threading.Lock()
        self._answered = False
        self._renewable_at = 0.0

    @property
    def name(self) -> str:
        return "yahoo"

    @property
    def address(self) -> str:
        """The base URL that is asked."""
        return self._base or YAHOO

    @property
    def data_requests(self) -> int:
        return self._session.data_requests if self._session else 0

    def history(self, requests: Sequence[HistoryRequest]) -> Iterator[FetchResult]:
        if not requests:
            return
        self._open()
        queue = deque(requests)
        running: dict[Future[FetchResult], str] = {}
        unanswered = unreachable = 0
        stopped = ""
        with ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="yahoo") as pool:
            try:
                while queue or running:
                    if interrupted():
                        called_off = [future for future in running if future.cancel()]
                        for symbol in [
                            *(running.pop(future) for future in called_off),
                            *(request.symbol for request in queue),
                        ]:
                            yield _not_asked(symbol)
                        queue.clear()
                    # A short queue before the pool: what is not yet asked can still be called off.
                    while queue and len(running) < self._settings.concurrency * 2:
                        request = queue.popleft()
                        if unanswered >= _DOWN_AFTER:
                            reason = f"not asked: {stopped}"
                            yield FetchResult(request.symbol, Outcome.FAILED, reason)
                        else:
                            running[pool.submit(self._one, request)] = request.symbol
                    # With nothing to wait for this answers at once.
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    # In the order asked: a set has none, and failures in a row are counted.
                    for future in [future for future in running if future in done]:
                        del running[future]
                        result = future.result()
                        if result.facts.get("unanswered"):
                            unanswered += 1
                            consent = result.facts.get("consent")
                            stopped = result.reason if consent else "the source stopped answering"
                            unreachable += bool(result.facts.get("unreachable"))
                            # A source that has answered before is there, whatever one symbol's trouble is.
                            if not self._answered and unreachable >= min(3, len(requests)):
                                raise SourceUnavailable(
                                    f"the price source at {self.address} does not answer: {result.reason} "
                                    "(check the network, or QUANT_ASSETS_SOURCE_URL if you set it)"
                                )
                        else:
                            self._answered = True
                            unanswered = 0
                        yield result
            finally:
                for future in running:
                    future.cancel()

    def close(self) -> None:
        """Gives connections and the shared pace file back."""
        if self._pacer:
            self._pacer.close()
        if self._session:
            self._session.close()

    def _open(self) -> None:
        with self._open_lock:
            if self._session is not None:
                return
            client = open_client(self._settings)
            self._pacer, self._yf = client.pacer, client.data
            self._session = client.session

    def _renew(self) -> None:
        """Has the next request fetch new cookies, if that was not tried a moment ago."""
        from quant_assets.resources.yahoo_session import renew_cookies

        with self._open_lock:
            assert self._session is not None
            self._session.crumb_refused = False
            if time.monotonic() >= self._renewable_at:
                self._renewable_at = time.monotonic() + _RENEW_AT_MOST_EVERY
                renew_cookies(self._yf)

    def _one(self, request: HistoryRequest) -> FetchResult:
        started = time.monotonic()
        number, result = 0, _not_asked(request.symbol)
        try:
            for number in range(1, self._settings.attempts + 1):
                try:
                    result = self._ask(request)
                    break
                except _Passing as error:
                    result = error.result
                    if number > 1 and result.facts.get("consent"):
                        # With new cookies as well: a third time is no other.
                        break
                    # Libraries that retry sleep through an interrupt.
                    if number < self._settings.attempts and wait_unless_interrupted(
                        self._pause(number, error)
                    ):
                        break
        except RateBudgetSpent as error:
            result = FetchResult(request.symbol, Outcome.RATE_LIMITED, f"rate-limited: {error}")
        except Interrupted:
            number -= 1
        facts = {**result.facts, "attempts": number, "seconds": time.monotonic() - started}
        return replace(result, facts=facts)

    def _pause(self, number: int, error: _Passing) -> float:
        """Seconds to wait after the failure of attempt `number`: twice as long each time, with jitter."""
        if error.wait_seconds is not None:
            return error.wait_seconds
        first = self._settings.retry_wait_seconds
        return min(_LONGEST_PAUSE, first * 2 ** (number - 1) + random.uniform(0, first))

    def _ask(self, request: HistoryRequest) -> FetchResult:
        """One attempt. Raises _Passing when asking again may help; RateBudgetSpent, Interrupted when it must not
        be tried."""
        try:
            status, body, retry_after = self._chart(request)
        except _NoAnswer as error:
            facts = {"status": 0, "unanswered": True, "unreachable": error.unreachable}
            raise _Passing(FetchResult(request.symbol, Outcome.FAILED, str(error), facts=facts)) from error
        result = read_chart(
            status,
            body,
            symbol=request.symbol,
            zone=request.zone,
            close=request.close,
            sessions=request.sessions,
        )
        if result.outcome is Outcome.RATE_LIMITED:
            seconds = retry_after
            if seconds is None:
                seconds = min(60.0, self._settings.cool_down_seconds * 2 ** min(next(self._refusals), 6))
            assert self._pacer is not None
            self._pacer.cool_down(seconds)
            raise _Passing(result, wait_seconds=0.0)
        assert self._session is not None
        if result.facts.get("consent") or self._session.crumb_refused:
            self._renew()
        if result.outcome is Outcome.FAILED:
            raise _Passing(result)
        self._refusals = itertools.count()
        return result

    def _chart(self, request: HistoryRequest) -> tuple[int, bytes, float | None]:
        """Status, body and Retry-After of one chart request. Raises _NoAnswer, RateBudgetSpent, Interrupted."""
        yfinance_error: Any = importlib.import_module("yfinance.exceptions").YFException

        from quant_assets.resources.yahoo_session import ChartRefused

        start = datetime.combine(request.start, datetime.min.time(), tzinfo=UTC) - timedelta(days=1)
        # Through now, whatever range is wanted: a later split rescales everything before it.
        end = self._settings.clock() + timedelta(days=1)
        params = {
            "period1": int(start.timestamp()),
            "period2": int(end.timestamp()),
            "interval": "1d",
            "includePrePost": "false",
            "events": "div,splits,capitalGains",
        }
        try:
            response = self._yf.get(
                f"{YAHOO}/v8/finance/chart/{quote(request.symbol, safe='')}",
                params=params,
                timeout=self._settings.timeout_seconds,
            )
        except ChartRefused as refused:
            return refused.status, refused.body, refused.retry_after
        except (yfinance_error, OSError) as error:
            # All errors of curl_cffi's are OSErrors.
            text = f"no answer ({type(error).__name__}: {str(error)[:160]})"
            raise _NoAnswer(text, unreachable=getattr(error, "code", None) in _CANNOT_CONNECT) from error
        return int(response.status_code), bytes(response.content), None


def _not_asked(symbol: str) -> FetchResult:
    return FetchResult(symbol, Outcome.FAILED, "not asked: the run was interrupted")
