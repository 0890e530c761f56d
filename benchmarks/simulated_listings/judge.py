"""What the product has found out, beside the truth."""

from __future__ import annotations

import random
import statistics
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from benchmarks.simulated_listings.platform import EXCHANGE
from benchmarks.simulated_listings.world import INDEX, LISTED, Company, World
from quant_assets.reader import companies, listing_events, prices, universe
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import load_settings
from quant_assets.tables.companies import read_book

DATES = 200
IN_TIME = 60
"""Sessions after its last bar within which a delisting has to be found."""
VALUES = ("open", "high", "low", "close", "volume", "dividend", "split_ratio")


@dataclass
class Judged:
    """The counts of the last line, and everything that is wrong in words."""

    dates: int = 0
    wrong_membership: int = 0
    delistings: int = 0
    found: int = 0
    false_delistings: int = 0
    false_alarms: int = 0
    """How often a symbol that traded on the session before was called suspended or suspect."""
    late: list[int] = field(default_factory=list[int])
    """Of each delisting that was found, how many sessions after the last bar."""
    linked: int = 0
    open_renames: int = 0
    wrong_renames: int = 0
    told_apart: int = 0
    open_reuses: int = 0
    wrong_reuses: int = 0
    mixed: int = 0
    """Companies of the product that are several."""
    prices: int = 0
    wrong_prices: int = 0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def line(self) -> str:
        """The counts, for the last line."""
        late = f"{statistics.median(self.late):g}/{max(self.late)}" if self.late else "-"
        return (
            f"dates={self.dates} wrong_membership={self.wrong_membership} "
            f"delistings found={self.found} missed={self.delistings - self.found} false={self.false_delistings} "
            f"sessions_late={late} false_alarms={self.false_alarms} "
            f"renames linked={self.linked} open={self.open_renames} wrong={self.wrong_renames} "
            f"reuses told_apart={self.told_apart} open={self.open_reuses} wrong={self.wrong_reuses} "
            f"mixed_companies={self.mixed} "
            f"prices companies={self.prices} wrong={self.wrong_prices}"
        )


def judge(world: World, seed: int) -> Judged:
    """The verdict on the store that the settings name, at the end of the world."""
    judged = Judged()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _membership(world, judged, random.Random(seed))
        _delistings(world, judged)
        _alarms(world, judged)
        _companies(world, judged)
        _prices(world, judged)
    return judged


def _membership(world: World, judged: Judged, chance: random.Random) -> None:
    first, last = world.sessions[0], world.sessions[-1]
    for _ in range(DATES):
        day = first + timedelta(days=chance.randrange((last - first).days + 1))
        at = _session_of(world, day)
        judged.dates += 1
        for name in (LISTED, INDEX):
            found = universe(name, on=day).collect()["symbol"].to_list()
            if found != world.members(name, at):
                judged.wrong_membership += 1
                differs = sorted(set(found) ^ set(world.members(name, at)))
                judged.wrong.append(f"membership: {name} on {day}: differs in {', '.join(differs)}")


def _delistings(world: World, judged: Judged) -> None:
    gone = {(one.symbol(one.last), world.sessions[one.last]): one for one in _delisted(world)}
    # A symbol that its company has given up has ended, too.
    renamed = {(old, world.sessions[at - 1]) for _, at, old, _ in _renames(world)}
    found: dict[tuple[str, date], int] = {}
    events = listing_events(EXCHANGE).filter(pl.col("event") == "delisted").collect()
    for symbol, day, known_at in events.select("symbol", "date", "known_at").iter_rows():
        at = _session_of(world, known_at.date())
        key = (symbol, day)
        if key in gone:
            found.setdefault(key, at - gone[key].last)
        elif key not in renamed:
            judged.false_delistings += 1
            judged.wrong.append(f"delisting: {symbol} on {day}, said at {known_at}, did not happen")
    judged.delistings, judged.found = len(gone), len(found)
    judged.late = list(found.values())
    for (symbol, day), one in gone.items():
        if (symbol, day) not in found and one.last + IN_TIME < len(world.sessions):
            judged.wrong.append(f"delisting: {symbol} on {day} was not found")


def _session_of(world: World, day: date) -> int:
    """The last session up to a day."""
    return max(at for at, session in enumerate(world.sessions) if session <= day)


def _alarms(world: World, judged: Judged) -> None:
    events = listing_events(EXCHANGE).filter(pl.col("event").is_in(["suspended", "suspect"])).collect()
    for symbol, event, day, known_at in events.select("symbol", "event", "date", "known_at").iter_rows():
        before = _session_of(world, known_at.date()) - 1
        if any(one.trades(before) and one.symbol(before) == symbol for one in world.companies.values()):
            judged.false_alarms += 1
            judged.wrong.append(f"{event}: {symbol} from {day} on, said at {known_at}, and it trades")


def _delisted(world: World) -> list[Company]:
    return [one for one in world.companies.values() if one.forgotten is not None]


def _renames(world: World) -> Iterator[tuple[Company, int, str, str]]:
    """The company, the first session under the new symbol, the old symbol and the new one."""
    for one in world.companies.values():
        for (_, old), (at, new) in zip(one.symbols, one.symbols[1:], strict=False):
            yield one, at, old, new


def _companies(world: World, judged: Judged) -> None:
    book = read_book(open_store(load_settings().store_location), EXCHANGE)
    at_end = {symbol: spells[-1].company_id for symbol, spells in book.of_symbol.items()}
    cases = {pair: case.evidence for pair, case in book.open.items()}
    for company, spells in book.companies.items():
        keys = {key for spell in spells for key in _truth_of(world, spell.symbol, *book.days(spell))}
        # Of an open case nothing is said yet.
        if len(keys) > 1 and not any(of == company for of, _ in cases):
            judged.mixed += 1
            judged.wrong.append(f"companies: {company} is {', '.join(sorted(keys))}")
    for _, at, old, new in _renames(world):
        former = next((spell.company_id for spell in book.of_symbol.get(old, ())), None)
        if former is not None and former == at_end.get(new):
            judged.linked += 1
        elif (former, new) in cases:
            judged.open_renames += 1
        else:
            judged.wrong_renames += 1
            judged.wrong.append(f"rename: {old} to {new} on {world.sessions[at]} is neither linked nor open")
    for symbol, first, second in _reuses(world):
        ids = [spell.company_id for spell in book.of_symbol.get(symbol, ())]
        if len(ids) == 2:
            judged.told_apart += 1
        elif any(of == symbol for _, of in cases):
            judged.open_reuses += 1
        else:
            judged.wrong_reuses += 1
            judged.wrong.append(
                f"reuse: {symbol} of {first.key} and, from {world.sessions[second.first]} on, {second.key} is "
                f"neither told apart nor open ({len(ids)} companies)"
            )


def _truth_of(world: World, symbol: str, first: date, last: date) -> set[str]:
    """The companies whose sessions under a symbol begin within some days."""
    found: set[str] = set()
    for one in world.companies.values():
        for since, name in one.symbols:
            if name == symbol and first <= world.sessions[since] <= last:
                found.add(one.key)
    return found


def _reuses(world: World) -> Iterator[tuple[str, Company, Company]]:
    by_symbol: dict[str, list[Company]] = {}
    for one in world.companies.values():
        for _, symbol in one.symbols:
            by_symbol.setdefault(symbol, []).append(one)
    for symbol, some in by_symbol.items():
        if len(some) > 1:
            first, second = sorted(some, key=lambda one: one.first)
            yield symbol, first, second


def _prices(world: World, judged: Judged) -> None:
    """Every company that stands under its last symbol, through all of its symbols that are linked."""
    known = companies().collect()
    book = read_book(open_store(load_settings().store_location), EXCHANGE)
    undecided = {symbol for _, symbol in book.open}
    for one in world.companies.values():
        symbol = one.symbol(one.last)
        spells = known.filter(pl.col("symbol") == symbol)
        ids = [
            row["company_id"]
            for row in spells.iter_rows(named=True)
            if one.key in _truth_of(world, symbol, row["first"] or date.min, row["last"] or date.max)
        ]
        if len(ids) != 1 or undecided & {name for _, name in one.symbols}:
            continue
        judged.prices += 1
        rows = prices(ids[0], by="company").collect()
        of_it = known.filter(pl.col("company_id") == ids[0])["symbol"].to_list()
        wrong = list(_wrong_rows(world, one, rows, set(of_it)))
        if wrong:
            judged.wrong_prices += 1
            judged.wrong.append(f"prices: {one.key} {symbol}: {len(wrong)} rows, {'; '.join(wrong[:3])}")


def _wrong_rows(world: World, one: Company, rows: pl.DataFrame, symbols: set[str]) -> Iterator[str]:
    linked = [since for since, symbol in one.symbols if symbol in symbols]
    begin = one.first if not linked else min(linked)
    found = {row["date"]: row for row in rows.iter_rows(named=True)}
    for at in range(begin, one.last + 1):
        row, day = found.pop(world.sessions[at], None), world.sessions[at]
        if row is None:
            if one.trades(at):
                yield f"none on {day}"
            continue
        if not one.trades(at):
            yield f"a row on {day}"
            continue
        values = (*one.prices[:, at - one.first], one.volume[at - one.first])
        truth = (*map(float, values), one.dividends.get(at, 0.0), one.ratios.get(at, 1.0))
        differs = [n for n, value in zip(VALUES, truth, strict=True) if abs((row[n] or 0.0) - value) > 1e-6]
        if differs:
            yield f"{day} {', '.join(differs)}"
    # What the source served of an unlinked company's earlier days is true as well.
    life = (world.sessions[one.first], world.sessions[one.last])
    yield from (f"a row on {day}" for day in found if not life[0] <= day <= life[1])
