"""The reads of a store that is behind an API: the same functions, narrowed by the same filters, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import polars as pl

from quant_assets.exchanges import UnknownExchange
from quant_assets.reader.arguments import Store, Wanted
from quant_assets.reader.lazy import Pushed
from quant_assets.reader.snapshots import SnapshotMismatch
from quant_assets.resources.object_store import (
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    StoreUnavailable,
)
from quant_assets.resources.remote_api import ApiProblem, RemoteApi, is_address
from quant_assets.resources.settings import load_settings
from quant_assets.tables.catalog_reads import ReadCatalog, UnknownSymbol, exchanges_of
from quant_assets.tables.membership import MembershipUnknown
from quant_assets.tables.user_warnings import warn_user

_FAMILY = {
    kind.__name__: kind
    for kind in (
        ObjectDamaged, ObjectNotFound, StoreUnavailable, MembershipUnknown, SnapshotMismatch, UnknownExchange,
        ValueError,
    )
}  # fmt: skip
"""What an API may name as its error."""


def served(store: Store) -> Served | None:
    """The API that a store is behind; None where the store is read itself. Raises SettingsError."""
    if store is not None and not is_address(store):
        return None
    settings = load_settings()
    location = settings.store_location if store is None else store
    return Served(RemoteApi(str(location), settings)) if is_address(location) else None


def universe_path(name: str) -> str:
    """That of a universe's table."""
    return f"universes/{quote(name, safe='')}"


class Served:
    """Reads of an API. They raise what the same reads of the store raise, and ApiProblem."""

    def __init__(self, api: RemoteApi) -> None:
        self._api = api

    def read(
        self,
        path: str,
        parameters: Mapping[str, object],
        schema: pl.Schema,
        pushed: Pushed,
        symbols: Sequence[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """A table in batches with the columns of `schema` that are needed."""
        names = [name for name in schema if pushed.needs(name)] or list(schema)[:1]
        asked = _texts(parameters)
        if pushed.columns is not None:
            asked["columns"] = ",".join(names)
        try:
            for frame in self._api.frames(path, asked, symbols, warn_user):
                yield frame.select(pl.col(name).cast(schema[name]) for name in names)
        except ApiProblem as problem:
            raise _of_the_family(problem) from problem

    def read_symbols(
        self, path: str, parameters: Mapping[str, object], schema: pl.Schema, pushed: Pushed, wanted: Wanted
    ) -> Iterator[pl.DataFrame]:
        """As `read`, of those of the symbols wanted that can pass."""
        names = wanted.listed()
        if wanted.universe is None and pushed.of("symbol", "exchange"):
            catalog = self._catalog()
            chosen = catalog.listed if names is None else exchanges_of(catalog, names)
            names = [name for code, some in chosen.items() for name in pushed.symbols(code, some)]
        if names is None or names:
            yield from self.read(path, {**parameters, "universe": wanted.universe}, schema, pushed, names)

    def snapshot(self, path: str, parameters: Mapping[str, object], wanted: Wanted) -> str:
        """The id of what `read_symbols` of all columns would give."""
        try:
            asked = _texts({**parameters, "universe": wanted.universe})
            return self._api.snapshot(path, asked, wanted.listed())
        except ApiProblem as problem:
            raise _of_the_family(problem) from problem

    def symbols_of(self, universe: str) -> list[str]:
        """The symbols that are in a universe now."""
        schema = pl.Schema({"symbol": pl.String()})
        return pl.concat(self.read(universe_path(universe), {}, schema, Pushed(frozenset(schema))))[
            "symbol"
        ].to_list()

    def spelled(self, names: Sequence[str]) -> list[str]:
        """Symbols as the catalog has them. Raises UnknownSymbol."""
        return [name for some in exchanges_of(self._catalog(), names).values() for name in some]

    def _catalog(self) -> ReadCatalog:
        """Which symbols there are, and where."""
        schema = pl.Schema({"symbol": pl.String(), "exchange": pl.String()})
        rows = pl.concat(self.read("catalog", {}, schema, Pushed(frozenset(schema))))
        return ReadCatalog(ObjectInfo("", 0, ""), rows, dict(rows.iter_rows()))


def _texts(parameters: Mapping[str, object]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in parameters.items()}


def _of_the_family(problem: ApiProblem) -> Exception:
    """What the read of the store itself would raise."""
    told, document = str(problem), problem.document
    if document.get("error") == UnknownSymbol.__name__:
        return UnknownSymbol(told, document.get("symbols", ()), document.get("near"))
    kind = _FAMILY.get(str(document.get("error")))
    if kind is None:
        kind = {409: SnapshotMismatch, 422: ValueError}.get(problem.status)
    return problem if kind is None else kind(told)
