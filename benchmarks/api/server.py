"""`python -m benchmarks.api.server PORT WORKERS BARE`: the API as `quant-assets serve` runs it, or a bare FastAPI."""

from __future__ import annotations

import os
import sys

from fastapi import FastAPI, Response


def bare() -> FastAPI:
    """One route that answers bytes it has."""
    app = FastAPI()
    body = os.urandom(int(os.environ["BENCH_BARE"]))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/prices")
    async def prices(symbols: str) -> Response:
        return Response(body, media_type="application/json")

    return app


def main() -> None:
    """Serves until terminated."""
    import uvicorn

    from quant_assets.api.serving import OPTIONS

    port, workers, size = map(int, sys.argv[1:4])
    os.environ["BENCH_BARE"] = str(size)
    target = "benchmarks.api.server:bare" if size else "quant_assets.api.app:create_app"
    uvicorn.run(
        target,
        factory=True,
        host="127.0.0.1",
        port=port,
        workers=workers,
        log_level="warning",
        backlog=4096,
        **({"timeout_keep_alive": OPTIONS["timeout_keep_alive"]} if size else OPTIONS),
    )


if __name__ == "__main__":
    main()
