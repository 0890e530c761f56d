"""Every kind of doubt says what settles it, here and on the page of wrong answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_assets.market.claims import RULE
from quant_assets.market.restatements import Doubt
from quant_assets.market.settling import SETTLES, settles
from quant_assets.market.verdicts.answer import Kind

PAGE = Path(__file__).parents[2] / "docs" / "wrong-answers.md"
KINDS = [RULE, *(kind.value for kind in Kind), *(doubt.value for doubt in Doubt)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_own_words_and_its_line_on_the_page(kind: str) -> None:
    assert settles(kind) == SETTLES[kind]
    assert f"| `{kind}` |" in PAGE.read_text()


def test_no_words_are_left_over_and_an_unknown_kind_has_some() -> None:
    assert set(SETTLES) == set(KINDS)
    assert "three different days" in settles("something new")
