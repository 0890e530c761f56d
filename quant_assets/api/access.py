"""Who may do what: reading is open on loopback, everything else takes a key with its scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fastapi import Request

from quant_assets.api.problems import Problem

Scope = Literal["read", "operate", "admin"]


def require(scope: Scope) -> Callable[[Request], None]:
    """A dependency of routes that need the scope: `Depends(require("operate"))`."""

    def allowed(request: Request) -> None:
        if scope != "read":
            raise Problem(
                401,
                "A key is needed",
                f"{request.method} {request.url.path} needs a key with the scope {scope}",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return allowed
