"""How uvicorn serves the application, wherever it does."""

from __future__ import annotations

from typing import Any

OPTIONS: dict[str, Any] = {
    "http": "quant_assets.api.connections:Bounded",
    # There are no sockets of that kind here.
    "ws": "none",
    # Who speaks for others by a header is no caller of this machine: `access` looks for such headers itself.
    "proxy_headers": False,
    "server_header": False,
    # Longer than the pauses of most clients: a new connection costs more than an answer of the cache.
    "timeout_keep_alive": 75,
    # An address that is too long is to be answered with what to do instead, not with a broken line.
    "h11_max_incomplete_event_size": 256 * 1024,
}
