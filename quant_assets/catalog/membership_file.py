"""Historical membership that somebody has: a CSV of symbol, joined and left, read and checked."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol, short
from quant_assets.exchanges import Exchange
from quant_assets.tables.membership import Spell, Statement

LARGEST = 20_000_000
"""Bytes of a file that is read: a hundred thousand spells take three million."""
_COLUMNS = ("symbol", "joined", "left")


def read_statement(path: Path, exchange: Exchange, first: date | None, last: date, today: date) -> Statement:
    """What a file states of a universe's past.

    Args:
        exchange: the universe's; symbols of others are refused.
        first: the day from which on the file names every member; None: the earliest on which somebody joined.
        last: the day through which it does.
        today: what happened later cannot be stated.

    Raises CatalogError, naming the file and the line.
    """
    data = _read(path)
    spells = list(_spells(path, data, exchange, today))
    if not spells:
        raise CatalogError(f"{path}: no rows; write one for each stretch in the universe: symbol,joined,left")
    _refuse_overlaps(path, spells)
    begins = first or min(spell.joined for _, spell in spells)
    if begins > last:
        raise CatalogError(
            f"{path}: it begins on {begins}, after {last}, the last day that it can be about; name the days it is "
            "about with --from and --through"
        )
    evidence = f"stated in {path.name} (sha256 {hashlib.sha256(data).hexdigest()[:12]})"
    return Statement([spell for _, spell in spells], begins, last, evidence)


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise CatalogError(
                f"{path}: {size:,} bytes, and no more than {LARGEST:,} are read; take a part of it"
            )
        return path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror or error}); name a CSV file") from error


def _spells(path: Path, data: bytes, exchange: Exchange, today: date) -> Iterator[tuple[int, Spell]]:
    """The spells with the line each stands on."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CatalogError(f"{path}:{line}: not in UTF-8; save the file as UTF-8") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        header = [name.strip().lower() for name in rows.fieldnames or []]
        if any(header.count(name) != 1 for name in _COLUMNS):
            raise CatalogError(
                f"{path}:1: the header is {short(','.join(header))}; write {','.join(_COLUMNS)}, each once"
            )
        rows.fieldnames = header
        for row in rows:
            if None in row:
                raise CatalogError(
                    f"{path}:{rows.line_num}: more fields than the header has; correct the line (a field with a "
                    "comma stands in quotes)"
                )
            yield rows.line_num, _spell(f"{path}:{rows.line_num}", row, exchange, today)
    except csv.Error as error:
        raise CatalogError(f"{path}:{rows.line_num + 1}: no CSV ({error}); correct the line") from error


def _spell(place: str, row: dict[str, str | None], exchange: Exchange, today: date) -> Spell:
    symbol, joined, left = ((row[name] or "").strip() for name in _COLUMNS)
    try:
        symbol = ConfiguredSymbol.model_validate({"symbol": symbol}).symbol
    except ValidationError as error:
        raise CatalogError(f"{place}: {short(symbol)} is no symbol; write one as Yahoo spells it") from error
    if not exchange.owns(symbol) and not exchange.may_have_index(symbol):
        raise CatalogError(
            f"{place}: {symbol} is no symbol of {exchange.code}; write it as Yahoo spells it, or take the line out"
        )
    if exchange.owns(symbol) and (spelled := exchange.yahoo_spelling(symbol)) != symbol:
        raise CatalogError(f"{place}: {symbol}: Yahoo spells it {spelled}; write that")
    begin = _date(f"{place}: {symbol}", "joined", joined, today)
    end = _date(f"{place}: {symbol}", "left", left, today) if left else None
    if end is not None and end <= begin:
        raise CatalogError(
            f"{place}: {symbol} left on {end}, not after it joined on {begin}; left is the first day out of it"
        )
    return Spell(symbol, begin, end)


def _date(place: str, column: str, text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:
            raise ValueError
    except ValueError:
        raise CatalogError(f"{place}: {column} {short(text)} is no date; write YYYY-MM-DD") from None
    if day > today:
        raise CatalogError(f"{place}: {column} {day} is in the future; state what has happened")
    return day


def _refuse_overlaps(path: Path, spells: list[tuple[int, Spell]]) -> None:
    last: dict[str, tuple[int, Spell]] = {}
    for line, spell in sorted(spells, key=lambda one: (one[1].symbol, one[1].joined, one[0])):
        before = last.get(spell.symbol)
        if before is not None and (before[1].left is None or before[1].left > spell.joined):
            raise CatalogError(
                f"{path}:{line}: {spell.symbol} joined on {spell.joined}, and was in already (line {before[0]}); "
                "say when it left before, or take one out"
            )
        last[spell.symbol] = (line, spell)
