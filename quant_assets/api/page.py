"""The page at `/` (charts, cells and the state of the store, for people) and the API's description at `/docs`.

Both ask the API as any client does. Everything that they need is shipped in `page/`: plain modules, no build, nothing
of another server. The pages themselves hold no data, so they are open to all; an API with keys asks for one where the
data is.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import APIRouter, Request, Response

from quant_assets._version import __version__
from quant_assets.api.problems import Problem
from quant_assets.maintenance.report.page import style_hash

router = APIRouter(include_in_schema=False)

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",
}
"""By the endings of what is shipped."""

_FRAMES = ("index.html", "docs.html")
_CHART_STYLE = "sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY="
"""The one style element that the chart library adds, for the mark that links to its makers."""

# A report page that is opened with a key is a document of this page's, under its policy: its one style is let in.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'self' '{_CHART_STYLE}' '{style_hash()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, and answered with 304: a new release is never mixed with an old one.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    """What is answered for a path, made once."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    """The page."""
    settings = request.app.state.settings
    return _answer(request, _index(settings.dagster_url))


@router.api_route("/docs", methods=["GET", "HEAD"])
def docs(request: Request) -> Response:
    """The description of the API, by Swagger UI, which is shipped as well."""
    return _answer(request, _docs())


@router.api_route("/static/{path:path}", methods=["GET", "HEAD"])
def static(request: Request, path: str) -> Response:
    """A file of the page. Nothing but what is shipped has a path."""
    found = _shipped().get(path)
    if found is None:
        raise Problem(404, "Not found", f"/static/{path} is no file of the page")
    return _answer(request, found)


def _answer(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = file.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=file.media_type)


@lru_cache(maxsize=4)
def _index(dagster_url: str) -> _File:
    text = _folder().joinpath("index.html").read_text(encoding="utf-8")
    for name, value in (("version", __version__), ("dagster", dagster_url.rstrip("/"))):
        text = text.replace(f"{{{{{name}}}}}", escape(value))
    return _file(text.encode(), ".html")


@lru_cache(maxsize=1)
def _docs() -> _File:
    return _file(_folder().joinpath("docs.html").read_bytes(), ".html")


@lru_cache(maxsize=1)
def _shipped() -> Mapping[str, _File]:
    """All files of the pages but their frames, by their path below /static."""
    return {
        name: _file(one.read_bytes(), PurePosixPath(name).suffix)
        for name, one in _walk(_folder())
        if name not in _FRAMES and PurePosixPath(name).suffix in _KINDS
    }


def _folder() -> Traversable:
    return files("quant_assets").joinpath("api", "page")


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for one in sorted(folder.iterdir(), key=lambda each: each.name):
        name = prefix + one.name
        found += _walk(one, f"{name}/") if one.is_dir() else [(name, one)]
    return found


def _file(body: bytes, suffix: str) -> _File:
    digest = hashlib.sha256(body).hexdigest()[:32]
    return _File(body, gzip.compress(body, 6, mtime=0), _KINDS[suffix], f'W/"{digest}"')
