"""The routes that answer tables."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from quant_assets import reader
from quant_assets.api.access import require
from quant_assets.market.corporate_actions import Adjust

router = APIRouter(prefix="/v1", tags=["data"], dependencies=[Depends(require("read"))])


@router.get("/prices")
def prices(
    request: Request,
    symbols: Annotated[str, Query(description="Yahoo's symbols, comma-separated.", examples=["AAPL,IBM"])],
    start: date | None = None,
    end: date | None = None,
    adjust: Adjust = "none",
) -> Response:
    """Daily bars, as `quant_assets.prices` reads them."""
    wanted = [part for part in symbols.split(",") if part]
    rows = reader.prices(
        wanted, start, end, adjust, store=request.app.state.settings.store_location
    ).collect()
    return Response(rows.write_json(), media_type="application/json")
