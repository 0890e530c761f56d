"""`Wanted` beside plain sets, one a session, and `asking_order` beside the same choice made with sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.ingest import wanted as module
from quant_assets.ingest.wanted import Symbols, Wanted, asking_order

FIRST = date(2013, 2, 11)
# More than eight names, so that a set takes more than a byte.
names = st.sampled_from("ABCDEFGHIJKLMNOPQRST")
cells = st.dictionaries(
    st.integers(0, 30).map(lambda n: FIRST + timedelta(days=n)), st.sets(names), max_size=12
)


@given(cells)
def test_wanted_says_what_sets_by_session_say(sets: dict[date, set[str]]) -> None:
    wanted = Wanted.of(sets)
    assert wanted == sets
    assert list(wanted) == sorted(sets)
    assert wanted.counts() == {day: len(sets[day]) for day in sorted(sets)}
    assert wanted.symbols() == set[str]().union(*sets.values())
    pairs = [(name, FIRST + timedelta(days=n)) for name in "ABTZ" for n in range(31)]
    expected = [name in sets.get(day, ()) for name, day in pairs]
    assert [wanted.asks(*pair) for pair in pairs] == expected
    assert wanted.among(pl.DataFrame(pairs, schema=["symbol", "date"], orient="row")).to_list() == expected
    for name in "ABTZ":
        assert wanted.sessions_of(name) == [day for day in sorted(sets) if name in sets[day]]
    assert wanted.starts() == {name: min(d for d in sets if name in sets[d]) for name in wanted.symbols()}
    assert list(wanted.starts()) == asking_order(sets.values())


def order_of_sets(cells: Sequence[set[str]], many: int) -> list[str]:
    """The same choice, as it reads."""
    left = Counter(frozenset(cell) for cell in cells if cell)
    order: list[str] = []
    while left:
        asked = set(order)
        best = min(left, key=lambda cell: (len(cell - asked) / left[cell], sorted(cell)))
        needed = Counter[str]()
        if len(left) <= many:
            for cell in left:
                needed.update(dict.fromkeys(cell if cell < best else (), left[cell]))
        order += [name for name in sorted(best, key=lambda name: (-needed[name], name)) if name not in asked]
        left = Counter({cell: count for cell, count in left.items() if not cell <= set(order)})
        if len(left) > many:
            rest = sorted(left, key=lambda cell: (len(cell) / left[cell], sorted(cell)))
            return list(dict.fromkeys([*order, *(name for cell in rest for name in sorted(cell))]))
    return order


@pytest.mark.parametrize("many", [2, 500])
def test_asking_order_is_that_of_sets(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY_SETS", many)

    @given(st.lists(st.sets(names), max_size=14))
    def compared(sets: list[set[str]]) -> None:
        assert asking_order(sets) == order_of_sets(sets, many)

    compared()


@pytest.mark.parametrize(("sets", "order"), [(500, "abzcd"), (501, "abcdz")])
def test_up_to_five_hundred_sets_are_weighed_again_after_each(sets: int, order: str) -> None:
    """Pairs, all for one session but for three; "0" is asked for first, and so many are left."""
    often = {("a", "b"): 3, ("c", "d"): 3, ("b", "z"): 2}
    pairs = list(combinations("abcdefghijklmnopqrstuvwxyzABCDEFGH", 2))[:sets]
    cells = [{"0"}] * 9 + [set(pair) for pair in pairs for _ in range(often.get(pair, 1))]
    assert "".join(asking_order(cells)[:6]) == f"0{order}"


def test_a_plan_of_many_symbols_and_sessions_takes_a_bit_each() -> None:
    symbols = Symbols(f"S{n:04}" for n in range(1000))
    every = symbols.bits(symbols.names)
    wanted = Wanted(symbols, {FIRST + timedelta(days=n): every for n in range(100)})
    assert sum(wanted.counts().values()) == 100_000
    assert every.bit_length() == 1000
    assert wanted.sessions_of("S0999") == list(wanted)
