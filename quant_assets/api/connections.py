"""How connections are taken before there is a request: so many, for so long, and so many bytes of each.

The server alone waits without end for the rest of a request, and of a head that has no end it copies all that came
with each new piece: one connection would hold up all others. This leans on the insides of uvicorn's protocols
(0.54.0); the tests of these limits (`api/test_limits.py`) tell when they have changed.
"""

from __future__ import annotations

import resource
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from quant_assets.api.guards import LARGEST_BODY
from quant_assets.api.problems import Problem

LONGEST_HEAD = 512 * 1024
"""Bytes that a connection may send without a request coming of them; the address alone is refused sooner."""
LARGEST_REQUEST = 2 * LARGEST_BODY
"""Bytes that may follow a head while it is being answered: its body, which is refused sooner."""
HEAD_SECONDS = 30.0
"""How long a head may take, from the connection or its first byte on."""
_SPARE = 256
"""Open files that are kept for all else: the store's, Redis', Dagster's."""


@lru_cache(maxsize=1)
def most_connections() -> int:
    """How many there may be; the limit of open files is raised as far as this process may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most // 2, most - _SPARE)


if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = object


class Bounds(_Protocol):
    """Before one of uvicorn's protocols: `class Bounded(Bounds, H11Protocol)`."""

    _taken = 0
    _waiting: Any = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(
                Problem(503, "Too many connections", "ask again in a moment", headers={"Retry-After": "5"})
            )
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._taken += len(data)
        if self._taken > (LARGEST_REQUEST if self._busy() else LONGEST_HEAD):
            self._refuse(
                Problem(431, "The head is too long", f"the head of a request may have {LONGEST_HEAD} bytes")
            )
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._taken = 0
        if self._busy():
            self._wait_no_more()
        else:
            self._wait()

    def _busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._busy():
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Says why, unless an answer is under way, and ends the connection."""
        self._refused = True
        self._wait_no_more()
        if not self._busy():
            answer = problem.response()
            told = {**dict(answer.headers), "connection": "close"}
            lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{n}: {v}" for n, v in told.items())]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + bytes(answer.body))
        self.transport.close()


class Bounded(Bounds, AutoHTTPProtocol):
    """The protocol that uvicorn would choose, within these bounds."""
