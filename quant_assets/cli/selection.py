"""Which symbols a command that fetches is about: all, those of --symbols, or those of universes and phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_assets.cli.usage import UsageProblem, catalog_of, check_in_catalog, chosen_universes, read_symbols

if TYPE_CHECKING:
    from quant_assets.exchanges import Exchange
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


@dataclass(frozen=True, slots=True)
class Selection:
    """What the options name: nothing, symbols, or universes with the exchanges that they are of."""

    symbols: Sequence[str] = ()
    universes: Sequence[str] = ()
    codes: frozenset[str] = frozenset()

    def exchanges(self, exchanges: Sequence[Exchange]) -> list[Exchange]:
        """Those of some exchanges that something is selected of. Raises UsageProblem where that is none."""
        if not self.universes:
            return list(exchanges)
        found = [one for one in exchanges if one.code in self.codes]
        if not found:
            asked = ", ".join(one.code for one in exchanges)
            raise UsageProblem(
                f"{', '.join(self.universes)}: of {', '.join(sorted(self.codes))}, and not of {asked}; correct "
                "--exchange, or leave it out"
            )
        return found

    def in_catalog(self, store: ObjectStore, codes: Sequence[str]) -> list[str]:
        """The symbols selected, by the catalog of the store; none where all are. Raises UsageProblem."""
        import polars as pl

        if not self.universes:
            check_in_catalog(store, self.symbols, "--symbols", codes)
            return list(self.symbols)
        from quant_assets.tables.discovered import DISCOVERED_UNIVERSE

        named = ", ".join(self.universes)
        catalog = catalog_of(store, codes, named)
        is_in = pl.any_horizontal(
            # Those that have left are part of its history, and are asked for while they are watched.
            pl.col(column).list.contains(name)
            for name in self.universes
            for column in ("universes", "left_universes")
            if column in catalog.columns
        )
        found = catalog.filter(is_in)["symbol"].to_list()
        if not found:
            first = self.universes[0]
            look = (
                "catalog proposals"
                if first == DISCOVERED_UNIVERSE
                else f"refresh-universe --universe {first}"
            )
            raise UsageProblem(f"{named}: the catalog has no symbol of it (`quant-assets {look}` says why)")
        return found


def select(settings: Settings, symbols: str | None, universe: str | None, phase: int | None) -> Selection:
    """What --symbols, --universe and --phase select. Raises UsageProblem, CatalogError."""
    wanted = read_symbols(symbols, "--symbols")
    if universe is None and phase is None:
        return Selection(wanted)
    if wanted:
        raise UsageProblem(
            "--symbols names symbols, --universe and --phase name lists of them; leave one out"
        )
    from quant_assets.catalog.refresh import refreshable
    from quant_assets.catalog.universes_file import read_universes
    from quant_assets.exchanges import enabled
    from quant_assets.tables.discovered import DISCOVERED_UNIVERSE

    universes = refreshable(
        read_universes(settings.universe, enabled(settings.exchanges, settings.exchanges_file))
    )
    listed = [part.strip() for part in (universe or "").split(",") if part.strip()]
    if phase is not None or DISCOVERED_UNIVERSE not in listed:
        names = chosen_universes(universes, universe, phase)
        return Selection((), names, frozenset(one.exchange for one in universes if one.name in names))
    # No universe of the file, and so of no phase; it may have symbols of any exchange.
    others = [name for name in listed if name != DISCOVERED_UNIVERSE]
    names = chosen_universes(universes, ",".join(others), None) if others else []
    return Selection((), [*names, DISCOVERED_UNIVERSE], frozenset(settings.exchanges))
