"""The holes of cells, small: as text in the footer of one, as one packed table of many in a manifest shard.

Cells mostly lack the same few symbols for the same reasons. What is packed stays packed until somebody asks who is
missing: whoever reads prices never does.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast, overload

import orjson
import polars as pl

from quant_assets.market.coverage import Missing
from quant_assets.tables.parquet import decode, encode, read_facts

if TYPE_CHECKING:
    from quant_assets.tables.entries import Entry

HOLES_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "outcome": pl.String(),
        "reason": pl.String(),
        "asked_on": pl.Date(),
        "since": pl.Date(),
        "answers": pl.Int64(),
        "gap": pl.Int64(),
    }
)
"""A hole a row, the fields of `Missing` in their order; the holes of a cell follow each other."""

_UNPACKED_SHARDS = 4
"""So many tables are kept unpacked: whoever asks for the holes of one cell mostly asks for those of the next."""


class PackedHoles(Sequence[Missing]):
    """The holes of one cell within a packed table of many; equal to the tuple of them, with the same hash."""

    __slots__ = ("_count", "_data", "_first")

    def __init__(self, data: bytes, first: int, count: int) -> None:
        self._data, self._first, self._count = data, first, count

    def place(self) -> tuple[bytes, int, int]:
        """The packed table, the row of it that is the first hole, and the number of holes."""
        return self._data, self._first, self._count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Missing: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Missing, ...]: ...
    def __getitem__(self, index: int | slice) -> Missing | tuple[Missing, ...]:
        return self._holes()[index]

    def __iter__(self) -> Iterator[Missing]:
        return iter(self._holes())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedHoles):
            return self.place() == other.place() or self._holes() == other._holes()
        return self._holes() == other

    def __hash__(self) -> int:
        return hash(self._holes())

    def __repr__(self) -> str:
        return repr(self._holes())

    def _holes(self) -> tuple[Missing, ...]:
        return _unpacked(self._data)[self._first : self._first + self._count]


@lru_cache(maxsize=_UNPACKED_SHARDS)
def _unpacked(data: bytes) -> tuple[Missing, ...]:
    # A suspension's sessions mostly say the same: they share one object.
    known: dict[tuple[object, ...], Missing] = {}
    holes: list[Missing] = []
    for row in decode(data, "").iter_rows():
        hole = known.get(row)
        if hole is None:
            hole = known[row] = Missing(*row)
        holes.append(hole)
    return tuple(holes)


def pack(cells: Iterable[Sequence[Missing]]) -> bytes:
    """The holes of cells, one cell after the other, as a sealed table (HOLES_SCHEMA)."""
    rows = [_row(hole) for holes in cells for hole in holes]
    return encode(pl.DataFrame(rows, schema=HOLES_SCHEMA, orient="row"), {})


def unpack(data: bytes, counts: Sequence[int], uri: str) -> list[Sequence[Missing]]:
    """The holes of each cell from what `pack` made; `counts` says how many each has.

    Raises ObjectDamaged when `data` is not what was packed, ValueError when there are more or fewer holes.
    """
    if read_facts(data, uri)["rows"] != sum(counts):
        raise ValueError("not the holes of its cells")
    cells: list[Sequence[Missing]] = []
    first = 0
    for count in counts:
        cells.append(PackedHoles(data, first, count) if count else ())
        first += count
    return cells


def to_text(holes: Sequence[Missing]) -> str:
    """The holes of one cell as they ride in its footer: rows as in HOLES_SCHEMA, as JSON, deflated, in base64.

    "" where there are none. Nothing else of a footer is compressed, and sixty holes would be a fifth of a cell.
    """
    data = orjson.dumps([_row(hole) for hole in holes])
    return base64.b64encode(zlib.compress(data, 9)).decode() if holes else ""


def from_text(text: str) -> tuple[Missing, ...]:
    """The inverse of `to_text`. Raises ValueError, TypeError on anything else."""
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True)) if text else b"[]"
        rows = cast("list[list[Any]]", orjson.loads(data))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return tuple(Missing.from_json(dict(zip(HOLES_SCHEMA, row, strict=True))) for row in rows)


def holes_of(entries: Iterable[Entry], symbols: Collection[str] = ()) -> pl.DataFrame:
    """What daily cells name as missing: `date` and the columns of HOLES_SCHEMA, in no order. Empty `symbols`: of all.

    Made from the packed tables as they are: of ten thousand symbols and twenty years there may be a million holes.
    """
    wanted = pl.col("symbol").is_in(sorted(symbols)) if symbols else pl.lit(value=True)
    packed: dict[bytes, list[tuple[date, int, int]]] = {}
    plain: list[tuple[object, ...]] = []
    for entry in entries:
        if not entry.missing:
            continue
        day = date.fromisoformat(entry.partition)
        if isinstance(entry.missing, PackedHoles):
            data, first, count = entry.missing.place()
            packed.setdefault(data, []).append((day, first, count))
        else:
            plain += [(day, *_row(hole)) for hole in entry.missing]
    frames = [pl.DataFrame(plain, schema={"date": pl.Date(), **HOLES_SCHEMA}, orient="row")]
    for data, places in packed.items():
        cells = pl.DataFrame(
            places, schema={"date": pl.Date, "first": pl.Int64, "count": pl.Int64}, orient="row"
        )
        # A hole is of the cell whose rows begin last before it.
        holes = decode(data, "").with_row_index("at").cast({"at": pl.Int64}).filter(wanted)
        placed = holes.join_asof(cells.sort("first"), left_on="at", right_on="first")
        inside = placed.filter(pl.col("at") < pl.col("first") + pl.col("count"))
        frames.append(inside.select("date", *HOLES_SCHEMA))
    return pl.concat(frames).filter(wanted)


def _row(hole: Missing) -> tuple[object, ...]:
    return (hole.symbol, hole.outcome, hole.reason, hole.asked_on, hole.since, hole.answers, hole.gap)
