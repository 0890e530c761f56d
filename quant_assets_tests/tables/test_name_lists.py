"""What is made of a list of many symbols is made once, and every list gets what is made of itself."""

from __future__ import annotations

import pytest

from quant_assets.reader import prices
from quant_assets.tables.name_lists import kept_of_many


def names(first: int, count: int = 64) -> tuple[str, ...]:
    return tuple(f"S{number:04d}" for number in range(first, first + count))


def test_lists_of_many_that_were_asked_for_last_are_known() -> None:
    made: list[tuple[str, ...]] = []

    def first_of(asked: tuple[str, ...]) -> str:
        made.append(asked)
        return asked[0]

    known = kept_of_many(first_of)
    for _ in range(2):
        assert [known(names(first)) for first in range(4)] == ["S0000", "S0001", "S0002", "S0003"]
    assert made == [names(first) for first in range(4)]
    known(names(9))
    assert known(names(0)) == "S0000"
    assert made[4:] == [names(9), names(0)]


def test_few_are_gone_through_and_what_is_raised_is_raised_again() -> None:
    made: list[int] = []

    def refuse(asked: tuple[str, ...]) -> str:
        made.append(len(asked))
        raise ValueError(asked[0])

    known = kept_of_many(refuse)
    for count in (63, 64):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^S0007$"):
                known(names(7, count))
    assert made == [63, 63, 64, 64]


@pytest.mark.parametrize("wrong", [None, 5, " ", ["S1"], {"S1": 1}])
def test_what_is_no_symbol_is_named_among_few_and_among_many(wrong: object) -> None:
    for count in (1, 200):
        with pytest.raises(ValueError, match=r"among the symbols is no symbol"):
            prices([*names(0, count), wrong])  # pyright: ignore[reportArgumentType]
