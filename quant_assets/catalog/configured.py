"""The configured list of symbols: a YAML file, read and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from importlib import resources as package_files
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from quant_assets.errors import QuantAssetsError
from quant_assets.exchanges import Exchange, known
from quant_assets.yaml_texts import read_texts

SYMBOL = r"^[A-Z0-9^][A-Z0-9.^=&_+$-]*$"
"""What Yahoo's symbols are made of: letters, digits and few signs. Anything else would end up in URLs and logs."""
LONGEST_SYMBOL = 32


class CatalogError(QuantAssetsError, ValueError):
    """The list of symbols cannot be used; the message names the file, the entry and the remedy."""


class ConfiguredSymbol(BaseModel):
    """One entry of the list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: Annotated[
        str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=1, max_length=LONGEST_SYMBOL)
    ]
    name: str = ""
    asset_type: str = "equity"
    sector: str | None = None
    industry: str | None = None
    currency: str | None = None
    isin: str | None = None
    listed_on: date | None = None
    delisted_on: date | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_symbol(cls, value: object) -> object:
        if isinstance(value, dict):
            # The file is read as plain texts, in which an empty value is a text too.
            fields = cast("dict[str, Any]", value)
            return {name: field for name, field in fields.items() if field not in ("", "~", "null")}
        return {"symbol": value} if isinstance(value, str) else value

    @field_validator("symbol")
    @classmethod
    def _plain_signs(cls, value: str) -> str:
        # Not pydantic's own pattern: its end of text lets a line break pass.
        if re.fullmatch(SYMBOL, value) is None:
            raise ValueError("a symbol is made of letters, digits and . - ^ = & _ + $")
        return value

    @field_validator("listed_on", "delisted_on", mode="wrap")
    @classmethod
    def _plain_day(cls, value: object, read: ValidatorFunctionWrapHandler) -> object:
        try:
            # pydantic takes a number for seconds since 1970: 20130301 would be a day in August of that year.
            if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[\d.]+\s*", value):
                raise ValueError
            return read(value)
        except ValueError:
            raise ValueError(f"{short(value)} is no day; write year-month-day such as 2024-05-18") from None

    @field_validator("isin")
    @classmethod
    def _plain_isin(cls, value: str | None) -> str | None:
        if value is not None and not is_isin(value):
            raise ValueError(f"{short(value)} is no ISIN; write its 12 characters, or leave it out")
        return value

    @model_validator(mode="after")
    def _dates_in_order(self) -> ConfiguredSymbol:
        if self.listed_on and self.delisted_on and self.delisted_on < self.listed_on:
            raise ValueError(f"delisted_on {self.delisted_on} is before listed_on {self.listed_on}")
        return self


def is_isin(text: str) -> bool:
    """Whether a text is an ISIN (ISO 6166): two letters, nine letters or digits, and the check digit they give."""
    if re.fullmatch(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", text) is None:
        return False
    # Luhn's check over the digits, letters counting as 10 to 35.
    digits = [int(digit) for sign in text for digit in str(int(sign, 36))]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def read_universe(path: Path | None, exchanges: list[Exchange]) -> dict[str, list[ConfiguredSymbol]]:
    """The configured symbols of `exchanges`, by exchange code, in the file's order.

    Exchanges of the file that are not asked for are passed over. `path` None reads the list that ships with the
    package. Raises CatalogError.
    """
    name, text = read_text(path)
    try:
        # As texts, so that the symbols ON and NO are no booleans; a code that stands twice is refused.
        parsed: object = read_texts(text)
    except yaml.YAMLError as error:
        raise CatalogError(f"{name}: not readable as YAML ({error}); correct the file") from error
    return listed_symbols(name, parsed, exchanges)


def listed_symbols(
    name: str, parsed: object, exchanges: Sequence[Exchange]
) -> dict[str, list[ConfiguredSymbol]]:
    """What `read_universe` answers, of a file called `name` that has been read as YAML. Raises CatalogError."""
    if not isinstance(parsed, dict):
        raise CatalogError(f"{name}: expected exchange codes with lists of symbols, e.g. 'US: [AAPL]'")
    listed = cast("dict[object, object]", parsed)
    codes = {*known(), *(exchange.code for exchange in exchanges)}
    if strange := [str(code) for code in listed if code not in codes]:
        raise CatalogError(
            f"{name}: unknown exchange {', '.join(strange)}; known are {', '.join(sorted(codes))} (correct the file)"
        )
    return {
        exchange.code: _symbols(name, exchange, listed[exchange.code])
        for exchange in exchanges
        if exchange.code in listed
    }


def universe_sha256(path: Path | None) -> str:
    """Hash of the list's text, by which a catalog says what it was made of. Raises CatalogError."""
    return hashlib.sha256(read_text(path)[1].encode()).hexdigest()


def read_text(path: Path | None) -> tuple[str, str]:
    """What the list is called, and its text. Raises CatalogError."""
    if path is None:
        package = package_files.files("quant_assets.catalog")
        return "the package's universes.yaml", (package / "universes.yaml").read_text(encoding="utf-8")
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path}: cannot be read ({error}); point QUANT_ASSETS_UNIVERSE at a YAML file in UTF-8"
        ) from error


def _symbols(file: str, exchange: Exchange, entries: object) -> list[ConfiguredSymbol]:
    if not isinstance(entries, list):
        raise CatalogError(f"{file}: {exchange.code} is no list of symbols")
    symbols: list[ConfiguredSymbol] = []
    seen: set[str] = set()
    for number, entry in enumerate(cast("list[Any]", entries), start=1):
        try:
            symbol = ConfiguredSymbol.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "entry"
            raise CatalogError(
                f"{file}: {exchange.code} entry {number} ({short(entry)}): {where}: "
                f"{first['msg'].removeprefix('Value error, ')} (correct the entry)"
            ) from error
        if problem := misplacement(symbol, exchange):
            raise CatalogError(f"{file}: {problem}")
        if symbol.symbol in seen:
            raise CatalogError(f"{file}: {symbol.symbol} stands twice under {exchange.code}; remove one")
        seen.add(symbol.symbol)
        symbols.append(symbol)
    return symbols


def misplacement(entry: ConfiguredSymbol, exchange: Exchange) -> str | None:
    """Why an entry cannot be one of the exchange, by symbol or currency, with the remedy; None when it can."""
    symbol = entry.symbol
    is_index = entry.asset_type.lower() == "index" and exchange.may_have_index(symbol)
    if not is_index and not exchange.owns(symbol):
        suffixed = f" (its symbols end in {exchange.suffix!r})" if exchange.suffix else ""
        indexed = ", or, if it is an index with its sessions, write asset_type: index"
        return (
            f"{symbol} is no symbol of {exchange.code}{suffixed}; list it under its own exchange"
            f"{indexed if exchange.may_have_index(symbol) else ''}"
        )
    if not is_index and (spelled := exchange.yahoo_spelling(symbol)) != symbol:
        return f"{symbol}: Yahoo spells it {spelled}; write that"
    if entry.currency is not None and entry.currency not in exchange.currencies:
        return (
            f"{symbol}: {exchange.code} does not quote in {short(entry.currency)}; "
            f"write one of {', '.join(exchange.currencies)}, or leave it out"
        )
    return None


def short(entry: object) -> str:
    """An entry as a message shows it: control characters escaped, and no longer than a line."""
    text = repr(entry)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
