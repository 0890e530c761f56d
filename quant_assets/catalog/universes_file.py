"""The file of universes: which symbols are followed, on which exchange, and where the list of them comes from.

Two forms are read: the long one, a list under `universes:`, and the short one, symbols per exchange. Every error
is a `CatalogError` of one line that names the file, the line and what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from quant_assets.catalog.build import UNIVERSE
from quant_assets.catalog.configured import (
    CatalogError,
    ConfiguredSymbol,
    listed_symbols,
    misplacement,
    read_text,
    short,
)
from quant_assets.catalog.universe import (
    NAME,
    SOURCES,
    CsvSource,
    ExcelSource,
    StaticSource,
    TableSource,
    Universe,
)
from quant_assets.exchanges import Exchange, known
from quant_assets.tables.discovered import DISCOVERED_UNIVERSE
from quant_assets.yaml_texts import line_of, read_marked


def read_universes(path: Path | None, exchanges: Sequence[Exchange]) -> list[Universe]:
    """The universes of the file, in its order, but each behind those it needs.

    The short form gives one universe for each of `exchanges` that it lists, called UNIVERSE, of kind static. A
    relative path of a source is one beside the file. `path` None reads the list that ships with the package.

    Raises CatalogError: what cannot be read, a name that is there twice or is not known, an exchange that is not
    among `exchanges`, a symbol of another exchange, universes that need each other.
    """
    file, text = read_text(path)
    try:
        parsed, node = read_marked(text)
    except yaml.YAMLError as error:
        raise CatalogError(_unreadable(file, error)) from error
    if not isinstance(parsed, dict) or "universes" not in parsed:
        listed = listed_symbols(file, cast("object", parsed), exchanges)
        return [
            # Checked already; made anew, each of thousands of symbols would be read twice.
            Universe.model_construct(
                name=UNIVERSE, exchange=code, source=StaticSource.model_construct(symbols=tuple(symbols))
            )
            for code, symbols in listed.items()
        ]
    return _LongForm(file, cast("dict[str, Any]", parsed), node, exchanges).universes(path)


def _unreadable(file: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        what = ": ".join(part for part in (error.context, error.problem) if part)
        return f"{file}:{mark.line + 1}: not readable as YAML ({what}); correct it there"
    return f"{file}: not readable as YAML ({' '.join(str(error).split())}); correct it"


class _LongForm:
    """A file in the long form, with the lines of what it says."""

    def __init__(
        self, file: str, parsed: Mapping[str, Any], node: yaml.Node | None, exchanges: Sequence[Exchange]
    ) -> None:
        self._file = file
        self._parsed = parsed
        self._node = node
        self._exchanges = {exchange.code: exchange for exchange in exchanges}

    def universes(self, path: Path | None) -> list[Universe]:
        if strange := [key for key in self._parsed if key != "universes"]:
            raise self._wrong(
                (strange[0],),
                f"unknown key {short(strange[0])}; beside universes there is no other (write its symbols as a "
                "universe with a source of kind static)",
            )
        entries: object = self._parsed["universes"]
        if not isinstance(entries, list) or not entries:
            raise self._wrong(
                ("universes",), "universes is no list; write one universe or more, each behind a dash"
            )
        universes = [self._universe(number, entry) for number, entry in enumerate(cast("list[Any]", entries))]
        numbers: dict[str, int] = {}
        for number, universe in enumerate(universes):
            if universe.name.lower() == DISCOVERED_UNIVERSE:
                raise self._wrong(
                    ("universes", number, "name"),
                    f"{universe.name} is the list of what was discovered and accepted; write another name",
                )
            # The name becomes a file's, and not every file system tells SP500 from sp500.
            for name, earlier in numbers.items():
                if name.lower() == universe.name.lower():
                    raise self._wrong(
                        ("universes", number, "name"),
                        f"{universe.name} is there already, on line {self._line(('universes', earlier, 'name'))}"
                        f"{'' if name == universe.name else f' as {name}'}; give each universe its own name",
                    )
            numbers[universe.name] = number
        for number, universe in enumerate(universes):
            self._check_exchange(number, universe)
            self._check_needs(number, universe, universes, numbers)
        folder = Path() if path is None else path.absolute().parent
        return [_placed(universe, folder) for universe in self._in_order(universes, numbers)]

    def _universe(self, number: int, entry: object) -> Universe:
        place = ("universes", number)
        if not isinstance(entry, dict):
            raise self._wrong(place, f"{short(entry)} is no universe; write {_KEYS}")
        named = cast("dict[str, Any]", entry).get("name")
        try:
            return Universe.model_validate(entry)
        except ValidationError as error:
            errors = error.errors()
            # A key that is misspelt is a key that is missing as well.
            first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
            name = named if isinstance(named, str) and re.fullmatch(NAME, named) else f"universe {number + 1}"
            raise self._wrong((*place, *first["loc"]), f"{name}: {_told(cast('Any', first))}") from error

    def _check_exchange(self, number: int, universe: Universe) -> None:
        place = ("universes", number, "exchange")
        exchange = self._exchanges.get(universe.exchange)
        if exchange is None:
            codes = known()
            if universe.exchange in codes:
                if universe.enabled:
                    raise self._wrong(
                        place,
                        f"{universe.name}: the exchange {universe.exchange} is not in use; add it to "
                        "QUANT_ASSETS_EXCHANGES, or write enabled: false",
                    )
                exchange = codes[universe.exchange]
            else:
                all_codes = sorted({*codes, *self._exchanges})
                raise self._wrong(
                    place,
                    f"{universe.name}: unknown exchange {short(universe.exchange)}; known are "
                    f"{', '.join(all_codes)}",
                )
        source = universe.source
        if isinstance(source, TableSource) and source.suffix not in ("", exchange.suffix):
            raise self._wrong(
                ("universes", number, "source", "suffix"),
                f"{universe.name}: {short(source.suffix)} is not the suffix of {exchange.code}; "
                + (f"write {exchange.suffix}" if exchange.suffix else "leave it out, its symbols have none"),
            )
        if isinstance(source, StaticSource):
            self._check_symbols(number, universe, source.symbols, exchange)

    def _check_symbols(
        self, number: int, universe: Universe, symbols: Sequence[ConfiguredSymbol], exchange: Exchange
    ) -> None:
        seen: dict[str, int] = {}
        for at, entry in enumerate(symbols):
            place = ("universes", number, "source", "symbols", at)
            if problem := misplacement(entry, exchange):
                raise self._wrong(place, f"{universe.name}: {problem}")
            if entry.symbol in seen:
                first = self._line((*place[:-1], seen[entry.symbol]))
                raise self._wrong(
                    place, f"{universe.name}: {entry.symbol} is there already, on line {first}; remove one"
                )
            seen[entry.symbol] = at

    def _check_needs(
        self, number: int, universe: Universe, universes: Sequence[Universe], numbers: Mapping[str, int]
    ) -> None:
        for name in universe.needs:
            where = "depends_on" if name in universe.depends_on else "source"
            place = ("universes", number, where)
            if name not in numbers:
                near = difflib.get_close_matches(name, numbers, n=1)
                raise self._wrong(
                    place,
                    f"{universe.name}: there is no universe {name}"
                    + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(numbers))}"),
                )
            other = universes[numbers[name]]
            if name in universe.members and other.exchange != universe.exchange:
                raise self._wrong(
                    place,
                    f"{universe.name}: {name} is of the exchange {other.exchange}, not {universe.exchange}; make a "
                    "universe of universes of its own exchange",
                )

    def _in_order(self, universes: Sequence[Universe], numbers: Mapping[str, int]) -> list[Universe]:
        try:
            TopologicalSorter({universe.name: universe.needs for universe in universes}).prepare()
        except CycleError as error:
            # As graphlib tells it, each is needed by the next, and the first is the last.
            cycle = cast("list[str]", error.args[1])[::-1]
            raise self._wrong(
                ("universes", numbers[cycle[0]]),
                f"{cycle[0]}: universes need each other ({' needs '.join(cycle)}); take one of these out",
            ) from error
        done: dict[str, Universe] = {}
        for universe in universes:
            waiting = [universe]
            while waiting:
                last = waiting[-1]
                if missing := [name for name in last.needs if name not in done]:
                    waiting.append(universes[numbers[missing[0]]])
                else:
                    done[last.name] = last
                    waiting.pop()
        return list(done.values())

    def _line(self, place: Sequence[str | int]) -> int:
        return line_of(self._node, place)

    def _wrong(self, place: Sequence[str | int], what: str) -> CatalogError:
        return CatalogError(f"{self._file}:{self._line(place)}: {what}")


_KEYS = ", ".join(Universe.model_fields)


def _told(first: Mapping[str, Any]) -> str:
    """The first of pydantic's errors in our words: the key, and what to write."""
    parts = [str(part) for part in first["loc"]]
    where = ".".join(short(part).strip("'") for part in parts) or "the universe"
    kind = first["type"]
    if kind == "missing":
        return f"{where} is missing; add it"
    if kind == "extra_forbidden":
        return f"{where}: unknown key; {_hint(parts)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given: object = first["input"]
        kinds = cast("dict[str, object]", given) if isinstance(given, dict) else {}
        return (
            f"source.kind: {short(kinds.get('kind'))} is no kind of source; write one of {', '.join(SOURCES)}"
        )
    if kind in ("too_short", "tuple_type"):
        return f"{where}: write a list with at least one, [one, two]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: write key: value pairs in braces, or one a line"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _hint(parts: Sequence[str]) -> str:
    keys: Sequence[str] = list(Universe.model_fields)
    if len(parts) > 2 and parts[0] == "source":
        keys = list(SOURCES[parts[1]].model_fields)
        if len(parts) > 3:
            keys = list(ConfiguredSymbol.model_fields)
    near = difflib.get_close_matches(parts[-1], keys, n=1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(keys)}"


def _placed(universe: Universe, folder: Path) -> Universe:
    """The universe with the path of its source made absolute: whoever reads it may stand elsewhere."""
    source = universe.source
    if isinstance(source, CsvSource | ExcelSource) and "://" not in source.path:
        placed = source.model_copy(update={"path": str(folder / Path(source.path).expanduser())})
        return universe.model_copy(update={"source": placed})
    return universe
