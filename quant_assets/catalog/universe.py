"""A universe as the file of universes states it: its name, its exchange and its source, checked key by key."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from quant_assets.catalog.configured import ConfiguredSymbol, short

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""A universe's name: it becomes part of a key in the store."""


def _name(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(NAME, value) is None:
        raise ValueError(f"{short(value)} is no name; write up to 64 letters, digits, _ and -")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{short(value)} is no text; write one")
    if not value.strip().isprintable():
        raise ValueError(f"{short(value)} has characters that cannot be printed; leave them out")
    return value.strip()


def _flag(value: object) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{short(value)} is neither true nor false; write one of them")
    return value == "true"


def _whole(least: int, most: int) -> BeforeValidator:
    def number(value: object) -> int:
        if (
            not isinstance(value, str)
            or not re.fullmatch(r"[0-9]{1,9}", value)
            or not least <= int(value) <= most
        ):
            raise ValueError(f"{short(value)} is no whole number from {least} to {most}")
        return int(value)

    return BeforeValidator(number)


def _encoding(value: object) -> str:
    try:
        name = codecs.lookup(_text(value)).name
        "a".encode(name)  # not everything that is looked up makes texts
        return name
    except (LookupError, ValueError) as error:
        raise ValueError(f"{short(value)} is no encoding; write one such as utf-8 or latin-1") from error


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in '"\r\n':
        raise ValueError(f'{short(value)} is no delimiter; write one character such as ";" or "\\t"')
    return value


def _table(value: object) -> int | str:
    text = _text(value)
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) else text


Name = Annotated[str, BeforeValidator(_name)]
Text = Annotated[str, BeforeValidator(_text)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class Entry(BaseModel):
    """A mapping of the file: these keys and no others; a key with nothing behind it counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _stated(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, Any]", value)
        return {name: field for name, field in fields.items() if field not in ("", "~", "null")}


class StaticSource(Entry):
    """Symbols written out in the file."""

    kind: Literal["static"] = "static"
    symbols: Annotated[tuple[ConfiguredSymbol, ...], Field(min_length=1)]


class TableSource(Entry):
    """What the sources that read a table have in common: its columns, and how its symbols become Yahoo's.

    A symbol loses the suffix if it has it, then has `replace` applied in order, zeros put before it until it has
    `pad` characters, and the suffix behind it.
    """

    columns: dict[str, Text] = Field(default_factory=lambda: {"symbol": "symbol"})
    replace: dict[str, str] = Field(default_factory=dict[str, str])
    pad: Annotated[int, _whole(0, 20)] = 0
    suffix: str = ""
    skip: Annotated[int, _whole(0, 1000)] = 0
    megabytes: Annotated[int, _whole(1, 1000)] = 20
    """The largest document that is read."""

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str]) -> dict[str, str]:
        fields = list(ConfiguredSymbol.model_fields)
        for name in value:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                raise ValueError(
                    f"{short(name)} is nothing that is known of a symbol; "
                    + (f"did you mean {near[0]}?" if near else f"write some of {', '.join(fields)}")
                )
        if "symbol" not in value:
            raise ValueError("symbol is missing; add the header of the column that has the symbols")
        return value

    @field_validator("replace")
    @classmethod
    def _replaces_something(cls, value: dict[str, str]) -> dict[str, str]:
        if "" in value:
            raise ValueError("there is nothing to replace; write the characters before the colon")
        return value


class CsvSource(TableSource):
    """A text table: a file, a web address or an object in a store."""

    kind: Literal["csv"]
    path: Text
    encoding: Annotated[str, BeforeValidator(_encoding)] = "utf-8"
    delimiter: Annotated[str, BeforeValidator(_delimiter)] = ","


class ExcelSource(TableSource):
    """A sheet of an Excel file: the first one unless it is named."""

    kind: Literal["excel"]
    path: Text
    sheet: Text | None = None


class HtmlTableSource(TableSource):
    """A table of a web page: by its number from 0, or by the text of one of its headers."""

    kind: Literal["html_table"]
    url: Text
    table: Annotated[int | str, BeforeValidator(_table)] = 0


class IndexSource(Entry):
    """The constituents of an index, as the package pytickersymbols ships them."""

    kind: Literal["index"]
    index: Text


class ScreenerSource(Entry):
    """The listings that Yahoo's screener finds on the exchange, those of a region or a query among them."""

    kind: Literal["screener"]
    asset_type: Literal["equity", "etf"] = "equity"
    region: Text | None = None
    query: dict[str, Any] | None = None
    """An operator and its operands: {and: [{gt: [intradaymarketcap, 2000000000]}, {eq: [sector, Technology]}]}."""
    most: Annotated[int, _whole(1, 10_000)] = 10_000
    """More listings than this are refused; Yahoo shows no more than 10,000."""


class UnionSource(Entry):
    """Whatever is in one of these universes."""

    kind: Literal["union"]
    of: Names


class MinusSource(Entry):
    """What is in one universe and in none of the others."""

    kind: Literal["minus"]
    of: Name
    without: Names


Source = (
    StaticSource
    | CsvSource
    | ExcelSource
    | HtmlTableSource
    | IndexSource
    | ScreenerSource
    | UnionSource
    | MinusSource
)


class Universe(Entry):
    """One universe: a named list of constituents of one exchange.

    One that is not enabled is not followed itself, but others may be made of it.
    """

    name: Name
    exchange: Text
    source: Annotated[Source, Field(discriminator="kind")]
    enabled: Annotated[bool, BeforeValidator(_flag)] = True
    phase: Annotated[int, _whole(0, 1000)] = 1
    depends_on: tuple[Name, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """The universes that this one is made of."""
        match self.source:
            case UnionSource(of=of):
                return of
            case MinusSource(of=of, without=without):
                return (of, *without)
            case _:
                return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The universes that have to be refreshed before this one, each once."""
        return tuple(dict.fromkeys((*self.depends_on, *self.members)))


SOURCES: Mapping[str, type[Entry]] = {
    "static": StaticSource,
    "csv": CsvSource,
    "excel": ExcelSource,
    "html_table": HtmlTableSource,
    "index": IndexSource,
    "screener": ScreenerSource,
    "union": UnionSource,
    "minus": MinusSource,
}
