"""Pauses that grow, tries that end, and a cursor that keeps both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from quant_assets.defs.retries import Retries, doubling

NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAUSES = doubling(15 * MINUTE, 4, timedelta(hours=1))


def test_doubling_pauses_grow_to_the_longest() -> None:
    assert PAUSES == (15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 60 * MINUTE)


def test_retries_wait_longer_each_time_and_end() -> None:
    retries = Retries(PAUSES)
    retries.notice("a", NOW, 2)
    for pause in PAUSES:
        at = retries.next("a")
        assert at == NOW + pause
        retries.tried(["a"], NOW, {"a": 2})
    assert retries.next("a") is None
    # Less, or as much, is no news; more is.
    retries.notice("a", NOW + MINUTE, 2)
    retries.notice("a", NOW + MINUTE, 1)
    assert retries.next("a") is None
    retries.notice("a", NOW + MINUTE, 3)
    assert retries.next("a") == NOW + MINUTE + PAUSES[0]


def test_retries_that_never_end_keep_the_longest_pause() -> None:
    retries = Retries(PAUSES, forever=True)
    for _ in range(9):
        retries.tried(["a"], NOW)
    assert retries.next("a") == NOW + PAUSES[-1]


def test_the_most_that_was_lacking_is_remembered() -> None:
    retries = Retries(PAUSES)
    retries.tried(["a"], NOW, {"a": 5})
    retries.tried(["a"], NOW, {"a": 2})
    retries.notice("a", NOW + MINUTE, 5)
    assert retries.tries["a"].count == 2


def test_retries_survive_in_a_cursor_and_strange_cursors_are_no_tries() -> None:
    retries = Retries(PAUSES)
    retries.tried(["a", "b"], NOW, {"a": 1, "b": 1})
    retries.notice("c", NOW + MINUTE)
    dumped = retries.dump()
    assert len(dumped) == 2
    assert Retries.load(dumped, PAUSES).tries == retries.tries
    without_zone = [[1, NOW.replace(tzinfo=None).isoformat(), 1, ["a"]]]
    for strange in (None, "", {"a": 1}, [["x", "y", "z", ["a"]]], [[1, NOW.isoformat()]], 7, without_zone):
        assert Retries.load(strange, PAUSES).tries == {}


def test_retries_forget_what_lacks_nothing_any_more() -> None:
    retries = Retries(PAUSES)
    retries.tried(["a", "b"], NOW)
    retries.keep({"b"})
    assert retries.tries.keys() == {"b"}
