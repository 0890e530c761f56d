"""The rules of a daily bar: each broken one is told in words, and no row is dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.bars import ANSWER_SCHEMA, DAILY_SCHEMA, KEYS, PRICES
from quant_assets.market.validation import CONTEXT, validate, validate_answer, with_context

GOOD: dict[str, Any] = {
    "symbol": "A",
    "date": date(2024, 3, 15),
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 100,
    "dividend": 0.0,
    "split_ratio": 1.0,
    "currency": "USD",
    "flags": "",
    "fetched_at": datetime(2024, 3, 15, 22, tzinfo=UTC),
}
EMPTY = {**GOOD, **dict.fromkeys(PRICES), "volume": 0, "dividend": 0.5}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_SCHEMA)


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        EMPTY,
        {**GOOD, **dict.fromkeys(PRICES, 5.0)},
        {**GOOD, "volume": 0},
        {**GOOD, "low": 10.5},
        {**GOOD, "high": 10.5, "open": 11.5},
        {**GOOD, "volume": None, "flags": "volume_unknown"},
        {**GOOD, "dividend": None, "flags": "dividend_held,no_trade"},
        {**EMPTY, "dividend": None, "flags": "dividend_held"},
        {**GOOD, "dividend": 0.37, "split_ratio": 0.1},
    ],
)
def test_a_bar_that_keeps_the_rules_is_good(row: dict[str, Any]) -> None:
    good, refused = validate(frame(row))
    assert good.equals(frame(row))
    assert refused.is_empty()
    assert refused.columns == [*DAILY_SCHEMA, "rule"]


BROKEN = [
    ({"symbol": None}, "no symbol"),
    ({"date": None}, "no date"),
    ({"open": 0.0, "low": 0.0}, "open is not positive; low is not positive"),
    ({"open": math.nan}, "open is not a number"),
    ({"high": math.inf}, "high is not a number"),
    ({"high": -12.0}, "high is not positive"),
    ({"low": 12.5}, "high is below low"),
    ({"high": 8.5}, "high is below low"),
    ({"close": None}, "some prices are missing"),
    ({"open": None}, "some prices are missing"),
    (dict.fromkeys(PRICES), "volume without prices"),
    ({"volume": -1}, "volume is negative"),
    ({"volume": None}, "no volume"),
    ({"volume": None, "flags": "no_trade,stale_price"}, "no volume"),
    ({**dict.fromkeys(PRICES), "volume": None, "flags": "volume_unknown"}, "volume without prices"),
    ({"flags": None}, "no flags"),
    ({"dividend": -0.1}, "dividend is negative"),
    ({"dividend": math.nan}, "dividend is not a number"),
    ({"dividend": None}, "no dividend"),
    ({"split_ratio": 0.0}, "split ratio is not positive"),
    ({"split_ratio": math.inf}, "split ratio is not a number"),
    ({"split_ratio": None}, "no split ratio"),
    ({"currency": None}, "no currency"),
    ({"fetched_at": None}, "no fetched at"),
]


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_rule_is_told_in_words_and_spares_the_other_rows(
    change: dict[str, Any], words: str, lazy: bool
) -> None:
    bad, other = {**GOOD, **change}, {**GOOD, "symbol": "B"}
    rows = frame(other, bad)
    good, refused = validate(rows.lazy() if lazy else rows)
    assert good.equals(frame(other))
    assert refused.drop("rule").equals(frame(bad), null_equal=True)
    told = refused["rule"].item().split("; ")
    assert set(words.split("; ")) <= set(told)
    assert not any("|" in part or "_" in part for part in told)


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_two_rows_of_one_session_are_both_refused(lazy: bool) -> None:
    rows = frame(GOOD, {**GOOD, "close": 10.0}, {**GOOD, "symbol": "B"})
    good, refused = validate(rows.lazy() if lazy else rows)
    assert good["symbol"].to_list() == ["B"]
    assert refused["rule"].to_list() == ["two rows for one session"] * 2


def test_no_rows_are_no_rows_on_both_sides() -> None:
    good, refused = validate(frame())
    assert good.is_empty()
    assert refused.is_empty()


prices = st.sampled_from([None, -1.0, 0.0, 9.0, 10.0, 11.0, math.nan])
drawn_rows = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.just(value) for name, value in GOOD.items()},
            "symbol": st.sampled_from(["A", "B", "C", None]),
            **dict.fromkeys(PRICES, prices),
            "volume": st.sampled_from([None, -1, 0, 5]),
        }
    ),
    max_size=6,
)


@given(drawn_rows)
def test_good_and_refused_rows_are_together_all_the_rows(rows: list[dict[str, Any]]) -> None:
    good, refused = validate(frame(*rows))
    together = pl.concat([good, refused.drop("rule")]).sort(KEYS + PRICES + ("volume",))
    assert together.equals(frame(*rows).sort(KEYS + PRICES + ("volume",)), null_equal=True)
    assert refused.filter(pl.col("rule") == "").is_empty()
    again, none = validate(good)
    assert none.is_empty()
    assert again.height == good.height


# --- in context

D0 = date(2024, 1, 1)
MOVED = "moved by more than a factor of 4.5 without a split or dividend that explains it"


def answer(
    closes: Sequence[float | None],
    *,
    symbol: str = "A",
    splits: Mapping[int, float] | None = None,
    dividends: Mapping[int, float] | None = None,
    days: Sequence[int] | None = None,
) -> pl.DataFrame:
    """A symbol's whole answer, a bar a day; a null close is an action without a bar."""
    rows = [
        {
            **GOOD,
            "symbol": symbol,
            "date": D0 + timedelta(days=days[n] if days else n),
            **dict.fromkeys(PRICES, close),
            "volume": 0 if close is None else 100,
            "split_ratio": (splits or {}).get(n, 1.0),
            "dividend": (dividends or {}).get(n, 0.0),
            "scale": 1.0,
        }
        for n, close in enumerate(closes)
    ]
    return pl.DataFrame(rows, schema=ANSWER_SCHEMA)


def in_context(
    rows: pl.DataFrame,
    *,
    listing: tuple[date | None, date | None, str | None] = (None, None, None),
    closed: Sequence[date] = (),
    accepted: Sequence[int] = (),
    rejected: Sequence[int] = (),
) -> pl.DataFrame:
    symbols = rows["symbol"].unique().sort().drop_nulls()
    listings = pl.DataFrame(
        [(symbol, *listing) for symbol in symbols],
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date, "currency": pl.String},
        orient="row",
    )
    sessions = rows["date"].unique().drop_nulls()
    decided = [
        pl.DataFrame(
            [("A", D0 + timedelta(days=n)) for n in days], schema={"symbol": pl.String, "date": pl.Date},
            orient="row",
        )
        for days in (accepted, rejected)
    ]  # fmt: skip
    known = with_context(
        rows,
        sessions.filter(~sessions.is_in(list(closed))),
        pl.Series(["USD", "GBP"]),
        listings,
        *decided,
    )
    assert known.columns == [*rows.columns, *CONTEXT]
    assert known.drop(CONTEXT).equals(rows, null_equal=True)
    return known


def refused_days(rows: pl.DataFrame, **context: Any) -> list[int]:
    good, refused = validate_answer(in_context(rows, **context))
    assert good.schema == ANSWER_SCHEMA
    assert good.height + refused.height == rows.height
    assert set(refused["rule"]) <= {MOVED}
    return [(day - D0).days for day in refused["date"]]


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_the_rules_of_a_bar_hold_in_context_as_well(change: dict[str, Any], words: str, lazy: bool) -> None:
    bad, other = {**GOOD, "scale": 1.0, **change}, {**GOOD, "scale": 1.0, "symbol": "B"}
    rows = in_context(pl.DataFrame([other, bad], schema=ANSWER_SCHEMA))
    good, refused = validate_answer(rows.lazy() if lazy else rows)
    assert good["symbol"].to_list() == ["B"]
    assert refused.columns == [*ANSWER_SCHEMA, "rule"]
    told = refused["rule"].item().split("; ")
    assert set(words.split("; ")) <= set(told)
    assert not any("|" in part or "_" in part for part in told)


DAY2 = D0 + timedelta(days=2)


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(
    ("closes", "context", "words", "bad"),
    [
        ([5.0] * 4, {"closed": [DAY2]}, "the exchange was closed that day", [2]),
        ([5.0] * 4, {"listing": (DAY2, None, None)}, "outside the dates of the listing", [0, 1]),
        ([5.0] * 4, {"listing": (None, DAY2, None)}, "outside the dates of the listing", [3]),
        (
            [5.0] * 2,
            {"listing": (None, None, "GBP")},
            "a currency that the exchange or the catalog does not name",
            [0, 1],
        ),
        ([5.0, 5.0, 50.0, 5.0], {}, MOVED, [2]),
    ],
)
def test_a_fault_that_only_the_context_shows_is_refused_in_words(
    closes: list[float], context: dict[str, Any], words: str, bad: list[int], lazy: bool
) -> None:
    rows = in_context(answer(closes), **context)
    good, refused = validate_answer(rows.lazy() if lazy else rows)
    assert [(day - D0).days for day in refused["date"]] == bad
    assert refused["rule"].unique().to_list() == [words]
    assert good.height == len(closes) - len(bad)
    # Without that context there is nothing to refuse, but for the spike.
    assert refused_days(answer(closes)) == (bad if words == MOVED else [])


def test_a_bar_far_from_one_that_a_person_accepted_says_what_can_be_done() -> None:
    _, refused = validate_answer(in_context(answer([5.0, 5.0, 50.0, 5.0]), accepted=[2]))
    (words,) = refused["rule"]
    assert refused["date"].to_list() == [D0 + timedelta(days=3)]
    assert "from a bar before it that a person has accepted" in words
    assert "accept this one as well" in words


def test_a_currency_that_the_exchange_does_not_quote_in_is_refused() -> None:
    rows = answer([5.0]).with_columns(currency=pl.lit("EUR"))
    for listing in ((None, None, None), (None, None, "EUR")):
        _, refused = validate_answer(in_context(rows, listing=listing))
        assert refused["rule"].to_list() == ["a currency that the exchange or the catalog does not name"]


@pytest.mark.parametrize(("served", "known"), [("GBP", False), ("GBp", True), ("GBX", False)])
@pytest.mark.parametrize("named", [None, "GBp"])
def test_pounds_are_refused_where_pence_are_quoted(served: str, known: bool, named: str | None) -> None:
    listings = pl.DataFrame(
        {"symbol": ["A"], "listed_on": [None], "delisted_on": [None], "currency": [named]},
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date, "currency": pl.String},
    )
    rows = answer([5.0]).with_columns(currency=pl.lit(served))
    none = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date})
    found = with_context(rows, rows["date"], pl.Series(["GBp"]), listings, none)
    assert found["currency_known"].to_list() == [known]
    # An exchange that quotes in both is held to what the catalog names.
    both = with_context(rows, rows["date"], pl.Series(["GBp", "GBP"]), listings, none)
    assert both["currency_known"].to_list() == [served == "GBp" or (served == "GBP" and named is None)]


def test_a_catalog_without_currencies_bounds_nothing() -> None:
    listings = pl.DataFrame({"symbol": ["A"], "listed_on": [None], "delisted_on": [None]}).cast(
        {"listed_on": pl.Date, "delisted_on": pl.Date}
    )
    rows, none = answer([5.0]), pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date})
    known = with_context(rows, rows["date"], pl.Series(["USD"]), listings, none)
    assert known.select(CONTEXT).row(0) == (True, True, True, True, False)


# --- moves


@pytest.mark.parametrize(
    ("closes", "actions"),
    [
        ([100.0, 100.0, 10.0, 10.0], {"splits": {2: 10.0}}),
        ([1.0, 1.0, 20.0, 20.0], {"splits": {2: 0.05}}),
        ([100.0, 100.0, 10.0, 10.0], {"dividends": {2: 90.0}}),
        ([100.0, 100.0, None, 10.0], {"splits": {2: 10.0}}),
        ([100.0, 100.0, 5.0, 5.0], {"splits": {2: 10.0}, "dividends": {2: 4.0}}),
    ],
    ids=["split", "reverse split", "special dividend", "split on a day without a bar", "both"],
)
def test_a_move_that_an_action_explains_is_no_fault(
    closes: list[float | None], actions: dict[str, dict[int, float]]
) -> None:
    assert refused_days(answer(closes, **actions)) == []
    last = [n for n, close in enumerate(closes) if close is not None][-2:]
    # The same without the action is one: the test would see it.
    assert refused_days(answer(closes)) == (last if closes[2] is not None else last[1:])


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0, 0.5, 1 / 3, 0.25])
def test_a_small_split_that_nobody_knows_yet_is_stored(factor: float) -> None:
    assert refused_days(answer([30.0] * 5 + [30.0 / factor] * 3)) == []


@pytest.mark.parametrize("factor", [5.0, 10.0, 0.2, 0.1])
def test_a_large_split_that_nobody_knows_yet_waits(factor: float) -> None:
    assert refused_days(answer([30.0] * 5 + [30.0 / factor] * 3)) == [5, 6, 7]


@pytest.mark.parametrize("level", [50.0, 0.5, 500.0])
@pytest.mark.parametrize("length", [1, 2])
def test_of_a_spike_only_the_spike_is_refused(level: float, length: int) -> None:
    closes = [5.0] * 5 + [level] * length + [5.0] * 9
    assert refused_days(answer(closes)) == list(range(5, 5 + length))


def test_a_spike_across_a_day_with_an_action_alone_is_refused() -> None:
    closes = [5.0, 5.0, None, 50.0, 5.0]
    assert refused_days(answer(closes, dividends={2: 0.1})) == [3]


@pytest.mark.parametrize("level", [50.0, 0.5])
def test_a_new_level_is_believed_once_five_bars_have_kept_to_it(level: float) -> None:
    before = [5.0] * 5
    assert refused_days(answer(before + [level] * 5)) == [5, 6, 7, 8, 9]
    # Then the move itself is believed, too: a crash is a fact.
    assert refused_days(answer(before + [level] * 6)) == []
    assert refused_days(answer(before + [level] * 30)) == []
    # What a person has rejected is not brought back by what came after.
    assert refused_days(answer(before + [level] * 6), rejected=[5]) == [5]
    assert refused_days(answer(before + [level] * 6), rejected=[0, 4]) == []


def test_a_level_below_one_that_later_bars_leave_is_not_believed() -> None:
    assert refused_days(answer([0.05] * 5 + [0.5] * 3 + [0.05] * 6)) == [5, 6, 7]


def test_where_nobody_has_rejected_anything_a_new_level_is_believed() -> None:
    rows, none = answer([5.0] * 5 + [50.0] * 6), pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date})
    listings = pl.DataFrame(
        {"symbol": ["A"], "listed_on": [None], "delisted_on": [None]},
        schema={"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date},
    )
    known = with_context(rows, rows["date"], pl.Series(["USD"]), listings, none)
    assert known["explained"].all()


@pytest.mark.parametrize("level", [500.0, 0.05, 470.0])
def test_a_hundredfold_is_never_believed_however_long_it_lasts(level: float) -> None:
    assert refused_days(answer([5.0] * 5 + [level] * 50)) == list(range(5, 55))


@pytest.mark.parametrize(("gap", "bad"), [(30, [2, 3]), (31, [])])
def test_after_a_long_suspension_any_price_may_be_right(gap: int, bad: list[int]) -> None:
    days = [0, 1, 1 + gap, 2 + gap]
    found = refused_days(answer([5.0, 5.0, 50.0, 50.0], days=days))
    assert found == [days[n] for n in bad]


def test_a_row_that_a_person_has_accepted_needs_no_reason_and_is_what_follows_is_measured_by() -> None:
    closes = [5.0, 5.0, 500.0, 500.0, 500.0]
    assert refused_days(answer(closes)) == [2, 3, 4]
    assert refused_days(answer(closes), accepted=[2]) == []
    assert refused_days(answer(closes), accepted=[3]) == [2]


def test_penny_stocks_may_move_a_tick() -> None:
    assert refused_days(answer([0.001, 0.002, 0.001, 0.004, 0.001, 0.002] * 3)) == []
    assert refused_days(answer([0.001, 0.001, 0.005, 0.001])) == [2]


def test_each_symbol_is_measured_by_its_own_bars() -> None:
    rows = pl.concat(
        [answer([5.0] * 4), answer([500.0] * 4, symbol="B"), answer([5.0, 50.0, 5.0], symbol="C")]
    )
    _, refused = validate_answer(in_context(rows))
    assert refused.select(KEYS).rows() == [("C", D0 + timedelta(days=1))]


@given(st.lists(st.sampled_from([None, 1.0, 3.0, 10.0, 100.0]), min_size=1, max_size=12), st.data())
def test_no_row_of_an_answer_is_dropped_and_an_accepted_one_is_never_refused(
    closes: list[float | None], data: st.DataObject
) -> None:
    accepted = data.draw(st.lists(st.integers(0, len(closes) - 1), max_size=2, unique=True))
    rows = answer(closes, dividends={n: 0.5 for n, close in enumerate(closes) if close is None})
    good, refused = validate_answer(in_context(rows, accepted=accepted))
    assert pl.concat([good, refused.drop("rule")]).sort(KEYS).equals(rows, null_equal=True)
    assert not {D0 + timedelta(days=n) for n in accepted} & set(refused["date"])
    kept = good["close"].drop_nulls().to_list()
    assert refused.is_empty() or len(set(closes) - {None}) > 1
    assert kept[:1] == [close for close in closes if close is not None][:1]
