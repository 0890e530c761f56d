"""All cases of a seed: every lie on every number of evenings, each about a symbol of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

# Importing them declares the kinds.
from benchmarks.lies import bars, dividends, refusals, splits  # noqa: F401  # pyright: ignore[reportUnusedImport]
from benchmarks.lies.lie import KINDS, Kind, Lie
from benchmarks.lies.market import EVENINGS, HISTORY, SHORT_HISTORY, Market, Slot, market
from benchmarks.lies.pasts import AROUND, write_history
from benchmarks.lies.undetectable import How, why_undetectable
from quant_assets.replay.faults import FaultKind
from quant_assets.replay.generator import symbol_names

HONEST, BYSTANDER = "honest", "bystander"


@dataclass(frozen=True, eq=False)
class Case:
    """One lie about one symbol; `faults` are complete, for the replay server."""

    kind: Kind
    variant: str
    slot: Slot
    symbol: str
    faults: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """As it is named on the command line and in tables."""
        return f"{self.kind.name}/{self.variant.strip()}/{self.slot.evenings}"

    def undetectable(self, how: How) -> str:
        """Why it may be stored while it is told; empty when it must not be."""
        return why_undetectable(self.kind.name, self.variant, how, self.slot.evenings)


@dataclass(frozen=True)
class Choice:
    """Which cases to make. `quick`: so many `variants` a kind, told for two evenings, after a short history."""

    kind: str = "*"
    case: str = "*"
    seed: int = 1
    quick: bool = False
    variants: int = 2

    def market(self, code: str) -> Market:
        """A market of these cases."""
        return market(code, SHORT_HISTORY if self.quick else HISTORY)


@dataclass(eq=False)
class Cases:
    """The cases, and the truth about all symbols (as-traded columns); `absent`: kinds the server cannot tell yet."""

    cases: list[Case] = field(default_factory=list[Case])
    bystanders: list[Case] = field(default_factory=list[Case])
    truth: pl.DataFrame = field(default_factory=pl.DataFrame)
    absent: list[str] = field(default_factory=list[str])

    def of(self, code: str, *, alone: bool) -> list[Case]:
        """The cases of an exchange that are told in company, or those that are told alone."""
        return [one for one in self.cases if one.slot.market.code == code and one.kind.alone is alone]


def make_cases(choice: Choice, folder: Path) -> Cases:
    """The cases of a choice; writes the histories behind them to `folder`/lies.csv."""
    made = Cases()
    frames: list[pl.DataFrame] = []
    markets: dict[str, Any] = {}
    names = {code: iter(symbol_names(market(code).venue, 4000)) for code in ("US", "LSE")}

    def draw(lie_past: Any, slot: Slot) -> str:
        name = next(names[slot.market.code])
        markets[name] = slot.market
        # Symbols are numbered anew for each choice of cases: what a case looks like must not depend on it.
        frames.append(lie_past.of(name, slot, choice.seed))
        return name

    for kind, lie, slot in _lies(choice, made.absent):
        symbol = draw(lie.past, slot)
        twin = draw(lie.twin, slot) if lie.twin is not None else ""
        made.cases.append(Case(kind, lie.variant, slot, symbol, _told(lie, slot, symbol, twin)))
    nobody = Kind(BYSTANDER, lambda _: ())
    for code in ("US", "LSE"):
        pasts = list(AROUND.items())
        for n in range(7 if choice.quick else 24):
            name, past = pasts[n % len(pasts)]
            slot = Slot(choice.market(code), EVENINGS[n % 3])
            made.bystanders.append(Case(nobody, f"{name} {n}", slot, draw(past, slot)))
    made.truth = write_history(frames, markets, str(folder / "lies.csv"))
    return made


def _lies(choice: Choice, absent: list[str]) -> Iterator[tuple[Kind, Lie, Slot]]:
    known = set(FaultKind)
    evenings = (2,) if choice.quick else EVENINGS
    for kind, number in zip(KINDS.by_name.values(), count()):
        if not fnmatchcase(kind.name, choice.kind):
            continue
        for at, nights in enumerate(evenings):
            if kind.alone and nights != 2:
                continue
            slot = Slot(choice.market(kind.market), nights)
            lies = list(kind.make(slot))
            untold = {str(f["kind"]) for lie in lies for f in lie.faults} - known
            if untold:
                absent += sorted(untold - set(absent))
            lies = [lie for lie in lies if all(f["kind"] in known for f in lie.faults)]
            if choice.quick:
                # Others each time, so that a few seeds see them all.
                start = (choice.variants * choice.seed + at + number) % max(1, len(lies))
                lies = [*lies[start:], *lies[:start]][: choice.variants]
            for lie in lies:
                if fnmatchcase(f"{kind.name}/{lie.variant.strip()}/{nights}", choice.case):
                    yield kind, lie, slot


def _told(lie: Lie, slot: Slot, symbol: str, twin: str) -> tuple[dict[str, Any], ...]:
    span = {
        "since": slot.market.opens(slot.first).isoformat(),
        "until": slot.market.opens(slot.first + slot.evenings).isoformat(),
    }
    return tuple(
        {**{k: twin if v == "{twin}" else v for k, v in fault.items()}, "symbol": symbol, **span}
        for fault in lie.faults
    )


def symbols_of(cases: Sequence[Case]) -> list[str]:
    """The symbols of some cases."""
    return [one.symbol for one in cases]
