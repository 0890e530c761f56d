"""What a changed value means: each class by its evidence, and never one where only the source's rescaling moved."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market.bars import ANSWER_SCHEMA, KEYS, PRICES
from quant_assets.market.reconcile import compare
from quant_assets.market.restatements import (
    CONFIRMED,
    OTHER_HISTORY,
    PERSISTENT,
    RESCALED,
)
from quant_assets.market.restating import restate
from quant_assets_tests.market.histories import (
    KNOWN,
    N,
    applied,
    closes,
    day,
    held_and_then_taken,
    history,
    judge,
    later,
    live,
    nothing_changes,
    put,
    rescaled,
    same,
    told,
)

# --- splits that become known late


def test_a_split_that_becomes_known_on_rows_fetched_before_it_is_one_event_on_one_row() -> None:
    truth = history(splits={20: 4.0})
    stored_rows = put(truth, 20, split_ratio=1.0)
    found = judge(stored_rows, later(truth, 4.0))
    assert found.events.rows() == [
        ("A", day(20), "split_ratio", "1.0", "4.0", "late_split", day(20), 1),
    ]
    assert found.old["date"].to_list() == [day(20)]
    assert same(applied(stored_rows, later(truth), found), later(truth))


@pytest.mark.parametrize("ratio", [2.0, 1.5, 7.0, 0.1, 0.04])
def test_a_late_split_heals_the_whole_history_it_proves_wrong_as_one_event(ratio: float) -> None:
    truth = history(splits={20: ratio})
    stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 1 / ratio, before=20)
    answer = later(truth, ratio)
    found = judge(stored_rows, answer)
    assert found.events.rows() == [
        ("A", day(20), "split_ratio", "1.0", repr(ratio), "late_split", day(0), 21),
    ]
    assert found.held.is_empty()
    assert found.reaches_back == []
    healed = applied(stored_rows, answer, found)
    assert same(healed, answer)
    assert healed.filter(pl.col("fetched_at") == KNOWN)["date"].to_list() == [day(n) for n in range(21, N)]


def test_a_late_split_seen_in_a_part_of_the_history_asks_for_all_of_it_and_says_nothing_else() -> None:
    truth = history(splits={20: 2.0})
    stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 0.5, before=20)
    # A correction beside it has to wait for the whole history as well.
    found = judge(put(stored_rows, 25, volume=7), later(truth, 2.0), whole=False)
    assert found.reaches_back == ["A"]
    assert found.events.is_empty()
    assert found.old.is_empty()
    assert found.new.is_empty()


def test_a_late_split_that_left_the_rows_alone_does_not_reach_back_of_what_was_compared() -> None:
    truth = history(splits={20: 2.0})
    found = judge(put(truth, 20, split_ratio=1.0), later(truth, 2.0), whole=False)
    assert found.reaches_back == []
    assert told(found) == [(day(20), "split_ratio", "late_split")]


def test_a_late_split_on_the_first_row_compared_is_taken_on_that_row() -> None:
    truth = history(splits={0: 2.0})
    found = judge(put(truth, 0, split_ratio=1.0), later(truth), whole=False)
    assert told(found) == [(day(0), "split_ratio", "late_split")]
    assert found.reaches_back == []


@pytest.mark.parametrize("stale", [True, False], ids=["history rescaled", "rows unchanged"])
def test_corrections_beside_a_late_split_are_events_of_their_own(stale: bool) -> None:
    truth = history(splits={20: 2.0})
    stored_rows = put(truth, 20, split_ratio=1.0)
    stored_rows = rescaled(stored_rows, 0.5, before=20) if stale else stored_rows
    wrong = put(put(stored_rows, 25, volume=7), 10, close=24.9 if stale else 49.8)
    assert wrong.filter(pl.col("date") == day(10))["close"].item() != stored_rows["close"][10]
    answer = later(truth, 2.0)
    found = judge(wrong, answer)
    events = [event for event in told(found) if event[0] != day(10)]
    assert events == [(day(20), "split_ratio", "late_split"), (day(25), "volume", "correction")]
    assert (day(10), "close", "correction") in told(found)
    assert found.held.is_empty()
    if not stale:
        assert len(told(found)) == 3
    assert same(applied(wrong, answer, found), answer)


def test_dividends_beside_a_late_split_are_told_unless_it_explains_them() -> None:
    truth = history(splits={20: 2.0}, dividends={3: 1.0, 5: 1.6, 7: 0.3})
    stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 0.5, before=20)
    # Half of the first, as prices are; the second another one; the third as it was, which is no event of its own.
    wrong = put(put(stored_rows, 3, dividend=0.5), 5, dividend=0.9)
    found = judge(wrong, later(truth, 2.0))
    assert told(found) == [(day(5), "dividend", "correction"), (day(20), "split_ratio", "late_split")]


def test_a_correction_on_the_ex_date_itself_is_told_beside_the_late_split() -> None:
    truth = history(splits={20: 2.0})
    stored_rows = put(truth, 20, split_ratio=1.0, volume=7)
    found = judge(stored_rows, later(truth, 2.0))
    assert sorted(told(found)) == [(day(20), "split_ratio", "late_split"), (day(20), "volume", "correction")]
    assert found.new.height == 1


TWO = {10: 2.0, 20: 3.0}


@pytest.mark.parametrize("first", [2, 10, 18, 19])
@pytest.mark.parametrize("stale", [(True, True), (False, False), (True, False), (False, True)])
def test_two_late_splits_at_once_are_two_events_and_heal_what_each_proves_wrong(
    first: int, stale: tuple[bool, bool]
) -> None:
    truth = history(splits={first: 2.0, 20: 3.0})
    stored_rows = put(put(truth, first, split_ratio=1.0), 20, split_ratio=1.0)
    if stale[0]:
        stored_rows = rescaled(stored_rows, 1 / 2.0, before=first)
    if stale[1]:
        stored_rows = rescaled(stored_rows, 1 / 3.0, before=20)
    answer = later(truth, 6.0)
    found = judge(stored_rows, answer)
    assert told(found) == [
        (day(first), "split_ratio", "late_split"),
        (day(20), "split_ratio", "late_split"),
    ]
    assert found.held.is_empty()
    assert found.old.height == found.old.unique(KEYS).height == found.events["rows"].sum()
    assert same(applied(stored_rows, answer, found), answer)


# --- splits that the answer does not name


def test_a_split_seen_live_is_inferred_from_what_stands_when_the_source_rescales_without_a_word() -> None:
    truth = history(splits={20: 2.0})
    stored_rows = live(put(truth, 20, split_ratio=1.0))
    answer = later(rescaled(stored_rows, 0.5, before=20))
    found = judge(stored_rows, answer, whole=False)
    assert found.events.rows() == [("A", day(20), "split_ratio", "1.0", "2.0", "late_split", day(20), 1)]
    assert found.new["split_ratio"].to_list() == [2.0]
    healed = applied(stored_rows, answer, found)
    assert_frame_equal(healed.drop("fetched_at"), truth.drop("fetched_at"))
    # The source goes on without a word: that is the same knowledge, not news.
    again = judge(healed, answer)
    nothing_changes(again)
    assert [note.split(";")[0] for note in again.notes] == [
        f"A: the answer leaves out the split of {day(20)}"
    ]


def test_a_jump_fetched_in_one_go_and_repaired_by_the_source_is_taken() -> None:
    # The bars before the split came as they were traded, without it; now the source has rescaled them.
    stored_rows = put(history(splits={20: 2.0}), 20, split_ratio=1.0)
    answer = later(rescaled(stored_rows, 0.5, before=20))
    found = judge(stored_rows, answer)
    assert found.events.select("date", "field", "class", "first_date", "rows").rows() == [
        (day(20), "close", "late_split", day(0), 20)
    ]
    assert same(applied(stored_rows, answer, found), answer)
    assert judge(stored_rows, answer, whole=False).reaches_back == ["A"]
    # What is corrected after it is told for itself.
    found = judge(stored_rows, put(answer, 25, volume=7))
    assert found.events.select("date", "field", "class", "rows").rows() == [
        (day(20), "close", "late_split", 20), (day(25), "volume", "correction", 1),
    ]  # fmt: skip


def test_a_history_rescaled_without_a_split_that_explains_it_is_held() -> None:
    stored_rows = history()
    answer = later(rescaled(stored_rows, 0.5, before=20))
    found = judge(stored_rows, answer, whole=True)
    assert found.events.is_empty()
    assert found.old.is_empty()
    assert found.reaches_back == []
    # The rows since then are on the basis of those that are stored, so new ones are in no doubt.
    assert found.in_doubt == []
    assert found.held["date"].to_list() == [day(n) for n in range(20)]
    assert found.held["rule"].unique().to_list() == [f"{RESCALED}: by 0.5"]
    assert found.held.select(list(ANSWER_SCHEMA)).equals(answer[:20])
    assert len(found.notes) == 1
    # Of a part of a history nothing is held: accepted, it would be a break where the part begins.
    found = judge(stored_rows, answer, whole=False)
    assert (found.reaches_back, found.held.height) == (["A"], 0)


def test_a_history_rescaled_for_good_is_taken_on_the_third_day_of_the_claim() -> None:
    stored_rows = history()
    answer = later(rescaled(stored_rows, 1.1, before=20))
    held_and_then_taken(stored_rows, answer, "rescaled")
    (event,) = judge(stored_rows, answer, days=CONFIRMED).events.to_dicts()
    facts = ("class", "field", "first_date", "date", "rows", "old", "new")
    closes = [str(rows.filter(pl.col("date") == day(19))["close"].item()) for rows in (stored_rows, answer)]
    assert [event[name] for name in facts] == ["rescaled", "close", day(0), day(19), 20, *closes]
    # Seen in a part of the history alone, all of it is asked for.
    assert judge(stored_rows, answer, whole=False, days=CONFIRMED).reaches_back == ["A"]


def test_rows_captured_on_their_evenings_are_never_overturned_by_a_rescaling() -> None:
    stored_rows = live(history())
    answer = later(rescaled(stored_rows, 1.1, before=20))
    for days in (1, CONFIRMED, PERSISTENT, 100):
        found = judge(stored_rows, answer, days=days)
        nothing_changes(found)
        assert [note.split(";")[0] for note in found.notes] == [f"A: {RESCALED}: by 1.1"]


def test_a_whole_answer_on_another_scale_gives_nothing_new_until_it_has_been_claimed_for_long() -> None:
    stored_rows = live(history())
    answer = later(rescaled(stored_rows, 1.1))
    for days in (1, CONFIRMED, PERSISTENT - 1):
        found = judge(stored_rows, answer, days=days)
        assert (found.in_doubt, found.held.height, found.old.height) == (["A"], N, 0)
    found = judge(stored_rows, answer, days=PERSISTENT)
    nothing_changes(found)
    assert found.in_doubt == []


def test_a_history_rescaled_up_to_its_last_row_is_in_doubt_as_a_whole() -> None:
    stored_rows = history()
    answer = later(rescaled(stored_rows, 0.5))
    found = held_and_then_taken(stored_rows, answer, "rescaled")
    assert found.held.height == N
    assert found.in_doubt == ["A"]


def test_a_split_that_is_left_out_and_counted_back_is_kept_where_the_rows_before_it_were_captured_then() -> (
    None
):
    stored_rows = live(history(splits={20: 4.0}))
    answer = later(rescaled(put(stored_rows, 20, split_ratio=1.0), 0.25, before=20))
    for days in (1, CONFIRMED, 100):
        found = judge(stored_rows, answer, days=days)
        nothing_changes(found)
        assert [note.split(";")[0] for note in found.notes] == [
            f"A: the answer leaves out the split of {day(20)}"
        ]


def test_a_split_that_is_left_out_and_counted_back_is_held_where_nobody_saw_it() -> None:
    stored_rows = history(splits={20: 4.0})
    answer = later(rescaled(put(stored_rows, 20, split_ratio=1.0), 0.25, before=20))
    held_and_then_taken(stored_rows, answer, "split_left_out")


def test_an_answer_that_leaves_out_a_known_split_and_does_not_rescale_changes_nothing() -> None:
    stored_rows = history(splits={20: 4.0})
    found = judge(stored_rows, later(put(stored_rows, 20, split_ratio=1.0)))
    nothing_changes(found)
    assert found.notes == [f"A: the answer leaves out the split of {day(20)}, which the stored prices show"]


def test_the_close_of_the_ex_date_shows_a_split_whatever_the_price_does_next() -> None:
    fallen = [close * (0.3 if n > 20 else 1.0) for n, close in enumerate(closes({20: 4.0}))]
    stored_rows = history(fallen, splits={20: 4.0})
    found = judge(stored_rows, later(put(stored_rows, 20, split_ratio=1.0)))
    nothing_changes(found)
    assert found.notes == [f"A: the answer leaves out the split of {day(20)}, which the stored prices show"]


@pytest.mark.parametrize("rescales", [True, False])
def test_an_answer_that_leaves_out_two_known_splits_changes_nothing(rescales: bool) -> None:
    stored_rows = live(history(splits=TWO))
    answer = put(put(stored_rows, 10, split_ratio=1.0), 20, split_ratio=1.0)
    if rescales:
        answer = rescaled(rescaled(answer, 1 / 2.0, before=10), 1 / 3.0, before=20)
    found = judge(stored_rows, later(answer))
    nothing_changes(found)
    assert found.notes


def test_a_correction_on_the_day_of_a_split_that_is_left_out_is_taken_without_losing_the_split() -> None:
    stored_rows = history(splits={20: 4.0})
    answer = later(put(stored_rows, 20, split_ratio=1.0, volume=7))
    found = judge(stored_rows, answer)
    assert told(found) == [(day(20), "volume", "correction")]
    assert found.new.select("volume", "split_ratio").rows() == [(7, 4.0)]


def test_a_split_that_no_price_shows_is_retracted_as_a_correction() -> None:
    truth = history()
    stored_rows = put(truth, 20, split_ratio=4.0)
    found = judge(stored_rows, later(truth))
    assert found.events.rows() == [("A", day(20), "split_ratio", "4.0", "1.0", "correction", day(20), 1)]
    assert applied(stored_rows, later(truth), found)["split_ratio"].to_list() == [1.0] * N


def test_another_ratio_of_a_known_split_is_a_correction_where_the_rows_stay() -> None:
    truth = history(splits={20: 3.0})
    found = judge(put(truth, 20, split_ratio=2.0), later(truth, 3.0))
    assert found.events.rows() == [("A", day(20), "split_ratio", "2.0", "3.0", "correction", day(20), 1)]


# --- units


@pytest.mark.parametrize("unit", [100.0, 0.01])
@pytest.mark.parametrize("currency", ["GBP", "GBp"])
@pytest.mark.parametrize("up_to", [N, 20])
def test_a_hundredfold_is_a_change_of_unit_and_one_event(unit: float, currency: str, up_to: int) -> None:
    stored_rows = history(currency="GBP")
    moved = stored_rows.with_columns(
        *(
            pl.when(pl.col("date") < day(up_to)).then((pl.col(n) * unit).round(4)).otherwise(n).alias(n)
            for n in PRICES
        ),
        currency=pl.when(pl.col("date") < day(up_to)).then(pl.lit(currency)).otherwise("currency"),
    )
    # The numbers alone look like an error of one answer as well: they have to be claimed for days.
    days = 1 if currency != "GBP" else CONFIRMED
    found = judge(stored_rows, later(moved), days=days)
    name = "currency" if currency != "GBP" else "close"
    row = (up_to - 1, name)
    values = (str(stored_rows.item(*row)), str(moved.item(*row)))
    assert found.events.rows() == [("A", day(up_to - 1), name, *values, "unit_change", day(0), up_to)]
    assert same(applied(stored_rows, later(moved), found), later(moved))
    assert judge(stored_rows, later(moved), whole=False, days=days).reaches_back == ["A"]


@pytest.mark.parametrize(("up_to", "in_doubt"), [(N, ["A"]), (20, [])])
def test_another_unit_in_the_numbers_alone_is_held_at_first(up_to: int, in_doubt: list[str]) -> None:
    stored_rows = history()
    which = pl.col("date") < day(up_to)
    moved = stored_rows.with_columns(
        pl.when(which).then((pl.col(n) * 100).round(4)).otherwise(n).alias(n) for n in PRICES
    )
    found = held_and_then_taken(stored_rows, later(moved), "unit")
    assert (found.held.height, found.in_doubt) == (up_to, in_doubt)


def test_a_single_bar_in_another_unit_is_a_change_of_unit_that_reaches_nowhere() -> None:
    stored_rows = history()
    hundred = {name: stored_rows[name][7] * 100 for name in PRICES}
    found = judge(stored_rows, later(put(stored_rows, 7, **hundred)), whole=False, days=CONFIRMED)
    assert told(found) == [(day(7), "close", "unit_change")]
    assert found.old.height == 1


@pytest.mark.parametrize(("whole", "first"), [(False, 0), (True, 0), (False, 3)])
def test_a_renamed_currency_reaches_back_when_it_holds_from_the_first_row_compared(
    whole: bool, first: int
) -> None:
    stored_rows = history(currency="GBX")
    renamed = stored_rows.with_columns(
        currency=pl.when(pl.col("date") >= day(first)).then(pl.lit("GBp")).otherwise("currency")
    )
    found = judge(stored_rows, later(renamed), whole=whole, days=CONFIRMED)
    if not whole and not first:
        assert found.reaches_back == ["A"]
        assert found.events.is_empty()
        assert found.new.is_empty()
        return
    assert found.reaches_back == []
    assert found.events.rows() == [
        ("A", day(N - 1), "currency", "GBX", "GBp", "unit_change", day(first), N - first)
    ]
    assert same(applied(stored_rows, later(renamed), found), later(renamed))


@pytest.mark.parametrize(("rows", "kind"), [(4, "correction"), (5, "unit_change")])
def test_a_currency_is_renamed_when_five_rows_say_so(rows: int, kind: str) -> None:
    stored_rows = history(currency="GBX")
    renamed = stored_rows.with_columns(
        currency=pl.when(pl.col("date") < day(rows)).then(pl.lit("GBp")).otherwise("currency")
    )
    found = judge(stored_rows, later(renamed), days=CONFIRMED)
    assert set(found.events["class"]) == {kind}
    assert found.new.height == rows


@pytest.mark.parametrize(("up_to", "in_doubt"), [(N, ["A"]), (20, [])])
def test_another_currency_for_the_same_numbers_is_held_at_first(up_to: int, in_doubt: list[str]) -> None:
    stored_rows = history(currency="GBp")
    renamed = stored_rows.with_columns(
        currency=pl.when(pl.col("date") < day(up_to)).then(pl.lit("GBP")).otherwise("currency")
    )
    found = held_and_then_taken(stored_rows, later(renamed), "unit")
    assert (found.held.height, found.in_doubt) == (up_to, in_doubt)
    assert found.held["rule"][0] == "GBP is named as the currency of numbers that are stored in GBp"


def test_pounds_are_not_pence_whatever_the_numbers_say() -> None:
    stored_rows = history(currency="GBp")
    found = judge(stored_rows, later(put(stored_rows, 7, currency="GBP")))
    assert found.events.rows() == [("A", day(7), "currency", "GBp", "GBP", "correction", day(7), 1)]


# --- what cannot be a restatement


@pytest.mark.parametrize(("number", "scope"), [(10, "row"), (N - 1, "answer")])
def test_a_row_on_another_scale_puts_the_whole_answer_in_doubt_where_it_is_the_last(
    number: int, scope: str
) -> None:
    stored_rows = history()
    prices = {name: round(stored_rows[name][number] * 1.1, 4) for name in PRICES}
    found = judge(stored_rows, later(put(stored_rows, number, **prices)))
    assert found.held.select("date", "scope").rows() == [(day(number), scope)]
    assert found.in_doubt == (["A"] if scope == "answer" else [])


def test_a_row_with_one_small_factor_in_all_prices_is_corrected_at_once() -> None:
    stored_rows = history()
    prices = {name: round(stored_rows[name][10] * 1.004, 4) for name in PRICES}
    found = judge(stored_rows, later(put(stored_rows, 10, **prices)))
    assert told(found) == [(day(10), name, "correction") for name in PRICES]
    assert found.held.is_empty()


def test_another_history_is_refused_and_what_stands_stays() -> None:
    stored_rows = history()
    other = history([20.0 + n % 7 for n in range(N)])
    found = judge(stored_rows, later(other))
    assert found.events.is_empty()
    assert found.old.is_empty()
    assert found.held["rule"].unique().to_list() == [OTHER_HISTORY]
    assert found.held.height == N
    assert found.in_doubt == ["A"]
    assert len(found.notes) == 1
    held_and_then_taken(stored_rows, later(other), "other_history")
    taken = judge(stored_rows, later(other), days=CONFIRMED)
    assert taken.events.select("class", "rows").rows() == [("replaced", N)]
    assert judge(stored_rows, later(other), whole=False, days=CONFIRMED).reaches_back == ["A"]


def captured_live(rows: pl.DataFrame, last: int) -> pl.DataFrame:
    """The rows, the last of them captured on their own evenings."""
    evening = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=22)
    live = pl.col("date") >= day(N - last)
    return rows.with_columns(fetched_at=pl.when(live).then(evening).otherwise("fetched_at"))


@pytest.mark.parametrize(("live", "taken"), [(9, True), (10, False)])
@pytest.mark.parametrize("kind", ["other_history", "unit", "rescaled", "split_left_out"])
def test_ten_rows_captured_on_their_evenings_outweigh_any_repetition(
    kind: str, live: int, taken: bool
) -> None:
    split = {25: 2.0} if kind == "split_left_out" else {}
    # The rows before the split are contradicted, and only those.
    stored_rows = captured_live(history(splits=split), live + 5 if split else live)
    other = {
        "other_history": history([20.0 + n % 7 for n in range(N)]),
        "unit": rescaled(history(), 0.01),
        "rescaled": rescaled(history(), 1.1),
        "split_left_out": rescaled(put(history(splits=split), 25, split_ratio=1.0), 0.5, before=25),
    }[kind]
    found = judge(stored_rows, later(other), days=CONFIRMED)
    assert bool(found.old.height) is taken
    held = {kind} - ({"split_left_out"} if live >= 10 else set())
    assert set(found.held["kind"]) == (set() if taken else held)
    assert found.in_doubt == ([] if taken or kind == "split_left_out" else ["A"])


def test_a_stretch_of_ten_live_rows_is_not_rescaled_by_repetition_and_one_of_nine_is_corrected() -> None:
    stored_rows = captured_live(history(), N)
    for rows in (9, 10):
        within = pl.col("date").is_between(day(8), day(8 + rows - 1))
        answer = later(stored_rows.with_columns(
            pl.when(within).then((pl.col(n) * 1.1).round(4)).otherwise(n).alias(n) for n in PRICES
        ))  # fmt: skip
        found = judge(stored_rows, answer, days=CONFIRMED)
        assert (found.old.height, found.held.height) == ((9, 0) if rows == 9 else (0, 10))


def test_the_splits_of_another_history_are_not_taken_for_late_ones() -> None:
    stored_rows = history([100.0 + 3 * (n % 7) for n in range(N)])
    other = history([20.0 + n % 5 for n in range(N)], splits={20: 3.0}, dividends={25: 0.4})
    found = judge(stored_rows, later(other))
    assert found.events.is_empty()
    assert found.old.is_empty()
    assert set(found.held["kind"]) == {"other_history"}
    assert found.in_doubt == ["A"]


def test_another_history_of_nearly_the_same_price_is_told_by_its_volumes() -> None:
    prices = [100.0 + n % 3 for n in range(N)]
    stored_rows = history(prices)
    near = history([round(price * (0.96 + 0.001 * (n % 8)), 2) for n, price in enumerate(prices)])
    other = near.with_columns(volume=pl.Series([7_000 + 5_000 * (n * n % 7) for n in range(N)]))
    found = judge(stored_rows, later(other))
    assert set(found.held["kind"]) == {"other_history"}
    assert found.events.is_empty()


@pytest.mark.parametrize(("before", "other"), [(0, False), (1, True)])
def test_volumes_of_days_without_a_trade_tell_no_other_history(before: int, other: bool) -> None:
    """On every fifth day the volumes agree; on the others there were `before` shares, and any number now."""
    prices = [100.0 + n % 3 for n in range(N)]
    stored_rows = history(prices).with_columns(
        volume=pl.Series([before if n % 5 else 10_000 for n in range(N)])
    )
    near = history([round(price * (0.96 + 0.001 * (n % 8)), 2) for n, price in enumerate(prices)])
    answer = near.with_columns(volume=pl.Series([10 ** (1 + n % 7) if n % 5 else 10_000 for n in range(N)]))
    assert ("other_history" in set(judge(stored_rows, later(answer)).held["kind"])) is other


def test_of_several_symbols_each_reaches_back_by_itself() -> None:
    truth = history(splits={20: 2.0})
    stored_rows = rescaled(put(truth, 20, split_ratio=1.0), 0.5, before=20)
    both = pl.concat([stored_rows, stored_rows.with_columns(symbol=pl.lit("B"))])
    answer = pl.concat([truth, truth.with_columns(symbol=pl.lit("B"))])
    pairs = compare(both, later(answer, 2.0)).pairs
    assert restate(pairs, whole={"A"}).reaches_back == ["B"]
    assert set(restate(pairs, whole={"A"}).events["symbol"]) == {"A"}


def test_a_few_days_of_other_prices_are_not_yet_another_history() -> None:
    stored_rows = history()
    other = history([20.0 + n % 7 for n in range(N)])
    found = judge(stored_rows, later(pl.concat([stored_rows[:21], other[21:]])))
    assert set(found.held["kind"]) == {"rescaled"}
    assert found.held["date"].to_list() == [day(n) for n in range(21, N)]
