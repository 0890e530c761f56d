"""Answers on disk until the cells made of them are written: a run that was killed has not asked in vain.

One small file an answer, in a folder of the home: `<exchange>/<symbol>.<n>`, of the n-th question a run had about
the symbol. Its first line is a hash of the rest, so that what was half written is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import polars as pl

from quant_assets.exchanges import Exchange
from quant_assets.resources.source import (
    DIVIDENDS_SCHEMA,
    SPLITS_SCHEMA,
    FetchResult,
    HistoryRequest,
    Meta,
    Outcome,
    UnreadableEvent,
)

_LONGEST = timedelta(days=1)
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and the moment at which it came."""

    result: FetchResult
    at: datetime


class KeptAnswers:
    """The answers of one exchange: those that runs before have kept, and those of this run.

    Args:
        folder: None keeps nothing.
        anew: everything is asked anew, and nothing kept: what a run before has kept of the same symbols is out of
            date then.
    """

    def __init__(self, folder: Path | None, exchange: Exchange, *, anew: bool = False) -> None:
        self._folder, self._exchange = folder and folder / exchange.code, exchange
        self._anew = anew
        self._asked: Counter[str] = Counter()
        self._mine: set[Path] = set()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                _sweep(self._folder)

    def take(self, request: HistoryRequest, now: datetime) -> Kept | None:
        """The answer that the source would give now, where it is kept: no session has ended since it came.

        Of one that reaches further back than is asked for, what a shorter one has.
        """
        self._asked[request.symbol] += 1
        if self._folder is None:
            return None
        if self._anew:
            self._remove(request.symbol)
            return None
        file = self._file(request.symbol)
        try:
            start, kept = _load(file.read_bytes(), request.symbol)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if start > request.start or not self._is_of(kept.at, now):
            return None
        if start == request.start:
            self._mine.add(file)
            return kept
        return Kept(_from(kept.result, request.start - timedelta(days=1)), kept.at)

    def keep(self, request: HistoryRequest, result: FetchResult, now: datetime) -> None:
        """Keeps a history; where the disk is full, nothing. That there is none is asked again: it may be a fault."""
        if self._folder is None or self._anew or result.outcome is not Outcome.OK:
            return
        file = self._file(request.symbol)
        new = file.with_name(f"{file.name}.new")
        with contextlib.suppress(OSError, TypeError):
            data = _dump(request, result, now)
            self._folder.mkdir(parents=True, exist_ok=True)
            new.write_bytes(data)
            new.replace(file)
            self._mine.add(file)

    def clear(self) -> None:
        """Removes the answers that this run has asked or taken over: their cells are written."""
        for file in self._mine:
            with contextlib.suppress(OSError):
                file.unlink()
        self._mine = set()

    def _is_of(self, at: datetime, now: datetime) -> bool:
        """Whether the source has nothing to add at `now` to what it said at `at`."""
        last = self._exchange.calendar().last_session_over
        delay = self._exchange.delay
        return timedelta(0) <= now - at < _LONGEST and last(at, delay) == last(now, delay)

    def _remove(self, symbol: str) -> None:
        """Removes the answers about a symbol from this question on."""
        with contextlib.suppress(OSError):
            for number in count(self._asked[symbol]):
                self._file(symbol, number).unlink()

    def _file(self, symbol: str, number: int | None = None) -> Path:
        assert self._folder is not None
        return self._folder / f"{quote(symbol, safe='')}.{number or self._asked[symbol]}"


def _sweep(folder: Path) -> None:
    """Removes answers that are too old for any run."""
    oldest = time.time() - _LONGEST.total_seconds()
    for file in folder.iterdir():
        if file.stat().st_mtime < oldest:
            file.unlink()


def _from(result: FetchResult, first: date) -> FetchResult:
    """What an answer says of the days from `first` on."""
    since = pl.col("date") >= first
    return replace(
        result,
        bars=result.bars.filter(since),
        splits=result.splits.filter(since),
        dividends=result.dividends.filter(since),
        dropped={day: why for day, why in result.dropped.items() if day >= first},
        unreadable=[event for event in result.unreadable if event.date is None or event.date >= first],
        shifted=[day for day in result.shifted if day >= first],
    )


def _dump(request: HistoryRequest, result: FetchResult, at: datetime) -> bytes:
    """Raises TypeError for facts that are no JSON."""
    head = {
        "format": _FORMAT,
        "symbol": request.symbol,
        "start": request.start,
        "at": at,
        "outcome": result.outcome.value,
        "splits": result.splits.rows(),
        "dividends": result.dividends.rows(),
        "dropped": list(result.dropped.items()),
        "meta": asdict(result.meta),
        "unreadable": [asdict(event) for event in result.unreadable],
        **{name: getattr(result, name) for name in _PLAIN},
    }
    bars = BytesIO()
    result.bars.write_ipc(bars, compression="lz4")
    rest = orjson.dumps(head) + b"\n" + bars.getvalue()
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


_PLAIN = ("reason", "currency", "first_trade", "shifted", "notes", "facts")
"""Fields of an answer that JSON has as they are, but for their dates."""


def _load(data: bytes, symbol: str) -> tuple[date, Kept]:
    """The inverse of `_dump`: the first day asked for, and the answer. Raises ValueError, KeyError, TypeError."""
    sha256, _, rest = data.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != sha256:
        raise ValueError("half an answer")
    text, _, bars = rest.partition(b"\n")
    head: dict[str, Any] = orjson.loads(text)
    if head["format"] != _FORMAT or head["symbol"] != symbol:
        raise ValueError("another format, or symbol")
    meta: Mapping[str, Any] = head["meta"]
    result = FetchResult(
        symbol,
        Outcome(head["outcome"]),
        head["reason"],
        pl.read_ipc(BytesIO(bars)),
        _rows(head["splits"], SPLITS_SCHEMA),
        _rows(head["dividends"], DIVIDENDS_SCHEMA),
        {date.fromisoformat(day): why for day, why in head["dropped"]},
        head["currency"],
        _day(head["first_trade"]),
        Meta(**{**meta, "price_at": meta["price_at"] and datetime.fromisoformat(meta["price_at"])}),
        [UnreadableEvent(_day(e["date"]), e["kind"], e["text"]) for e in head["unreadable"]],
        [date.fromisoformat(day) for day in head["shifted"]],
        head["notes"],
        head["facts"],
    )
    return date.fromisoformat(head["start"]), Kept(result, datetime.fromisoformat(head["at"]))


def _rows(rows: list[list[Any]], schema: pl.Schema) -> pl.DataFrame:
    known = [(date.fromisoformat(day), *rest) for day, *rest in rows]
    return pl.DataFrame(known, schema=schema, orient="row")


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
