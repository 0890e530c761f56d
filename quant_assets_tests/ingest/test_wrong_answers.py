"""What real sources have got wrong, one symbol each: what is stored of it on its evening and after, by value.

Each is told on one evening, to a store that was filled before it and to one that is filled for the first time; then
the source is right. Elsewhere stand refusals that come as success (`resources/test_refusals.py`), weeks beside
another symbol's missing bar (`defs/test_weekly_prices.py`), thin markets (`test_thin_market.py`), and what the
command line says of it all (`cli/`). `make lies` tells many more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.report import FillReport
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import HELD, REFUSED
from quant_assets.market.weekly import weekly_bars
from quant_assets.reader import prices
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start
from quant_assets.tables.daily import read_daily
from quant_assets_tests.ingest.harness import Harness, evening, sessions
from quant_assets_tests.support import listings

FIRST, LAST = date(2024, 3, 1), date(2024, 6, 7)
TOLD = date(2024, 5, 31)
"""The Friday on whose evening the source is wrong."""
DAYS = {code: sessions(FIRST, LAST, code) for code in ("US", "LSE")}
AFTER = [day for day in DAYS["US"] if day > TOLD][:3]
MEMORIAL_DAY = date(2024, 5, 27)
SPLIT, PAID = date(2024, 5, 28), date(2024, 5, 23)

Actions = Mapping[date, tuple[float, float]]
"""By ex-date the dividend and the split ratio."""


def may(day: int) -> date:
    return date(2024, 5, day)


def span(first: date, last: date, code: str = "US") -> list[date]:
    return [day for day in DAYS[code] if first <= day <= last]


THROUGH = span(FIRST, TOLD)
QUARTERLY: Actions = {date(2024, 3, 8): (0.5, 1.0), PAID: (0.5, 1.0)}
HALF = {SPLIT: (0.0, 2.0)}


@dataclass(frozen=True)
class Seen:
    """Something that was seen: what happened to a symbol, and what the source said instead on one evening.

    `held` are the sessions whose bar is not stored on that evening of a store that was filled before, `held_first`
    those of a first backfill (None: the same), `nulls_first` those whose dividend is null then. `unseen_first`: on a
    first backfill nothing contradicts it.
    """

    faults: list[dict[str, Any]]
    actions: Actions = field(default_factory=dict[date, tuple[float, float]])
    level: float = 205.0
    falls: Mapping[date, float] = field(default_factory=dict[date, float])
    code: str = "US"
    held: list[date] = field(default_factory=list[date])
    held_first: list[date] | None = None
    nulls_first: list[date] = field(default_factory=list[date])
    unseen_first: bool = False

    def holes(self, first: bool) -> list[date]:
        return self.held if not first or self.held_first is None else self.held_first


def fault(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": kind, **{k: str(v) if isinstance(v, date) else v for k, v in values.items()}}


FIVE = {may(29): (0.0, 5.0)}
ITEMS: dict[str, Seen] = {
    # A split with an ex-date after the last bar, prices not rescaled yet.
    "EARLY": Seen(
        [fault("split_before_ex_date", date=AFTER[0], ratio=4.0)], {AFTER[0]: (0.0, 4.0)},
        held_first=THROUGH,
    ),
    # The same split on two adjacent days, and twice on one.
    "TWICE": Seen([fault("split_repeated", date=SPLIT, sessions=1)], HALF, held_first=span(FIRST, may(29))),
    "DOUBLE": Seen([fault("split_repeated", date=SPLIT, sessions=0)], HALF),
    # A history rescaled in part: only the day before the ex-date; all but some weeks in the middle.
    "DAYB": Seen([fault("rescaled_bars", last=may(24), factor=5.0)], FIVE, held_first=span(FIRST, may(24))),
    "WEEKS": Seen([fault("rescaled_bars", first=date(2024, 4, 8), last=date(2024, 4, 26), factor=5.0)], FIVE,
        held_first=span(date(2024, 4, 8), date(2024, 4, 26)),
    ),
    "REVERSE": Seen(
        [fault("rescaled_bars", last=may(24), factor=0.1)], {may(29): (0.0, 0.1)}, level=20.0,
        held_first=span(FIRST, may(24)),
    ),
    # A whole answer that is off by a factor.
    "WHOLE": Seen([fault("rescaled_bars", factor=1.1)], held=[TOLD], held_first=[], unseen_first=True),
    # Bars stamped at 23:00 of the evening before.
    "STAMPS": Seen([fault("stamped_before", first=SPLIT, last=TOLD)], QUARTERLY),
    # Dividends: a hundred times too much, pounds beside pence, never paid, repeated, twice on one day, gains twice.
    # The price did not fall by a hundred times; a hundredth is held, and the other dividend is not.
    "PENCE": Seen([fault("dividend_factor", date=PAID, factor=100.0)], QUARTERLY),
    "PHANTOM": Seen([fault("phantom_dividend", date=may(29), amount=676.5)], QUARTERLY, nulls_first=[may(29)]),
    "AGAIN": Seen([fault("dividend_repeated", date=PAID, sessions=-1)], QUARTERLY, nulls_first=[may(22)]),
    "SUMMED": Seen([fault("dividend_repeated", date=PAID, sessions=0)], QUARTERLY),
    "POUND": Seen([fault("dividend_factor", date=PAID, factor=0.01)], QUARTERLY, code="LSE",
        nulls_first=[PAID],
    ),
    # A known dividend left out of one answer.
    "FORGOT": Seen([fault("events_left_out", what="dividends")], QUARTERLY, nulls_first=[*QUARTERLY]),
    # One field of one bar a hundred times too high, or too low.
    "HIGH": Seen([fault("field_factor", date=may(29), field="high", factor=100.0)], held_first=[may(29)]),
    "LOW": Seen([fault("field_factor", date=may(29), field="low", factor=0.01)], held_first=[may(29)]),
    # A dividend in pounds beside prices in pence; an amount and a ratio that cannot be read.
    "UNIT": Seen([fault("dividend_currency", date=PAID, currency="GBP", factor=0.01)], QUARTERLY, code="LSE"),
    "TEXT": Seen([fault("unreadable_event", date=PAID, what="dividend", text="3.14 USD")], QUARTERLY,
        nulls_first=[PAID],
    ),
    "ZERO": Seen([fault("unreadable_event", date=SPLIT, what="split", text="1:0")], HALF,
        held_first=span(FIRST, SPLIT),
    ),
    # A hundredfold break, and a crash that is one.
    "BREAK": Seen([fault("rescaled_bars", last=may(17), factor=0.01)], code="LSE", level=1900.0,
        held_first=span(FIRST, may(17), "LSE"),
    ),
    "CRASH": Seen([], falls={may(29): 0.2}, held=span(may(29), TOLD)),
    # Actions dated on closed days.
    "CLOSED": Seen([fault("action_on_closed_day", date=SPLIT, to=MEMORIAL_DAY)], HALF),
    "WEEKEND": Seen(
        [fault("action_on_closed_day", date=may(13), to=may(11))], {may(13): (0.5, 1.0)}
    ),
    # More decimals than four, before a split that takes them away.
    "TINY": Seen([], {may(29): (0.0, 0.02)}, level=0.000123),
    "FINE": Seen([], HALF, level=24.94985),
}  # fmt: skip


def name_of(key: str) -> str:
    return f"{key}.L" if ITEMS[key].code == "LSE" else key


def traded(key: str) -> pl.DataFrame:
    """What was traded of a symbol, and paid, and split."""
    seen, rows = ITEMS[key], list[tuple[Any, ...]]()
    digits = 2 if seen.level > 1 and key != "FINE" else 5 if key == "FINE" else 6
    number = sorted(ITEMS).index(key)
    level = seen.level * (1 + number / 1000) if digits == 2 else seen.level
    for at, day in enumerate(DAYS[seen.code]):
        dividend, ratio = seen.actions.get(day, (0.0, 1.0))
        level = (
            (level * (1 + ((at * 7 + number) % 5 - 2) * 0.002) - dividend) / ratio * seen.falls.get(day, 1.0)
        )
        close = round(level, digits)
        bar = [round(close * f, digits) for f in (0.996, 1.008, 0.992)]
        rows.append((name_of(key), day, *bar, close, 100_000 + 50 * at + number, dividend, ratio))
    return pl.DataFrame(
        rows, schema=["symbol", "date", *PRICES, "volume", "dividend", "split_ratio"], orient="row"
    )


TRUE = {key: traded(key) for key in ITEMS}


@dataclass
class Store:
    """A store, its reports of the evening on which the source was wrong, its rows then and three sessions later."""

    harness: Harness
    first: bool
    reports: dict[str, FillReport]
    then: dict[str, pl.DataFrame]
    after: dict[str, pl.DataFrame]

    def rows(self, key: str, *, after: bool = False) -> pl.DataFrame:
        rows = (self.after if after else self.then)[ITEMS[key].code]
        return rows.filter(pl.col("symbol") == name_of(key))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayHandle]:
    file = tmp_path_factory.mktemp("traded") / "traded.csv"
    pl.concat(TRUE.values()).write_csv(file)
    with start(ReplayConfig(history_files=[(file, "as_traded")], now=evening(LAST))) as handle:
        yield handle


@pytest.fixture(scope="module", params=["established", "first"])
def store(
    request: pytest.FixtureRequest, source: ReplayHandle, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """Both exchanges filled, lied to on one evening, and told the truth on the next three."""
    harness, first = Harness(tmp_path_factory.mktemp("home"), source.url), request.param == "first"
    catalogs = {code: listings(*(name_of(key) for key in ITEMS if ITEMS[key].code == code)) for code in DAYS}

    def fill(day: date, days: list[date] | None = None) -> dict[str, FillReport]:
        chosen = {
            code: days if days is not None else [day]
            for code in DAYS
            if days is not None or day in DAYS[code]
        }
        return {
            code: harness.live(source, day, some, catalog=catalogs[code], code=code)
            for code, some in chosen.items()
        }

    def stored() -> dict[str, pl.DataFrame]:
        return {code: read_daily(harness.store, code) for code in DAYS}

    source.clear_faults()
    if not first:
        live = THROUGH[-8:-1]
        before = [day for day in THROUGH if day < live[0]]
        fill(before[-1], before)
        for day in live:
            fill(day)
    for key, seen in ITEMS.items():
        source.add_faults(*({**one, "symbol": name_of(key)} for one in seen.faults))
    reports = fill(TOLD, THROUGH if first else None)
    then = stored()
    source.clear_faults()
    for day in AFTER:
        fill(day)
    return Store(harness, first, reports, then, stored())


def differences(stored: pl.DataFrame, true: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Stored values that are not true: date, field, stored, true. What is null is not known, and not wrong."""
    both = stored.filter(pl.col("close").is_not_null()).join(true, on="date", how="left", suffix="_true")
    found: list[tuple[Any, ...]] = []
    for name in (*PRICES, "volume", "dividend", "split_ratio"):
        # After a reverse split a volume is known to the share that it was rounded to.
        room = 50 if name == "volume" else 0
        off = both.filter(
            ((pl.col(name) - pl.col(f"{name}_true")).abs() > room) | pl.col("close_true").is_null()
        )
        found += off.select("date", pl.lit(name), name, f"{name}_true").rows()
    return found


@pytest.mark.parametrize("key", ITEMS)
def test_nothing_wrong_is_stored_and_what_is_in_doubt_is_held_and_named(store: Store, key: str) -> None:
    seen, true = ITEMS[key], TRUE[key]
    rows = store.rows(key)
    assert bool(differences(rows, true)) is (store.first and seen.unseen_first)
    days = [day for day in DAYS[seen.code] if day <= TOLD]
    present = rows.filter(pl.col("close").is_not_null())["date"].to_list()
    assert sorted({*days} - {*present}) == seen.holes(store.first)
    nulls = rows.filter(pl.col("close").is_not_null() & pl.col("dividend").is_null())["date"].to_list()
    assert nulls == (seen.nulls_first if store.first else [])
    report = store.reports[seen.code]
    if seen.holes(store.first) or nulls:
        assert report.result == "PARTIAL"
        assert name_of(key) in report.held["symbol"]
    # Those before it have been named on their own evenings.
    for day in {*seen.holes(store.first)} & {*report.cells}:
        missing = {one.symbol: one.outcome for one in report.cells[day].missing}
        assert missing[name_of(key)] in (HELD, REFUSED)


@pytest.mark.parametrize("key", ITEMS)
def test_three_sessions_after_the_source_is_right_the_store_is(store: Store, key: str) -> None:
    true = TRUE[key].filter(pl.col("date") <= AFTER[-1])
    rows = store.rows(key, after=True)
    assert differences(rows, true) == []
    assert rows.filter(pl.col("close").is_not_null())["date"].to_list() == true["date"].to_list()
    assert rows["dividend"].null_count() == 0


@pytest.mark.parametrize("key", ITEMS)
def test_weekly_split_adjusted_and_total_return_reads_agree(store: Store, key: str) -> None:
    """All of them from one column of closes and the actions, by a loop: no expression is shared with the product."""
    seen, name = ITEMS[key], name_of(key)
    store.harness.put_catalog(name, code=seen.code)
    read = {
        how: prices(name, adjust=how, store=store.harness.store).collect()
        for how in ("none", "split", "total_return")
    }
    none = read["none"].filter(pl.col("close").is_not_null())
    closes, ratios = none["close"].to_list(), none["split_ratio"].to_list()
    dividends = none["dividend"].to_list()
    later, paid = [1.0], [1.0]
    for at in range(len(closes) - 1, 0, -1):
        later.append(later[-1] * ratios[at])
        paid.append(paid[-1] * (1 - dividends[at] * ratios[at] / closes[at - 1]))
    later, paid = later[::-1], paid[::-1]
    split = [close / s for close, s in zip(closes, later, strict=True)]
    assert read["split"]["close"].drop_nulls().to_list() == pytest.approx(split, rel=1e-9)
    total = [close * f for close, f in zip(split, paid, strict=True)]
    assert read["total_return"]["close"].drop_nulls().to_list() == pytest.approx(total, rel=1e-9)
    # A split is no move of the price.
    steps = {day: math.log(b / a) for day, (a, b) in zip(none["date"][1:], pairwise(split), strict=True)}
    assert [day for day, step in steps.items() if abs(step) > 0.02] == list(seen.falls)
    asked = pl.DataFrame({"date": DAYS[seen.code], "asked": [day <= AFTER[-1] for day in DAYS[seen.code]]})
    for week in weekly_bars(none, asked).iter_rows(named=True):
        inside = none.with_columns(pl.Series("split_close", split), pl.Series("s", later)).filter(
            pl.col("date").is_between(week["week"], week["week"] + timedelta(days=6))
        )
        last = inside.row(-1, named=True)
        assert week["close"] / last["s"] == pytest.approx(last["split_close"], rel=1e-9)
        assert week["split_ratio"] == pytest.approx(math.prod(inside["split_ratio"]), rel=1e-12)
        assert week["dividends"] == pytest.approx(sum(inside["dividend"] / inside["s"]) * last["s"], abs=1e-9)
        assert week["high"] / last["s"] == pytest.approx(max(inside["high"] / inside["s"]), rel=1e-9)


def test_the_sessions_are_what_they_are_taken_for() -> None:
    assert not exchange("US").calendar().is_session(MEMORIAL_DAY)
    assert [day.isoformat() for day in AFTER] == ["2024-06-03", "2024-06-04", "2024-06-05"]
