"""From a table to an answer: what it is made of, whether the client or the cache has it already, its bytes.

A route makes a `Prepared`: which rows, by which canonical parameters, of which versions of which objects. `answered`
does the rest. What is made in one piece goes through the cache of `app.state.cache`, keyed by
route, parameters, page, format, compression and versions: what was written since has another key. Answers that are
larger than a batch are streamed, a batch in memory at a time, and not kept.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import orjson
import polars as pl
from fastapi import Request, Response
from starlette.datastructures import URL, State

from quant_assets.api.encoding import Orient, compressed, in_format, json_answer
from quant_assets.api.guards import is_head
from quant_assets.api.negotiation import MEDIA_TYPES, Encoding, Format, encoding_for, format_for
from quant_assets.api.parameters import ROWS, Shaping
from quant_assets.api.problems import Problem
from quant_assets.api.stores import view_of
from quant_assets.api.streams import StreamedResponse
from quant_assets.api.versions import digest
from quant_assets.api.warm import popular_of
from quant_assets.resources.cache import AnswerCache, Encoded
from quant_assets.resources.local_copy import CopyView
from quant_assets.tables.daily import noting_unrecorded
from quant_assets.tables.user_warnings import collected

BATCH_ROWS = 100_000
"""Rows that are read at once of an answer that is streamed, and of one that is not at most: some 12 MB."""
_SMALL = 600
"""Bytes below which compressing gains nothing."""
_MOST_WARNINGS = 20
_NEXT = "next"
"""Among the headers that are kept with an answer: the cursor of the next page. The header that is sent is made of the
address by which each one asked: that of another may lead to another host."""
_MOST_SKIPPED = 2**62


@dataclass(slots=True)
class Notes:
    """What is said with the rows: the id of the snapshot they are, and what the read warned of."""

    snapshot: str
    warnings: list[str] = field(default_factory=list[str])
    next: str | None = None
    """The cursor of the page after this one."""


class Batch(NamedTuple):
    """Some rows in the order of the table, and the number of the unit (symbol, exchange) that they begin with."""

    unit: int
    rows: pl.DataFrame


Read = Callable[[Notes, int, int], Iterable[Batch]]
"""`read(notes, first, rows)`: the batches from unit `first` on, of about `rows` rows each; at least one, which may be
empty. What it says in `notes` counts when the first batch is there."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer before anything of it is read."""

    table: str
    parameters: Mapping[str, str]
    """What was asked for, in one spelling: two requests for the same have the same."""
    versions: str
    """Digest of the versions of all objects that it is made of (`api.versions`)."""
    read: Read
    rows: int
    """How many rows it has at most, roughly."""
    columns: Sequence[str] | None = None
    """Those that are asked for; None: all."""

    @property
    def key(self) -> str:
        """What it is and of what it is made."""
        told = (f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return digest([self.table, *told, self.versions])

    @property
    def snapshot(self) -> str:
        """The id of the state of everything it is made of."""
        return f"state-{self.versions}"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the answer is to look, and what of it."""

    form: Format
    encoding: Encoding
    orient: Orient
    limit: int
    cursor: str | None
    etags: str
    head: bool
    url: str | None
    """The request's own, for a link to the next page; None where the parameters are in its body."""

    @classmethod
    def of(cls, request: Request, asked: Shaping) -> Shape:
        """Raises Problem: 406 where the client takes nothing that there is, 422 for a page of what has none."""
        form = format_for(asked.format, request.headers.get("accept"))
        if form != "json" and (asked.cursor is not None or asked.limit != ROWS):
            raise Problem(
                422,
                "The request cannot be used",
                f"limit and cursor are for JSON: {form} comes in one piece; leave them out, and choose fewer rows by "
                "symbols, start and end",
            )
        among: tuple[Encoding, ...] = ("identity",) if form == "parquet" else ("zstd", "gzip", "identity")
        return cls(
            form,
            encoding_for(request.headers.get("accept-encoding"), among),
            asked.orient,
            asked.limit,
            asked.cursor,
            request.headers.get("if-none-match", ""),
            is_head(request),
            str(request.url) if request.method == "GET" else None,
        )

    def tag(self, prepared: Prepared, outage: str | None) -> str:
        """The ETag of this form of the answer; `outage`: during which it is said to be stale."""
        page = [self.orient, str(self.limit), self.cursor or ""] if self.form == "json" else []
        stale = [] if outage is None else [outage]
        return f'"{digest([prepared.key, self.form, self.encoding, *page, *stale])}"'

    def has(self, tag: str) -> bool:
        """Whether the client has it already."""
        told = [part.strip().removeprefix("W/") for part in self.etags.split(",")]
        return tag in told or "*" in told


async def answered(request: Request, asked: Shaping, prepare: Callable[[], Prepared]) -> Response:
    """The answer to a request: `prepare` and all reading happen in a worker's thread."""
    state = request.app.state
    shape = Shape.of(request, asked)

    def work() -> _Made:
        prepared = prepare()
        same = _Same(prepared, prepare) if _of_a_state(shape, asked.snapshot) else None
        return _respond(prepared, shape, asked.snapshot, state, view_of(request), same)

    made = await state.workers.run(work)
    if isinstance(made, Response):
        if "x-cache" in made.headers:
            popular_of(request).count(request)
        return made
    pieces, headers = made
    return StreamedResponse(pieces, headers, state.workers, state.streams)


_Made = Response | tuple[Iterator[bytes], dict[str, str]]


def _of_a_state(shape: Shape, snapshot: str | None) -> bool:
    """Whether an answer is to be of a state that the client has seen."""
    later = shape.form == "json" and shape.cursor is not None
    return later or (snapshot is not None and snapshot.startswith("state-"))


class _Same:
    """Looks once more, after the rows were read, whether they are of the state that was looked up before."""

    def __init__(self, prepared: Prepared, prepare: Callable[[], Prepared]) -> None:
        self._key, self._prepare = prepared.key, prepare

    def check(self) -> None:
        """Raises Problem 409."""
        if self._prepare().key != self._key:
            raise Problem(
                409,
                "The store has changed meanwhile",
                "what was asked for changed while it was read: begin again, without cursor and snapshot",
            )


def _respond(
    prepared: Prepared,
    shape: Shape,
    snapshot: str | None,
    state: State,
    view: CopyView | None,
    same: _Same | None,
) -> _Made:
    cache: AnswerCache = state.cache
    since = view.stale_since if view is not None else None
    tag = shape.tag(prepared, view.outage if view is not None and since is not None else None)
    headers = {"ETag": tag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "private, no-cache"}
    headers |= _age(since)
    if snapshot is not None and snapshot.startswith("state-") and snapshot != prepared.snapshot:
        raise Problem(
            409,
            "The snapshot no longer holds",
            f"snapshot {snapshot}: what it was taken of has changed since, and is now {prepared.snapshot}",
        )
    if shape.has(tag):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = MEDIA_TYPES[shape.form]
    if shape.form in ("csv", "parquet"):
        headers["Content-Disposition"] = f'inline; filename="{prepared.table}.{shape.form}"'
    if shape.form != "json" and prepared.rows > BATCH_ROWS:
        if not shape.head:
            # Before anything is read for nobody.
            state.streams.refuse_more()
        return _streamed(prepared, shape, headers, view, same)

    def make() -> Encoded | _GoneMeanwhile | _Unrecorded:
        unrecorded: list[str] = []
        with noting_unrecorded(unrecorded):
            answer = _whole(prepared, shape, view)
        if same is not None:
            same.check()
        gone = view is not None and since is None and view.stale_since is not None
        return _GoneMeanwhile() if gone else _Unrecorded(answer) if unrecorded else answer

    answer, found = cache.get_or_make(f"{prepared.table}/{tag[1:-1]}", make)
    if isinstance(answer, _GoneMeanwhile):
        # The bucket went away after the versions were looked up: what is made of copies must not stand under them.
        return _respond(prepared, shape, snapshot, state, view, same)
    if isinstance(answer, _Unrecorded):
        # Of a state that has no name yet: the next one may be another under the same versions.
        answer = answer.made
        del headers["ETag"]
    headers |= answer.headers
    headers["X-Cache"] = found
    if (cursor := headers.pop(_NEXT, None)) is not None and shape.url is not None:
        headers["Link"] = _link(shape.url, cursor)
    return Response(answer.body, 200, headers)


class _GoneMeanwhile:
    """In place of an answer of which it could not be said that it is stale."""


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    """An answer with rows of cells that the manifest does not have as they are: not kept for others."""

    made: Encoded


def _age(since: datetime | None) -> dict[str, str]:
    """Says that nobody could be asked whether this is still so, since when."""
    if since is None:
        return {}
    return {"X-Stale-Since": _moment(since), "Warning": '110 - "Response is Stale"'}


def _moment(since: datetime) -> str:
    return since.isoformat(timespec="seconds").replace("+00:00", "Z")


def _whole(prepared: Prepared, shape: Shape, view: CopyView | None) -> Encoded:
    notes = Notes(prepared.snapshot)
    if shape.form == "json":
        pieces: Iterable[bytes] = [_page(prepared, shape, notes, view)]
    else:
        frames = list(_frames(prepared, notes))
        pieces = list(in_format(frames, shape.form, _facts(notes)))
    size = sum(map(len, pieces))
    encoding: Encoding = shape.encoding if size >= _SMALL else "identity"
    headers = _told(notes) | _age(view.stale_since if view is not None else None)
    if encoding != "identity":
        headers["Content-Encoding"] = encoding
    if notes.next is not None:
        headers[_NEXT] = notes.next
    return Encoded(b"".join(compressed(pieces, encoding)), headers)


def _streamed(
    prepared: Prepared, shape: Shape, headers: dict[str, str], view: CopyView | None, same: _Same | None
) -> _Made:
    notes = Notes(prepared.snapshot)
    frames = _frames(prepared, notes)
    # What can go wrong mostly does so at the first batch, while there is still a status to say it with.
    first = next(frames)
    headers = headers | _told(notes)
    if view is not None:
        headers |= _age(view.stale_since)
        # What follows can no longer be said to be stale.
        view.only_fresh = view.stale_since is None
    if shape.encoding != "identity":
        headers["Content-Encoding"] = shape.encoding
    if shape.head:
        return Response(None, 200, headers)
    pieces = in_format(_ending_so(chain([first], frames), same), shape.form, _facts(notes))
    return compressed(pieces, shape.encoding), headers


def _ending_so(frames: Iterable[pl.DataFrame], same: _Same | None) -> Iterator[pl.DataFrame]:
    """The frames; what is not of one state ends before its end."""
    yield from frames
    if same is not None:
        same.check()


def _frames(prepared: Prepared, notes: Notes) -> Iterator[pl.DataFrame]:
    batches = iter(prepared.read(notes, 0, BATCH_ROWS))
    while True:
        with collected(notes.warnings):
            batch = next(batches, None)
        if batch is None:
            return
        yield _chosen(batch.rows, prepared.columns)


def _chosen(rows: pl.DataFrame, columns: Sequence[str] | None) -> pl.DataFrame:
    return rows if columns is None else rows.select(columns)


def _page(prepared: Prepared, shape: Shape, notes: Notes, view: CopyView | None) -> bytes:
    """A page of JSON, from the place that the cursor names; `notes` get the cursor of the next one."""
    unit, skip = _place(prepared, shape.cursor)
    at_once = min(BATCH_ROWS, max(shape.limit, BATCH_ROWS // 5))
    left, parts = shape.limit, list[pl.DataFrame]()
    with collected(notes.warnings):
        for batch in prepared.read(notes, unit, at_once):
            height = batch.rows.height
            if parts and skip >= height:
                skip -= height
                continue
            part = batch.rows.slice(skip, left)
            parts.append(part)
            if skip + part.height < height:
                notes.next = _cursor(prepared, batch.unit, skip + part.height)
                break
            left, skip = left - part.height, max(0, skip - height)
    rows = _chosen(pl.concat(parts), prepared.columns)
    envelope: dict[str, Any] = {
        "table": prepared.table,
        "snapshot": notes.snapshot,
        "columns": {name: str(kind) for name, kind in rows.schema.items()},
        "rows": rows.height,
        "next": notes.next,
        "warnings": notes.warnings,
    }
    if view is not None and (since := view.stale_since) is not None:
        envelope["stale_since"] = _moment(since)
    return json_answer(rows, shape.orient, envelope)


def _cursor(prepared: Prepared, unit: int, skip: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([prepared.key, unit, skip])).decode().rstrip("=")


def _place(prepared: Prepared, cursor: str | None) -> tuple[int, int]:
    """The unit, and the rows to pass over from it on. Raises Problem: 422 for what is no cursor, 409 for one of an
    earlier state, since pages of two states do not belong together."""
    if cursor is None:
        return 0, 0
    try:
        key, unit, skip = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not (isinstance(key, str) and isinstance(unit, int) and isinstance(skip, int)):
            raise ValueError
    except (ValueError, TypeError):
        raise Problem(
            422, "The request cannot be used", f"cursor={cursor[:80]!r} is none that an answer gave as `next`"
        ) from None
    if key != prepared.key:
        raise Problem(
            409,
            "The pages no longer belong together",
            "what was asked for has changed since the page with this cursor, or the parameters have: begin again "
            "without cursor, or read it in one go with format=arrow, csv or parquet",
        )
    return min(max(0, unit), _MOST_SKIPPED), min(max(0, skip), _MOST_SKIPPED)


def _told(notes: Notes) -> dict[str, str]:
    headers = {"X-Snapshot-Id": notes.snapshot}
    if notes.warnings:
        headers["X-Warnings"] = json.dumps(notes.warnings[:_MOST_WARNINGS])
    return headers


def _facts(notes: Notes) -> dict[str, str]:
    return {"quant_assets.snapshot": notes.snapshot, "quant_assets.warnings": json.dumps(notes.warnings)}


def _link(url: str, cursor: str) -> str:
    """The header that names the next page."""
    following = URL(url).include_query_params(cursor=cursor)
    return f'<{following}>; rel="next"'
