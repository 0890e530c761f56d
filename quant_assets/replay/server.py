"""The HTTP application: Yahoo's paths as yfinance asks for them, and our own controls under /__replay__/.

GET            /__replay__/health
GET, PUT       /__replay__/clock     {"now": "2013-03-01T23:00:00Z"} | {"today": "2013-03-01"} | {"now": null}
POST, DELETE   /__replay__/faults    a list of faults (see `faults.Fault`)
GET, DELETE    /__replay__/stats     requests by kind, chart data requests by symbol and by status
GET            /__replay__/log       [seconds, symbol] of every chart request, in order
GET            /__replay__/catalog   the listings known by the clock
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter, deque
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES

from quant_assets.replay import discovery
from quant_assets.replay.answers import ChartAnswers
from quant_assets.replay.errors import LaunchError, ReplayError
from quant_assets.replay.fault_book import FaultBook
from quant_assets.replay.faults import Fault
from quant_assets.replay.pages import UNAVAILABLE_PAGE, html_crumb
from quant_assets.replay.protocol import ChartQuery, error_body
from quant_assets.replay.world import World, parse_moment

_CRUMB = "replay.crumb"
# A year, as Yahoo's. Not longer: yfinance takes an expiry after May 2033 for milliseconds, thus for past.
_COOKIE = "A3=d=replay&S=replay; Max-Age=31557600; Domain=.yahoo.com; Path=/; SameSite=None; Secure; HttpOnly"
_CONSENT = (
    '<html><body><form><input type="hidden" name="csrfToken" value="replay">'
    '<input type="hidden" name="sessionId" value="replay"></form></body></html>'
)


class Stats:
    """Requests since the start or the last reset."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.chart_data: Counter[str] = Counter()
        self.chart_status: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.log: deque[tuple[float, str]] = deque(maxlen=100_000)
        """Of the last chart requests the moment (monotonic seconds) and the symbol."""

    def reset(self) -> None:
        """Count from zero, in the same counters: others hold on to them."""
        for counter in (self.requests, self.chart_data, self.chart_status, self.faults):
            counter.clear()
        self.log.clear()

    def as_dict(self) -> dict[str, dict[str, int]]:
        """requests (by kind), chart_data (by symbol), chart_status, faults (fired, by kind)."""
        return {
            "requests": dict(self.requests),
            "chart_data": dict(self.chart_data),
            "chart_status": dict(self.chart_status),
            "faults": dict(self.faults),
        }


class ReplayApp:
    """The state behind the routes; `asgi` is the application."""

    def __init__(self, world: World, faults: FaultBook | None = None) -> None:
        self.world = world
        self.faults = faults if faults is not None else FaultBook()
        self.stats = Stats()
        self.charts = ChartAnswers(self.world, self.faults, self.stats.chart_status, self.stats.faults)
        self.asgi = Starlette(routes=self._routes())

    def _routes(self) -> list[Route]:
        return [
            Route("/v8/finance/chart/{symbol}", self.chart),
            Route("/", self.cookie),
            Route("/consent", self.consent),
            Route("/copyConsent", self.consent),
            Route("/v2/collectConsent", self.consent, methods=["POST"]),
            Route("/v1/test/getcrumb", self.crumb),
            Route("/v7/finance/quote", self.quote),
            Route("/v10/finance/quoteSummary/{symbol}", self.quote_summary),
            Route("/ws/fundamentals-timeseries/v1/finance/timeseries/{symbol}", self.fundamentals),
            Route("/v1/finance/screener", self.screener, methods=["POST"]),
            Route("/v1/finance/search", self.search),
            Route("/v1/finance/lookup", self.search),
            Route("/__replay__/health", self.health),
            Route("/__replay__/clock", self.clock, methods=["GET", "PUT"]),
            Route("/__replay__/faults", self.change_faults, methods=["POST", "DELETE"]),
            Route("/__replay__/stats", self.show_stats, methods=["GET", "DELETE"]),
            Route("/__replay__/log", self.show_log),
            Route("/__replay__/catalog", self.catalog),
            Route("/{rest:path}", self.other, methods=["GET", "POST", "PUT", "DELETE"]),
        ]

    # Yahoo's paths

    async def chart(self, request: Request) -> Response:
        """Chart v8: bars, actions and metadata of one symbol."""
        if _has_no_crumb(request):
            return self._unauthorized()
        symbol = request.path_params["symbol"].upper()
        try:
            query = ChartQuery.parse(request.query_params)
        except ValueError as error:
            self.stats.requests["other"] += 1
            return _json(error_body("chart", "Bad Request", str(error)), 400)
        if query.is_probe:
            self.stats.requests["chart_probe"] += 1
            return self.charts.probe(symbol, query)
        self.stats.requests["chart_data"] += 1
        self.stats.chart_data[symbol] += 1
        self.stats.log.append((time.monotonic(), symbol))
        return self.charts.data(symbol, query)

    async def cookie(self, request: Request) -> Response:
        """What fc.yahoo.com is asked for: nothing but its cookie."""
        self.stats.requests["cookie"] += 1
        return Response("", media_type="text/html", headers={"Set-Cookie": _COOKIE})

    async def consent(self, request: Request) -> Response:
        """The European consent page, yfinance's second way to a cookie."""
        self.stats.requests["cookie"] += 1
        return Response(_CONSENT, media_type="text/html", headers={"Set-Cookie": _COOKIE})

    async def crumb(self, request: Request) -> Response:
        """The crumb: a word every later request carries."""
        self.stats.requests["crumb"] += 1
        fault = self.faults.draw_crumb(self.world.now)
        if fault is not None:
            self.stats.faults[fault.kind.value] += 1
            return Response(html_crumb(), media_type="text/html")
        return Response(_CRUMB, media_type="text/plain")

    async def quote(self, request: Request) -> Response:
        """Quote v7: many symbols in one call."""
        self.stats.requests["quote"] += 1
        if _has_no_crumb(request):
            return self._unauthorized()
        if (fault := self.faults.draw_quotes(self.world.now)) is not None:
            self.stats.faults[fault.kind.value] += 1
            return Response(UNAVAILABLE_PAGE, 503, media_type="text/html")
        symbols = [s for s in request.query_params.get("symbols", "").upper().split(",") if s]
        return _json(discovery.quotes(self.world, symbols))

    async def quote_summary(self, request: Request) -> Response:
        """quoteSummary v10, which yfinance tries for symbols it cannot place."""
        self.stats.requests["quote"] += 1
        if _has_no_crumb(request):
            return self._unauthorized()
        symbol = request.path_params["symbol"].upper()
        info = self.world.listing(symbol)
        if info is None:
            return _json(
                error_body("quoteSummary", "Not Found", f"Quote not found for symbol: {symbol}"), 404
            )
        return _json(discovery.quote_summary(info))

    async def fundamentals(self, request: Request) -> Response:
        """The time series that `Ticker.info` asks for besides: there are none."""
        self.stats.requests["quote"] += 1
        return _json({"timeseries": {"result": [], "error": None}})

    async def screener(self, request: Request) -> Response:
        """A custom screen, one page."""
        self.stats.requests["screener"] += 1
        if _has_no_crumb(request):
            return self._unauthorized()
        try:
            return _json(discovery.screen(self.world, orjson.loads(await request.body())))
        except (ValueError, KeyError, TypeError) as error:
            return _json(error_body("finance", "Bad Request", f"invalid screen: {error}"), 400)

    async def search(self, request: Request) -> Response:
        """Search and lookup by symbol or name."""
        self.stats.requests["search"] += 1
        params = request.query_params
        try:
            if request.url.path.endswith("lookup"):
                body = discovery.lookup(self.world, params.get("query", ""), int(params.get("count", "25")))
            else:
                body = discovery.search(self.world, params.get("q", ""), int(params.get("quotesCount", "8")))
        except ValueError as error:
            return _json(error_body("finance", "Bad Request", str(error)), 400)
        return _json(body)

    async def other(self, request: Request) -> Response:
        """Anything else: Yahoo has it, the replay does not."""
        self.stats.requests["other"] += 1
        message = f"the replay server has no {request.url.path}"
        return _json(error_body("finance", "Not Found", message), 404)

    def _unauthorized(self) -> Response:
        self.stats.requests["bad_crumb"] += 1
        return _json(error_body("finance", "Unauthorized", "Invalid Crumb"), 401)

    # Our controls

    async def health(self, request: Request) -> Response:
        """Ready to answer."""
        return _json({"status": "ok", "symbols": len(self.world.symbols)})

    async def clock(self, request: Request) -> Response:
        """Read or move the clock."""
        if request.method == "PUT":
            try:
                asked = orjson.loads(await request.body())
                if not isinstance(asked, dict) or not ({"now", "today"} & set(asked)):
                    raise ReplayError('send {"now": moment}, {"today": date} or {"now": null}')
                value = asked.get("today", asked.get("now"))
                self.world.set_now(None if value is None else parse_moment(value))
            except (ReplayError, orjson.JSONDecodeError, TypeError) as error:
                return _json({"error": str(error)}, 400)
        return _json({"now": self.world.now.isoformat(), "frozen": self.world.frozen})

    async def change_faults(self, request: Request) -> Response:
        """Add faults to those in force, or clear them all."""
        if request.method == "DELETE":
            self.faults.clear()
        else:
            try:
                self.faults.add(parse_faults(orjson.loads(await request.body())))
            except (ReplayError, orjson.JSONDecodeError) as error:
                return _json({"error": str(error)}, 400)
        return _json({"in_force": len(self.faults)})

    async def show_stats(self, request: Request) -> Response:
        """What was asked so far."""
        body = self.stats.as_dict()
        if request.method == "DELETE":
            self.stats.reset()
        return _json(body)

    async def show_log(self, request: Request) -> Response:
        """When each chart was asked for."""
        return _json(list(self.stats.log))

    async def catalog(self, request: Request) -> Response:
        """The listings known by the clock."""
        return _json(self.world.catalog())


def parse_faults(raw: Any) -> list[Fault]:
    """Faults from their JSON form, a list of objects or one object; FaultError when one is wrong."""
    items = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(item, dict) for item in items):
        raise ReplayError("faults are a list of objects")
    return [Fault.from_dict(item) for item in items]


def _has_no_crumb(request: Request) -> bool:
    """Whether a page was brought in place of a crumb. Without any, charts are given, as Yahoo does."""
    return "<" in request.query_params.get("crumb", "")


def _json(body: Any, status: int = 200) -> Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(content, status, media_type="application/json")


def listen(port: int) -> socket.socket:
    """A socket bound to 127.0.0.1 (never further); port 0 takes any free one. LaunchError when taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Without this a port stays unusable for a minute after a server on it has ended.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(512)
    except (OSError, OverflowError) as error:
        sock.close()
        raise LaunchError(
            f"cannot listen on 127.0.0.1:{port} ({error}): choose another port, or 0 for any free one"
        ) from error
    return sock


def run(app: ReplayApp, sock: socket.socket, on_ready: Any = None) -> None:
    """Serve until interrupted; `on_ready(url)` is called once requests are answered."""
    config = uvicorn.Config(
        app.asgi,
        # curl offers h2c on plain HTTP: httptools then loses the body of a POST, and each offer is a warning.
        http="h11",
        # A page that is sent as a crumb has to be read before it can be refused.
        h11_max_incomplete_event_size=1 << 20,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    # Yahoo's own status, which uvicorn has no words for.
    STATUS_PHRASES.setdefault(999, b"Unable to process request at this time")
    server = _Server(config, f"http://127.0.0.1:{sock.getsockname()[1]}", on_ready)
    app.charts.drop_connection = server.drop_connection
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        server.run(sockets=[sock])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, url: str, on_ready: Any) -> None:
        super().__init__(config)
        self._url = url
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready(self._url)

    def drop_connection(self, client: tuple[str, int]) -> None:
        """Close the transport of one client after what was written: ASGI has no word for it."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == tuple(client):
                connection.transport.close()  # pyright: ignore[reportOptionalMemberAccess]
