"""Rows that stand and rows that come: nothing lost, nothing twice, and the same whichever came first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, PRICES, VALUES, empty_daily
from quant_assets.market.corporate_actions import as_traded
from quant_assets.market.flags import codes
from quant_assets.market.reconcile import compare, merge, new_row, settle

KNOWN = datetime(2024, 3, 18, 22, tzinfo=UTC)
MOMENTS = [KNOWN + timedelta(days=n) for n in range(3)]
Key = tuple[str, date]


def row(symbol: str = "A", day: int = 1, close: float | None = 10.0, **more: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "date": date(2024, 3, day),
        **dict.fromkeys(PRICES, close),
        "volume": 0 if close is None else 100,
        "dividend": 0.0,
        "split_ratio": 1.0,
        "currency": "USD",
        "flags": "",
        "fetched_at": KNOWN,
        **more,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_SCHEMA).sort(KEYS)


def answered(rows: pl.DataFrame, scale: float = 1.0) -> pl.DataFrame:
    return rows.with_columns(scale=pl.lit(scale)).select(list(ANSWER_SCHEMA))


def by_key(rows: pl.DataFrame) -> dict[Key, dict[str, Any]]:
    return {(r["symbol"], r["date"]): r for r in rows.iter_rows(named=True)}


def values(of: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(of[name] for name in VALUES)


rows_drawn = st.builds(
    row,
    symbol=st.sampled_from(["A", "B"]),
    day=st.integers(1, 3),
    close=st.sampled_from([None, 10.0, 11.0]),
    dividend=st.sampled_from([0.0, 0.5]),
    split_ratio=st.sampled_from([1.0, 1.0, 2.0, 0.1]),
    flags=st.sampled_from(["", "", "no_trade", "no_trade,stale_price", "volume_unknown"]),
    fetched_at=st.sampled_from(MOMENTS),
)
tables = st.lists(rows_drawn, max_size=8, unique_by=lambda r: (r["symbol"], r["date"])).map(
    lambda rows: frame(*rows)
)


# --- merge


@given(st.lists(tables, min_size=1, max_size=4))
def test_no_row_is_lost_and_none_is_there_twice(versions: list[pl.DataFrame]) -> None:
    merged = merge(*versions)
    assert by_key(merged).keys() == {key for version in versions for key in by_key(version)}
    assert merged.height == len(by_key(merged))
    assert merged.schema == DAILY_SCHEMA
    assert_frame_equal(merged, merged.sort(KEYS))


@given(st.lists(tables, min_size=2, max_size=4), st.data())
def test_the_order_of_the_versions_never_matters(versions: list[pl.DataFrame], data: st.DataObject) -> None:
    shuffled = [version.reverse() for version in data.draw(st.permutations(versions))]
    assert_frame_equal(merge(*shuffled), merge(*versions))


@given(tables, tables)
def test_merging_again_changes_nothing(one: pl.DataFrame, other: pl.DataFrame) -> None:
    merged = merge(one, other)
    for again in (merge(merged), merge(merged, merged), merge(merged, one), merge(merged, other)):
        assert_frame_equal(again, merged)


@given(tables, tables)
def test_values_said_again_later_keep_the_moment_they_became_known(
    one: pl.DataFrame, other: pl.DataFrame
) -> None:
    merged = merge(one, other)
    later = merged.with_columns(pl.col("fetched_at") + pl.duration(days=9))
    assert_frame_equal(merge(later, merged), merged)


@given(tables, tables)
def test_each_row_is_the_one_that_takes_precedence(one: pl.DataFrame, other: pl.DataFrame) -> None:
    first, second = by_key(one), by_key(other)
    for key, kept in by_key(merge(one, other)).items():
        if key not in first or key not in second:
            assert kept == first.get(key, second.get(key))
            continue
        early, late = sorted((first[key], second[key]), key=lambda r: r["fetched_at"])
        both = ",".join(sorted({*codes(early["flags"]), *codes(late["flags"])}))
        if values(early) == values(late):
            at_once = early["fetched_at"] == late["fetched_at"]
            assert kept == {**early, "flags": both if at_once else early["flags"]}
        elif (early["close"] is None) != (late["close"] is None):
            bar, bare = (early, late) if late["close"] is None else (late, early)
            dividend = bar["dividend"] or bare["dividend"]
            ratio = bar["split_ratio"] if bar["split_ratio"] != 1.0 else bare["split_ratio"]
            assert kept == {**bar, "dividend": dividend, "split_ratio": ratio, "flags": both}
        elif early["fetched_at"] < late["fetched_at"]:
            assert kept == late


def test_of_several_bars_the_latest_knowledge_wins_and_keeps_its_first_moment() -> None:
    said = [row(close=10.0), row(close=11.0, fetched_at=MOMENTS[1]), row(close=11.0, fetched_at=MOMENTS[2])]
    assert merge(*(frame(r) for r in reversed(said))).row(0, named=True) == said[1]


def test_values_that_come_back_after_others_became_known_when_they_came_back() -> None:
    said = [row(close=c, fetched_at=at) for c, at in zip((10.0, 11.0, 10.0), MOMENTS, strict=True)]
    assert merge(*(frame(r) for r in said)).row(0, named=True) == said[2]


def test_of_two_bars_of_one_moment_the_one_that_knows_more_wins() -> None:
    # Their values alone can tell them apart, and the order of the versions must not.
    for name in ("volume", "dividend"):
        known, unknown = row(), {**row(), name: None}
        for said in ((known, unknown), (unknown, known)):
            assert merge(*(frame(r) for r in said)).row(0, named=True) == known


@pytest.mark.parametrize("bare_comes", [0, 2], ids=["before the bar", "after it"])
def test_a_bar_beats_an_action_alone_and_takes_the_action_over(bare_comes: int) -> None:
    bare = row(close=None, dividend=0.5, split_ratio=0.1, fetched_at=MOMENTS[bare_comes])
    bar = row(close=9.0, fetched_at=MOMENTS[1])
    assert merge(frame(bare), frame(bar)).row(0, named=True) == {**bar, "dividend": 0.5, "split_ratio": 0.1}


def test_a_bar_takes_over_a_consolidation_that_became_known_after_the_dividend() -> None:
    bare = row(close=None, dividend=0.5)
    bar = row(close=9.0, fetched_at=MOMENTS[2])
    both = {**bare, "split_ratio": 0.1, "fetched_at": MOMENTS[1]}
    merged = merge(frame(bare), frame(both), frame(bar)).row(0, named=True)
    assert merged == {**bar, "dividend": 0.5, "split_ratio": 0.1}


def test_a_bar_that_names_its_own_action_keeps_it() -> None:
    bare = row(close=None, dividend=0.5, split_ratio=2.0)
    bar = row(close=9.0, dividend=0.4, split_ratio=3.0, fetched_at=MOMENTS[1])
    assert merge(frame(bare), frame(bar)).row(0, named=True) == bar


@pytest.mark.parametrize("ratio", [0.1, 2.0])
def test_a_bar_that_was_given_its_action_wins_over_itself_without_it(ratio: float) -> None:
    # Both have one moment, and only the values can tell them apart.
    bar = row(close=9.0)
    assert merge(frame(bar), frame({**bar, "split_ratio": ratio}))["split_ratio"].item() == ratio


# --- compare


@given(tables, tables)
def test_a_comparison_holds_every_row_once(stored: pl.DataFrame, other: pl.DataFrame) -> None:
    found = compare(stored, answered(other))
    keys = {name: by_key(part) for name, part in vars_of(found).items()}
    old, new = by_key(stored), by_key(other)
    assert sum(part.height for part in vars_of(found).values()) == sum(len(k) for k in keys.values())
    assert keys["fresh"].keys() == new.keys() - old.keys()
    both = new.keys() & old.keys()
    assert keys["bare"].keys() == {k for k in both if old[k]["close"] is None and new[k]["close"] is not None}
    assert keys["pairs"].keys() == {k for k in both if (old[k]["close"] is None) == (new[k]["close"] is None)}
    assert keys["absent"].keys() == {
        k for k in old if old[k]["close"] is not None and (k not in new or new[k]["close"] is None)
    }
    # Every answered row, and every bar that stands, is in one of them.
    everything = set().union(*keys.values())
    assert everything >= new.keys()
    assert everything >= {k for k in old if old[k]["close"] is not None}
    assert found.fresh.schema == ANSWER_SCHEMA
    assert found.absent.schema == DAILY_SCHEMA
    for key, pair in keys["pairs"].items():
        assert pair["differs"] == (values(old[key]) != values(new[key]))


def vars_of(found: Any) -> dict[str, pl.DataFrame]:
    return {name: getattr(found, name) for name in ("fresh", "bare", "pairs", "absent")}


@given(tables, tables)
def test_the_new_rows_of_joined_ones_are_those_of_the_answer(
    stored: pl.DataFrame, other: pl.DataFrame
) -> None:
    found = compare(stored, answered(other))
    for part in (found.pairs, found.bare):
        assert_frame_equal(new_row(part), other.join(part, on=KEYS, how="semi").sort(KEYS))
        assert new_row(part).schema == DAILY_SCHEMA


@pytest.mark.parametrize("scale", [1.0, 0.1, 7.0])
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        *((name, 10.0, 10.01) for name in PRICES),
        ("close", 0.05, 0.051),
        ("close", 0.051, 0.05),
        ("close", 0.2015, 0.2016),
        ("close", 799.99, 800.0),
        ("close", 9_000.01, 9_000.02),
        ("close", 90_000.1, 90_000.3),
        ("volume", 100, 120),
        ("dividend", 0.12, 0.1201),
        ("dividend", 0.0, 0.001),
        ("split_ratio", 1.0, 2.0),
        ("split_ratio", 1.0, 1.05),
        ("currency", "GBP", "GBp"),
        ("currency", "GBP", None),
        ("close", 10.0, None),
        ("volume", None, 100),
        ("volume", None, 0),
        ("dividend", None, 0.5),
        ("dividend", None, 0.0),
    ],
)
def test_a_real_change_differs_at_every_scale(name: str, old: Any, new: Any, scale: float) -> None:
    # A bar's own presence is what close tells, so a price that goes is looked at beside one that stays.
    name = "open" if name == "close" and new is None else name
    stored, other = frame({**row(), name: old}), frame({**row(), name: new})
    assert compare(stored, answered(other, scale)).pairs["differs"].to_list() == [True]
    assert compare(stored, answered(stored, scale)).pairs["differs"].to_list() == [False]


def test_a_volume_may_differ_by_what_the_source_rounds_off_and_no_more() -> None:
    stored = frame(row(volume=1_000_004))
    near, far = frame(row(volume=1_000_000)), frame(row(volume=1_000_020))
    assert compare(stored, answered(near, 0.1)).pairs["differs"].to_list() == [False]
    assert compare(stored, answered(far, 0.1)).pairs["differs"].to_list() == [True]
    # Of a volume that was not rescaled, each share is known.
    assert compare(stored, answered(near, 1.0)).pairs["differs"].to_list() == [True]


def looked_at(cents: int, volume: int, ratios: tuple[float, ...]) -> pl.DataFrame:
    """One day's bar as it is answered after splits by `ratios`, of a day each: float32 and today's shares."""
    factor = float(np.prod(ratios)) if ratios else 1.0
    served = float(np.float32(cents / 100 / factor))
    days = [date(2024, 3, 2 + n) for n in range(len(ratios))]
    # The days of the splits have bars too, and say what scale they were seen at.
    bars = [(date(2024, 3, 1), *[served] * 4, round(volume * factor)), *((d, *[1.0] * 4, 1) for d in days)]
    schema = {"date": pl.Date, **dict.fromkeys(PRICES, pl.Float64), "volume": pl.Int64}
    rows = as_traded(
        pl.DataFrame(bars, schema=schema, orient="row"),
        pl.DataFrame(
            list(zip(days, ratios, strict=True)), schema={"date": pl.Date, "ratio": pl.Float64}, orient="row"
        ),
        pl.DataFrame(schema={"date": pl.Date, "amount": pl.Float64}),
    )
    known = datetime(2024, 3, 1 + len(ratios), 22, tzinfo=UTC)
    return rows.with_columns(
        symbol=pl.lit("A"),
        currency=pl.lit("USD"),
        flags=pl.lit(""),
        fetched_at=pl.lit(known).cast(pl.Datetime("us", "UTC")),
    ).select(list(ANSWER_SCHEMA))


SCALES = (0.1, 0.04, 0.5, 1.5, 2.0, 3.0, 7.0, 20.0, 112.0)


@given(
    st.integers(1, 10_000_000),
    st.integers(0, 10**9),
    st.lists(st.sampled_from(SCALES), max_size=3),
    st.integers(0, 3),
)
@settings(max_examples=80)
def test_a_bar_seen_before_and_after_any_splits_differs_only_by_a_volume_that_was_not_known(
    cents: int, volume: int, ratios: list[float], known: int
) -> None:
    first, second = looked_at(cents, volume, tuple(ratios[:known])), looked_at(cents, volume, tuple(ratios))
    bar = pl.col("date") == date(2024, 3, 1)
    stored = first.filter(bar).select(list(DAILY_SCHEMA))
    pairs = compare(stored, second).pairs
    assert pairs.height == 1
    # What consolidations have rounded to nothing is known again after a split.
    (before,), (after,) = stored["volume"], second.filter(bar)["volume"]
    assert pairs["differs"].to_list() == [before is None and after is not None], pairs.row(0, named=True)


def test_a_volume_that_was_rounded_to_nothing_and_is_served_again_is_a_difference() -> None:
    first, second = looked_at(907, 269, (0.5, 0.04)), looked_at(907, 269, (0.5, 0.04, 2.0))
    assert (first["volume"][0], second["volume"][0]) == (None, 275)
    assert compare(first[:1].select(list(DAILY_SCHEMA)), second).pairs["differs"].to_list() == [True]


def test_a_volume_rounded_off_by_an_earlier_look_is_no_difference() -> None:
    # Seen after a 1:10 reverse split it came in tens of shares; a later 10:1 split brings every share back.
    first, second = looked_at(1_000, 1_234_564, (0.1,)), looked_at(1_000, 1_234_564, (0.1, 10.0))
    assert (first["volume"][0], second["volume"][0]) == (1_234_560, 1_234_564)
    stored = first[:1].select(list(DAILY_SCHEMA))
    assert compare(stored, second).pairs["differs"].to_list() == [False]


def test_a_price_that_two_looks_recover_differently_is_no_difference() -> None:
    # From 83,000 on a float32 cannot carry cents, and every scale has a shortest decimal of its own.
    first, second = looked_at(8_601_621, 1, (3.0,)), looked_at(8_601_621, 1, (3.0, 7.0))
    assert (first["close"][0], second["close"][0]) == (86_016.21, 86_016.2)
    assert compare(first[:1].select(list(DAILY_SCHEMA)), second).pairs["differs"].to_list() == [False]


@pytest.mark.parametrize(("name", "flag"), [("volume", "volume_unknown"), ("dividend", "dividend_held")])
def test_what_is_unknown_now_says_nothing_against_what_stands(name: str, flag: str) -> None:
    stood = frame(row(dividend=0.5, flags="no_trade"))
    flags = ",".join(sorted(["no_trade", flag]))
    unknown = row(**{"dividend": 0.5, name: None}, flags=flags, fetched_at=MOMENTS[1])
    (pair,) = compare(stood, answered(frame(unknown))).pairs.rows(named=True)
    assert not pair["differs"]
    # Where another value is taken, the known one stays beside it.
    corrected = answered(frame({**unknown, "high": 10.5, "close": 10.2}))
    found = compare(stood, corrected).pairs
    assert found["differs"].item()
    (taken,) = new_row(found).rows(named=True)
    assert (taken["close"], taken[name], taken["flags"]) == (10.2, stood[name].item(), "no_trade")
    # On another basis it would be wrong, and stays unknown.
    rescaled = answered(frame({**unknown, **dict.fromkeys(PRICES, 5.0)}))
    (taken,) = new_row(compare(stood, rescaled).pairs).rows(named=True)
    assert (taken[name], taken["flags"]) == (None, flags)


@pytest.mark.parametrize(("fetched", "gone"), [(1, False), (4, False), (6, True)])
def test_a_zero_gives_way_to_the_unknown_where_a_reverse_split_has_made_it(fetched: int, gone: bool) -> None:
    # Earlier versions took what a 1:1,000 split on the fifth had left of a volume for a day without a trade.
    moment = datetime(2024, 3, fetched, 22, tzinfo=UTC)
    stood = frame(row(volume=0, high=11.0, fetched_at=moment))
    unknown = row(volume=None, flags="volume_unknown", high=11.0)
    answer = pl.concat([answered(frame(unknown), 0.001), answered(frame(row(day=5, split_ratio=0.001)), 1.0)])
    (pair,) = compare(stood, answer).pairs.rows(named=True)
    assert (pair["differs"], pair["volume_new"]) == ((True, None) if gone else (False, 0))


def test_flags_alone_are_no_difference() -> None:
    stood = frame(row(flags="no_trade"))
    assert not compare(stood, answered(frame(row(flags="stale_price")))).pairs["differs"].item()
    assert not compare(stood, answered(frame(row()))).pairs["differs"].item()


def test_round_trips_of_every_scale_are_no_difference() -> None:
    # Many more than can be drawn, at once: a symbol each.
    random = np.random.default_rng(7)
    cents = np.concatenate(
        [np.arange(1, 400), random.integers(1, 10_000_000, 1_500), np.arange(7_999_900, 8_000_200)]
    )
    close = cents / 100
    volume = random.integers(0, 10**8, len(cents))
    base = pl.DataFrame(
        {
            "symbol": [f"S{n:05}" for n in range(len(cents))],
            "date": [date(2024, 3, 1)] * len(cents),
            **dict.fromkeys(PRICES, close),
            "volume": volume,
            "dividend": 0.0,
            "split_ratio": 1.0,
            "currency": "USD",
            "flags": "",
            "fetched_at": KNOWN,
        },
        schema=DAILY_SCHEMA,
    )
    none = pl.DataFrame(schema={"date": pl.Date, "amount": pl.Float64})
    for scale in SCALES:
        served = base.select(
            "date",
            *(pl.Series(name, (close / scale).astype(np.float32).astype(np.float64)) for name in PRICES),
            pl.Series("volume", np.rint(volume * scale).astype(np.int64)),
        )
        split = pl.DataFrame({"date": [date(2024, 3, 4)], "ratio": [scale]})
        rows = as_traded(served, split, none).filter(pl.col("close").is_not_null())
        answer = pl.concat(
            [base.select("symbol", "currency", "flags", "fetched_at"), rows], how="horizontal"
        ).select(list(ANSWER_SCHEMA))  # fmt: skip
        wrong = compare(base, answer).pairs.filter("differs")
        assert wrong.is_empty(), (scale, wrong.row(0, named=True))


# --- settle


@given(tables, tables, tables, tables)
def test_settling_replaces_only_the_very_row_that_was_judged_and_loses_nothing(
    stored: pl.DataFrame, judged: pl.DataFrame, other: pl.DataFrame, fresh: pl.DataFrame
) -> None:
    # What stands now is partly what was judged, partly what another run has put there meanwhile.
    old = merge(judged, frame(*stored.rows(named=True)[::2])) if stored.height else judged
    new = other.join(old, on=KEYS, how="semi")
    old = old.join(new, on=KEYS, how="semi")
    settled = settle(stored, old, new, fresh)
    assert settled.schema == DAILY_SCHEMA
    assert_frame_equal(settled, settled.sort(KEYS))
    stands, was, comes, added = by_key(stored), by_key(old), by_key(new), by_key(fresh)
    result = by_key(settled)
    assert settled.height == len(result)
    assert result.keys() == stands.keys() | added.keys()
    for key, kept in result.items():
        if key not in stands:
            assert kept == added[key]
            continue
        there = comes[key] if key in comes and was[key] == stands[key] else stands[key]
        if there["close"] is not None or key not in added:
            assert kept == there
        elif added[key]["close"] is not None:
            assert values(kept)[:5] == values(added[key])[:5]
            assert kept["dividend"] in (there["dividend"], added[key]["dividend"])


def test_a_row_with_another_moment_is_not_the_row_that_was_judged() -> None:
    old, new = frame(row()), frame(row(close=11.0, fetched_at=MOMENTS[2]))
    assert_frame_equal(settle(old, old, new, empty_daily()), new)
    meanwhile = frame(row(fetched_at=MOMENTS[1]))
    assert_frame_equal(settle(meanwhile, old, new, empty_daily()), meanwhile)
    assert_frame_equal(settle(empty_daily(), old, new, empty_daily()), empty_daily())


def test_a_fresh_row_never_overwrites_a_bar_however_late_it_became_known() -> None:
    stored = frame(row())
    fresh = frame(row(close=11.0, fetched_at=MOMENTS[2]), row("B"))
    settled = settle(stored, empty_daily(), empty_daily(), fresh)
    assert_frame_equal(settled, frame(row(), row("B")))


def test_a_fresh_bar_takes_over_the_action_that_stood_alone() -> None:
    stored = frame(row(close=None, dividend=0.5, split_ratio=0.1))
    bar = row(close=9.0, fetched_at=MOMENTS[1])
    settled = settle(stored, empty_daily(), empty_daily(), frame(bar))
    assert settled.row(0, named=True) == {**bar, "dividend": 0.5, "split_ratio": 0.1}


def test_a_judged_row_with_nulls_is_recognised() -> None:
    bare = frame(row(close=None, dividend=0.5))
    new = frame(row(close=None, dividend=0.4, fetched_at=MOMENTS[1]))
    assert_frame_equal(settle(bare, bare, new, empty_daily()), new)
