"""The events of an answer, each read on its own."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from quant_assets.resources.source import DIVIDENDS_SCHEMA, SPLITS_SCHEMA, UnreadableEvent
from quant_assets.resources.yahoo_events import UnusableAnswer, mapping, optional, read_events

DAY, LISTED = date(2024, 3, 11), date(2024, 3, 8)


def at(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def day_of(stamp: Any) -> date:
    return datetime.fromtimestamp(stamp, tz=UTC).date()


def read(block: str, event: Any, currency: str | None = "USD") -> tuple[list[Any], list[Any], list[Any]]:
    """What comes of one event of DAY that is listed under another day, as rows."""
    dated = {"date": at(DAY), **event} if isinstance(event, dict) else event
    splits, dividends, unreadable = read_events({block: {str(at(LISTED)): dated}}, day_of, currency)
    assert (splits.schema, dividends.schema) == (SPLITS_SCHEMA, DIVIDENDS_SCHEMA)
    return splits.rows(), dividends.rows(), unreadable


def test_without_events_there_are_none() -> None:
    for events in ({}, {"splits": None, "dividends": {}}, {"other": {"x": 1}}):
        splits, dividends, unreadable = read_events(events, day_of, None)
        assert (splits.rows(), dividends.rows(), unreadable) == ([], [], [])
        assert (splits.schema, dividends.schema) == (SPLITS_SCHEMA, DIVIDENDS_SCHEMA)


@pytest.mark.parametrize(
    ("numerator", "denominator", "ratio"),
    [(2, 1, 2.0), (1, 1, 1.0), (1, 4, 0.25), ("3", "2", 1.5), (1e-9, 1, 1e-9), (0, 1, None), (-1, 1, None),
     (1, 0, None), (-1, 0, None), ("inf", 1, None), (1, "inf", None), ("nan", 1, None), (None, 1, None)],
)  # fmt: skip
def test_a_ratio_is_a_number_above_nought(numerator: Any, denominator: Any, ratio: float | None) -> None:
    splits, dividends, unreadable = read("splits", {"numerator": numerator, "denominator": denominator})
    assert dividends == []
    if ratio is None:
        assert splits == []
        assert unreadable == [UnreadableEvent(DAY, "split", f"{numerator}:{denominator}")]
    else:
        assert (splits, unreadable) == ([(DAY, ratio)], [])


@pytest.mark.parametrize(("block", "kind"), [("dividends", "dividend"), ("capitalGains", "capital_gain")])
@pytest.mark.parametrize(
    ("amount", "found"),
    [
        (0.24, 0.24),
        (0, 0.0),
        (-1, -1.0),
        ("0.5", 0.5),
        ("inf", None),
        ("nan", None),
        ("much", None),
        (None, None),
    ],
)
def test_an_amount_is_any_number(block: str, kind: Any, amount: Any, found: float | None) -> None:
    splits, dividends, unreadable = read(block, {"amount": amount})
    assert splits == []
    if found is None:
        assert (dividends, unreadable) == ([], [UnreadableEvent(DAY, kind, str(amount))])
    else:
        assert (dividends, unreadable) == ([(DAY, found, kind, None)], [])


@pytest.mark.parametrize(
    ("named", "currency", "found"),
    [(None, "USD", None), ("", "USD", None), ("USD", "USD", None), ("GBP", "USD", "GBP"), ("GBP", None, "GBP"),
     ("", None, None), (None, None, None)],
)  # fmt: skip
def test_a_currency_is_named_where_it_is_not_the_listings_own(
    named: str | None, currency: str | None, found: str | None
) -> None:
    assert read("dividends", {"amount": 1, "currency": named}, currency)[1] == [(DAY, 1.0, "dividend", found)]


@pytest.mark.parametrize(
    ("block", "event", "day", "text"),
    [
        # What is wrong is not the ratio or the amount: the whole event is shown.
        ("dividends", {"amount": 1, "currency": 7}, DAY, '"amount":1,"currency":7}'),
        ("dividends", {"amount": 1, "date": None}, LISTED, '{"date":null,"amount":1}'),
        ("splits", {"numerator": 2, "date": "x"}, LISTED, '{"date":"x","numerator":2}'),
        ("splits", {"numerator": 2}, DAY, '"numerator":2}'),
        ("splits", {"numerator": 2, "splitRatio": "2:x"}, DAY, '"splitRatio":"2:x"}'),
        # What the source wrote itself is shown first.
        ("splits", {"numerator": 2, "denominator": 0, "splitRatio": "2:none"}, DAY, "2:none"),
        ("splits", {"numerator": 2, "denominator": 0, "splitRatio": 7}, DAY, "2:0"),
        ("dividends", {"amount": "x", "splitRatio": "2:1"}, DAY, "2:1"),
        ("dividends", 7, LISTED, "7"),
        ("splits", None, LISTED, "null"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_read_says_what_the_source_wrote(
    block: str, event: Any, day: date, text: str
) -> None:
    splits, dividends, [unreadable] = read(block, event)
    assert (splits, dividends, unreadable.date) == ([], [], day)
    assert unreadable.text.endswith(text)
    assert unreadable.text == text or text.endswith("}")


@pytest.mark.parametrize(
    ("block", "event"),
    [
        ("splits", {"numerator": 1, "denominator": 0, "splitRatio": "9" * 201}),
        ("splits", {"numerator": "9" * 201, "denominator": 0}),
        ("dividends", {"amount": "9" * 201 + "x"}),
        ("dividends", {"amount": 1, "currency": ["9" * 201]}),
    ],
)
def test_no_more_than_two_hundred_characters_are_shown(block: str, event: dict[str, Any]) -> None:
    [unreadable] = read(block, event)[2]
    assert len(unreadable.text) == 200


def test_one_event_that_cannot_be_read_leaves_the_others() -> None:
    events = {
        "dividends": {"a": {"date": at(DAY), "amount": "x"}, "b": {"date": at(LISTED), "amount": 2}},
        "splits": {"c": {"date": at(DAY)}, "d": {"date": at(LISTED), "numerator": 2, "denominator": 1}},
    }
    splits, dividends, unreadable = read_events(events, day_of, None)
    assert splits.rows() == [(LISTED, 2.0)]
    assert dividends.rows() == [(LISTED, 2.0, "dividend", None)]
    assert [(event.kind, event.date) for event in unreadable] == [("split", DAY), ("dividend", DAY)]
    # Without a day of its own and a stamp that it is listed under it has none.
    [nowhere] = read_events({"dividends": {"x": {"amount": 1}}}, day_of, None)[2]
    assert nowhere == UnreadableEvent(None, "dividend", '{"amount":1}')


def test_what_is_left_out_is_empty_and_what_is_something_else_is_an_error() -> None:
    assert mapping({"a": 1}) == {"a": 1}
    assert mapping([1]) == mapping(None) == mapping("x") == {}
    assert optional({"events": {"a": 1}}, "events") == {"a": 1}
    for nothing in ({}, {"events": None}, {"events": {}}, {"events": []}, {"events": ""}):
        assert optional(nothing, "events") == {}
    for wrong in ([1], "none", 7):
        with pytest.raises(UnusableAnswer, match="events that cannot be read"):
            optional({"events": wrong}, "events")
