"""Chart answers with their faults: from a symbol and a query to an HTTP response, good or broken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from quant_assets.replay.chart_effects import chart_under, in_order
from quant_assets.replay.convention import YahooSeries, to_yahoo
from quant_assets.replay.event_effects import Asked
from quant_assets.replay.fault_book import FaultBook
from quant_assets.replay.faults import Fault
from quant_assets.replay.history import SymbolTruth
from quant_assets.replay.kinds import STATES, FaultKind
from quant_assets.replay.pages import CONSENT_PAGE
from quant_assets.replay.periods import INTERVALS, by_period
from quant_assets.replay.protocol import (
    NOT_FOUND,
    Chart,
    ChartQuery,
    chart,
    error_body,
    no_data_body,
    render_chart,
)
from quant_assets.replay.series_effects import series_under
from quant_assets.replay.truth_effects import basis_under, truth_under
from quant_assets.replay.world import World

Drop = Callable[[tuple[str, int]], None]

_TOO_MANY = "Too Many Requests\r\n"
_HTML_500 = (
    "<html><head><title>500 Internal Server Error</title></head>"
    "<body><h1>Internal Server Error</h1></body></html>"
)


class ChartAnswers:
    """Answers chart requests of `world`, broken as `faults` say; counts data statuses and fired faults."""

    def __init__(self, world: World, faults: FaultBook, statuses: Counter[str], fired: Counter[str]) -> None:
        self._world = world
        self._faults = faults
        self._statuses = statuses
        self._fired = fired
        self.drop_connection: Drop = lambda client: None

    def probe(self, symbol: str, query: ChartQuery) -> Response:
        """A range=1d request: metadata and the last bar; faults do not touch it."""
        return self._good(symbol, query, [])

    def data(self, symbol: str, query: ChartQuery) -> Response:
        """Any other chart request."""
        drawn = self._faults.draw(symbol, self._world.now)
        for fault in drawn:
            self._fired[fault.kind.value] += 1
        states = [fault for fault in drawn if fault.kind in STATES]
        failure = next((fault for fault in drawn if fault.kind not in STATES), None)
        response = self._broken(failure, symbol, query, states) if failure else None
        if response is None:
            response = self._good(symbol, query, states)
        self._statuses[str(response.status_code)] += 1
        return response

    def _good(
        self, symbol: str, query: ChartQuery, states: list[Fault], bend: Fault | None = None
    ) -> Response:
        if query.interval not in INTERVALS:
            message = f"Invalid input - interval={query.interval} is not supported"
            return _json(error_body("chart", "Unprocessable Entity", message), 422)
        info = self._world.listing(symbol)
        basis = None if info is None else basis_under(states, self._world.truth(info), self._world.history)
        if info is None or basis is None:
            return _json(NOT_FOUND, 404)
        today = self._world.as_of(info.venue).actions_through
        truth = truth_under(states, basis, today)
        quoted = self._series(basis)
        told = quoted if truth is basis else self._series(truth)
        series = series_under(states, told, truth, today)
        # A wrong bar is no reason for a wrong price of today: that comes from elsewhere.
        answer = chart(self._world, info, series, query, quoted)
        # The live bar comes first: what is wrong with the bars is wrong with it too.
        if bend is not None and bend.kind is FaultKind.LIVE_PARTIAL_BAR:
            answer = self._with_live_bar(truth, answer)
        for fault in in_order(states if bend is None else [*states, bend]):
            answer = chart_under(fault, answer, Asked(info, query, series))
        answer = by_period(info.venue, answer, query, series)
        # A session that has no bar yet may already have its ex-date: then there is something to tell.
        if query.period1 is not None and not (
            len(answer.timestamps) or answer.dividends or answer.gains or answer.splits
        ):
            period2 = query.period2 if query.period2 is not None else int(self._world.now.timestamp())
            return _json(no_data_body(query, period2), 400)
        return _json(render_chart(answer))

    def _series(self, truth: SymbolTruth) -> YahooSeries:
        info = truth.info
        if truth is self._world.truth(info):
            return self._world.series(info)
        state = self._world.as_of(info.venue)
        return to_yahoo(truth, state.actions_through, state.bars_through)

    def _with_live_bar(self, truth: SymbolTruth, answer: Chart) -> Chart:
        """Add today's unfinished bar, as Yahoo does: stamped now, with half the day's range and volume."""
        state = self._world.as_of(truth.info.venue)
        if state.bars_through >= state.local_date:
            return answer
        today = to_yahoo(truth, state.actions_through, state.local_date)
        if not len(today.dates) or today.dates[-1] != np.datetime64(state.local_date, "D"):
            return answer
        opened, high, low, close = today.prices[:, -1]
        so_far = (opened + close) / 2
        partial = np.array(
            [opened, max(opened, (high + so_far) / 2), min(opened, (low + so_far) / 2), so_far],
            dtype=np.float32,
        ).astype(np.float64)
        now = int(state.now.timestamp())
        return replace(
            answer,
            meta={**answer.meta, "regularMarketTime": now, "regularMarketPrice": float(partial[3])},
            timestamps=np.append(answer.timestamps, now),
            prices=np.column_stack([answer.prices, partial]).copy(order="C"),
            adjclose=np.append(answer.adjclose, float(partial[3])),
            volume=np.append(answer.volume, today.volume[-1] // 2),
        )

    def _broken(self, fault: Fault, symbol: str, query: ChartQuery, states: list[Fault]) -> Response | None:
        kind = fault.kind
        if kind in _FIXED:
            status, body, media_type = _FIXED[kind]
            headers = (
                {"Retry-After": str(fault.retry_after)}
                if kind is FaultKind.RATE_LIMITED_429_RETRY_AFTER
                else None
            )
            return Response(body, status, media_type=media_type, headers=headers)
        if kind is FaultKind.TOO_MANY_REQUESTS_TEXT:
            return Response(_TOO_MANY, fault.status, media_type="text/html")
        if kind is FaultKind.HANG:
            return _Late(None, fault.seconds, self.drop_connection)
        if kind is FaultKind.WRONG_SYMBOL:
            return self._good(fault.other or self._neighbour(symbol), query, states)
        good = self._good(symbol, query, states, bend=fault)
        if kind is FaultKind.SLOW:
            return _Late(good, fault.seconds, self.drop_connection)
        if kind is FaultKind.MALFORMED_JSON:
            body = bytes(good.body)
            return Response(body[: max(1, len(body) * 2 // 3)], 200, media_type="application/json")
        if kind is FaultKind.TRUNCATED:
            return _Truncated(bytes(good.body), self.drop_connection)
        return good

    def _neighbour(self, symbol: str) -> str:
        known = [s for s in self._world.symbols if s != symbol and self._world.listing(s)]
        return next((s for s in known if s > symbol), known[0] if known else symbol)


_FIXED: dict[FaultKind, tuple[int, bytes | str, str]] = {
    FaultKind.NOT_FOUND_404: (404, NOT_FOUND, "application/json"),
    FaultKind.RATE_LIMITED_429: (429, _TOO_MANY, "text/html"),
    FaultKind.RATE_LIMITED_429_RETRY_AFTER: (429, _TOO_MANY, "text/html"),
    FaultKind.CONSENT_PAGE: (200, CONSENT_PAGE, "text/html"),
    FaultKind.SERVER_ERROR_500_HTML: (500, _HTML_500, "text/html"),
    FaultKind.SERVER_ERROR_500_JSON: (
        500,
        error_body("chart", "Internal Server Error", "Internal Server Error"),
        "application/json",
    ),
    FaultKind.UNAUTHORIZED_401: (
        401,
        error_body("finance", "Unauthorized", "Invalid Crumb"),
        "application/json",
    ),
    FaultKind.EMPTY_BODY: (200, b"", "application/json"),
}


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


class _Late(Response):
    """`then` after `seconds`, or the end of the connection without an answer; over when the client leaves."""

    def __init__(self, then: Response | None, seconds: float, drop: Drop) -> None:
        super().__init__(b"", then.status_code if then else 200)
        self._then = then
        self._seconds = seconds
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await _client_left(receive, self._seconds):
            return
        if self._then is not None:
            await self._then(scope, receive, send)
            return
        self._drop(scope["client"])
        await _client_left(receive, 5.0)


class _Truncated(Response):
    """The head of a body whose Content-Length promises all of it, then the end of the connection."""

    def __init__(self, body: bytes, drop: Drop) -> None:
        super().__init__(body, 200, media_type="application/json")
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half: Any = bytes(self.body)[: max(1, len(self.body) // 2)]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        self._drop(scope["client"])
        await _client_left(receive, 5.0)


async def _client_left(receive: Receive, seconds: float) -> bool:
    """Wait up to `seconds`; True as soon as the client is gone."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
