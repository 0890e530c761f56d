"""`/v1/reports`: the report pages as they lie in the store, for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from quant_assets.api.access import require
from quant_assets.api.problems import Problem
from quant_assets.api.stores import store_of
from quant_assets.maintenance.report.page import style_hash
from quant_assets.resources.object_store import ObjectNotFound
from quant_assets.tables.layout import REPORT_PAGES, exchange_of, table_of

router = APIRouter(prefix="/v1/reports", tags=["reports"], dependencies=[Depends(require("read"))])

_NONE_YET = "no report page yet: `quant-assets report` makes it, and so do update-daily and a schedule"


class ReportPage(BaseModel):
    """A page that there is. `exchange` is null for the page over all."""

    exchange: str | None
    path: str
    bytes: int


class ReportPages(BaseModel):
    """That over all first."""

    pages: list[ReportPage]


@router.get("")
def report_pages(request: Request) -> ReportPages:
    """Which report pages there are."""
    infos = [
        info for info in store_of(request).list(f"{REPORT_PAGES}/") if table_of(info.key) == REPORT_PAGES
    ]
    prefix = request.scope.get("root_path", "")
    found = [
        ReportPage(
            exchange=exchange_of(info.key),
            path=f"{prefix}/v1/reports/{info.key.removeprefix(f'{REPORT_PAGES}/')}",
            bytes=info.size,
        )
        for info in infos
    ]
    return ReportPages(pages=sorted(found, key=lambda one: one.exchange or ""))


@router.get(
    "/{name}",
    response_class=HTMLResponse,
    responses={200: {"content": {"text/html": {}}, "description": "The page."}},
)
def report_page(
    request: Request,
    name: Annotated[
        str, Path(max_length=60, description="all.html, or exchange=CODE.html", examples=["all.html"])
    ],
) -> Response:
    """A report page: one HTML file that asks nothing of anybody."""
    key = f"{REPORT_PAGES}/{name}"
    if table_of(key) != REPORT_PAGES:
        raise Problem(404, "Not found", f"{name!r} is no report page: write all.html, or exchange=ASX.html")
    try:
        blob = store_of(request).get(key)
    except ObjectNotFound as error:
        code = exchange_of(key)
        named = f"{code}: " if code else ""
        raise Problem(404, "Not found", named + _NONE_YET) from error
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src '{style_hash()}'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-cache",
        "ETag": f'W/"{blob.info.version}"',
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(blob.data, headers=headers)
