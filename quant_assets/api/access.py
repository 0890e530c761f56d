"""Who may do what: reading is open on loopback, everything else takes a key with its scope."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import BaseRoute

from quant_assets.api.problems import Problem
from quant_assets.operations.keys import SCOPES, Key, KeyProblem, KeyRing, Scope, matching
from quant_assets.resources.cache import warming
from quant_assets.resources.rate_limits import RateLimits
from quant_assets.resources.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="A key that `quant-assets keys create` has made.")
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The same key, for clients without Bearer."
)
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_IN_PROCESS = "testclient"
"""What a client of the application that is called without a network gives for its address."""
OPERATING = "operating_key"
"""In the state of a request for more than reading: the name of the key that it came with."""
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name`: that of the key, "" where none was needed."""

    name: str = ""
    scope: Scope = "read"


class Access:
    """The keys, the limits, and from where reading takes none. On `app.state.access`."""

    def __init__(self, settings: Settings, *, open_reading: bool = True) -> None:
        """`open_reading`: whether callers of this machine may read without a key. Raises KeyProblem."""
        self._ring = KeyRing(settings.api_keys, settings.api_keys_file)
        self._open = open_reading
        self._hosts = _LOCAL_NAMES | {host.lower() for host in settings.api_hosts}
        self._all = RateLimits(settings.api_rate)
        self._operating = RateLimits(settings.api_operating_rate)

    def admit(self, request: Request, given: str | None, scope: Scope) -> Caller:
        """The caller, if it may do what takes `scope`. Raises Problem: 401, 403 or 429."""
        if warming.get() and scope == "read":
            # The service itself: a context is made in this process, and not by what is sent to it.
            return Caller()
        if given is None:
            if scope == "read" and self._open and self._is_local(request):
                return Caller()
            raise _unknown(request, f"{request.method} {request.url.path} needs a key with the scope {scope}")
        try:
            keys = self._ring.all()
        except KeyProblem as error:
            raise Problem(503, "The keys cannot be read", str(error), headers={"Retry-After": "5"}) from None
        key = matching(given, keys)
        if key is None:
            raise _unknown(request, "the key given is none of this service", error="invalid_token")
        if scope != "read":
            # For the audit record, whatever comes of it.
            setattr(request.state, OPERATING, key.name)
        self._count(key, scope)
        if not key.may(scope):
            raise Problem(
                403,
                "The key may not do this",
                f"{request.method} {request.url.path} needs the scope {scope}, and the key {key.name} has "
                f"{key.scope}: use another key (quant-assets keys create --scope {scope})",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return Caller(key.name, key.scope)

    def _count(self, key: Key, scope: Scope) -> None:
        wait = self._all.wait(key.name)
        if not wait and scope != "read":
            wait = self._operating.wait(key.name)
        if wait:
            seconds = math.ceil(wait)
            raise Problem(
                429,
                "Too many requests",
                f"the key {key.name} has asked too often: ask again in {seconds} s (QUANT_ASSETS_API_RATE and "
                "QUANT_ASSETS_API_OPERATING_RATE set the limits)",
                headers={"Retry-After": str(seconds)},
            )

    def _is_local(self, request: Request) -> bool:
        """Whether a caller is on this machine, and meant it: no proxy speaks for others, and a page of another host
        whose name leads here (DNS rebinding) is told by the name it asked for."""
        client = request.client.host if request.client else ""
        if client == _IN_PROCESS:
            return True
        try:
            near = ipaddress.ip_address(client).is_loopback
        except ValueError:
            near = False
        named = request.url.hostname or ""
        if request.scope.get("http_version") == "1.0":
            # As proxies ask that were not told otherwise, which set none of those headers either.
            return False
        return near and named.lower() in self._hosts and not any(one in request.headers for one in _PROXIED)


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency of routes that need the scope: `Depends(require("operate"))`; answers the Caller."""

    async def allowed(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> Caller:
        access: Access = request.app.state.access
        return access.admit(request, bearer.credentials if bearer else header, scope)

    setattr(allowed, _MARK, scope)
    return allowed


def admit_to_route(request: Request) -> None:
    """As the dependencies of the route that was asked for would. Raises Problem."""
    access: Access = request.app.state.access
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text if kind.lower() == "bearer" else request.headers.get("X-API-Key")
    for scope in _scopes(request.scope.get("route")):
        if scope in SCOPES:
            access.admit(request, given or None, scope)


async def asks_only() -> None:
    """A dependency of routes whose POST changes nothing: its body is a question too long for an address."""


_MARK = "required_scope"
_ASKING = "ask"
setattr(asks_only, _MARK, _ASKING)


def refuse_open_routes(app: FastAPI) -> None:
    """Raises RuntimeError when a route that changes something can be called without a key: a fault of the program."""
    for route, path, methods, scopes in _routes(app.routes):
        changing = set(methods) - _READING - ({"POST"} if _ASKING in scopes else set())
        if changing and not set(scopes) & {"operate", "admin"}:
            raise RuntimeError(f"{', '.join(sorted(changing))} {path} ({route}) needs no key: add require(…)")


def _routes(routes: Iterable[BaseRoute]) -> Iterable[tuple[str, str, Iterable[str], list[str]]]:
    """Every route as name, path, methods, and the scopes it requires."""
    for route in routes:
        # What FastAPI makes of include_router; a mounted application would be another matter.
        included = getattr(route, "original_router", route)
        inner: Iterable[BaseRoute] | None = getattr(included, "routes", None)
        if inner is not None:
            yield from _routes(inner)
            continue
        methods: Iterable[str] = getattr(route, "methods", None) or ()
        yield type(route).__name__, getattr(route, "path", ""), methods, _scopes(route)


def _scopes(route: object) -> list[str]:
    """The scopes that a route's dependencies require."""
    dependant = getattr(route, "dependant", None)
    asked = dependant.dependencies if dependant is not None else ()
    return [getattr(one.call, _MARK) for one in asked if hasattr(one.call, _MARK)]


def _unknown(request: Request, detail: str, error: str = "") -> Problem:
    challenge = 'Bearer realm="quant-assets"' + (f', error="{error}"' if error else "")
    return Problem(
        401,
        "A key is needed" if not error else "The key is not known",
        f"{detail}: send Authorization: Bearer <key> (quant-assets keys create makes one)",
        headers={"WWW-Authenticate": challenge},
    )
