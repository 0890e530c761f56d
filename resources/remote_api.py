"""The HTTP API of quant-assets, asked from elsewhere: tables as Arrow streams, errors as problem documents."""

from __future__ import annotations

import importlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import polars as pl

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.asking_again import Passing, StillFailing, ask_again
from quant_assets.resources.object_store import StoreUnavailable
from quant_assets.resources.settings import PREFIX, Settings, SettingsError

KEY = f"{PREFIX}API_KEY"
"""The variable that holds the key which is sent; none: nothing is sent."""

_ARROW = "application/vnd.apache.arrow.stream"
_PASSING = (429, 502, 503, 504)
_LONGEST_ADDRESS = 2_000
"""Letters of symbols up to which they are part of the address."""
_READ_SECONDS = 90.0


class ApiProblem(QuantAssetsError):
    """An API answers with an error. `status`: of HTTP; `document`: what it says of it (RFC 9457), maybe nothing."""

    def __init__(self, message: str, status: int = 0, document: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.document = status, dict(document or {})


def is_address(location: object) -> bool:
    """Whether a store's location is that of an API."""
    return isinstance(location, str) and location.startswith(("http://", "https://"))


class RemoteApi:
    """The tables of an API at an address. Raises SettingsError for an address that is none, or holds a password."""

    def __init__(self, address: str, settings: Settings) -> None:
        try:
            parts = urlsplit(address)
            wrong = not parts.hostname or parts.port == 0 or bool(parts.query or parts.fragment)
        except ValueError:
            wrong, parts = True, urlsplit("")
        if wrong or "@" in parts.netloc:
            what = "holds a user name or password" if "@" in parts.netloc else "is no address of an API"
            raise SettingsError(f"the store {what}: write https://host[:port], and put the key in {KEY}")
        self.location = address.rstrip("/")
        self._settings = settings

    def frames(
        self,
        path: str,
        parameters: Mapping[str, str | None],
        symbols: Sequence[str] | None = None,
        told: Callable[[str], None] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """A table in the batches that come, at least one.

        Args:
            path: below /v1, e.g. "prices".
            parameters: those that are None are left out.
            symbols: more of them than an address has room for are sent as a body.
            told: gets what the answer warns of.

        Raises ApiProblem; StoreUnavailable where the API cannot be reached, or its answer ends before it is whole.
        """
        ipc: Any = importlib.import_module("pyarrow.ipc")
        arrow: Any = importlib.import_module("pyarrow")
        with ExitStack() as stack:
            answer = self._answer(stack, "GET", path, {**parameters, "format": "arrow"}, symbols)
            kind = answer.headers.get("content-type", "")
            if kind.partition(";")[0] != _ARROW:
                raise ApiProblem(
                    f"{self.location} answers {kind or 'nothing known'}, not a table: is it the address of "
                    "quant-assets serve?",
                    answer.status_code,
                )
            for warning in _warnings(answer) if told is not None else ():
                cast("Callable[[str], None]", told)(warning)
            try:
                stream = ipc.open_stream(arrow.PythonFile(_Body(answer.iter_bytes()), mode="r"))
                none = True
                for batch in stream:
                    none = False
                    yield cast("pl.DataFrame", pl.from_arrow(batch))
                if none:
                    yield cast("pl.DataFrame", pl.from_arrow(stream.schema.empty_table()))
            except (httpx.HTTPError, arrow.ArrowInvalid, OSError) as error:
                raise StoreUnavailable(
                    f"{self.location}: the answer to /v1/{path} ended before it was whole ({error}); read again"
                ) from error

    def snapshot(self, path: str, parameters: Mapping[str, str | None], symbols: Sequence[str] | None) -> str:
        """The id of the snapshot that an answer would be. Raises as `frames` does."""
        with ExitStack() as stack:
            answer = self._answer(stack, "GET", path, {**parameters, "format": "arrow"}, symbols)
            return answer.headers["x-snapshot-id"]

    def _answer(
        self,
        stack: ExitStack,
        method: str,
        path: str,
        parameters: Mapping[str, str | None],
        symbols: Sequence[str] | None,
    ) -> httpx.Response:
        """An answer whose status is 200, its body still to come."""
        wanted = {name: value for name, value in parameters.items() if value is not None}
        body: dict[str, Any] = {}
        if symbols is not None:
            listed = ",".join(symbols)
            # No symbol at all has no place in an address, either.
            if symbols and len(listed) <= _LONGEST_ADDRESS:
                wanted["symbols"] = listed
            else:
                method, path, body = "POST", f"{path}/query", {"json": {"symbols": list(symbols)}}
        url = f"{self.location}/v1/{path}"
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}

        def ask() -> httpx.Response:
            client = _client(self._settings.timeout_seconds)
            try:
                found = client.send(
                    client.build_request(method, url, params=wanted, headers=headers, **body), stream=True
                )
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise Passing(
                    f"{self.location} cannot be reached ({error or type(error).__name__})"
                ) from error
            if found.status_code == 200:
                return found
            with closing(found):
                problem = self._problem(found)
            if found.status_code in _PASSING and problem.document.get("error") in (None, "StoreUnavailable"):
                raise Passing(str(problem)) from problem
            raise problem

        try:
            answer = ask_again(self._settings, ask)
        except StillFailing as error:
            raise StoreUnavailable(f"{error}: is `quant-assets serve` running there?") from error
        stack.callback(answer.close)
        return answer

    def _problem(self, answer: httpx.Response) -> ApiProblem:
        status = answer.status_code
        if answer.is_redirect:
            there = answer.headers.get("location", "somewhere else")[:200]
            return ApiProblem(f"{self.location} points to {there}: name that address as the store", status)
        try:
            answer.read()
            document: Any = answer.json()
        except (httpx.HTTPError, ValueError):
            document = None
        if not isinstance(document, dict) or "detail" not in document:
            return ApiProblem(f"{self.location} answers with status {status}, and does not say why", status)
        told = cast("dict[str, Any]", document)
        detail = str(told["detail"])
        if status == 401:
            detail += f" (put a key in {KEY})"
        return ApiProblem(detail, status, told)


@lru_cache(maxsize=4)
def _client(connect_seconds: float) -> httpx.Client:
    """Keeps its connections. Follows no redirection: the key is for the address that was named."""
    return httpx.Client(
        timeout=httpx.Timeout(_READ_SECONDS, connect=connect_seconds), headers={"Accept": _ARROW}
    )


def _warnings(answer: httpx.Response) -> list[str]:
    found: list[str] = []
    try:
        found += [str(one) for one in json.loads(answer.headers.get("x-warnings", "[]"))]
    except (ValueError, TypeError):
        found.append(str(answer.headers["x-warnings"]))
    if since := answer.headers.get("x-stale-since"):
        found.append(f"the API's bucket is away: what it answers is as it was at {since}")
    return found


class _Body(io.RawIOBase):
    """The pieces of a body as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def read(self, size: int | None = -1) -> bytes:
        """Exactly `size` bytes but at the end: what Arrow asks of a file."""
        parts: list[bytes] = []
        left = size if size is not None and size >= 0 else None
        while left is None or left > 0:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            part, self._rest = (self._rest, b"") if left is None else (self._rest[:left], self._rest[left:])
            parts.append(part)
            left = None if left is None else left - len(part)
        return b"".join(parts)
