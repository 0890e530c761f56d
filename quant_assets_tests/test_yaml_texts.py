"""YAML is read as texts, alike with and without libyaml; what would blow up is refused; values know their lines."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from quant_assets.yaml_texts import DEEPEST, LARGEST, line_of, read_marked, read_texts

BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))

TEXTS = (
    *(
        (files("quant_assets") / name).read_text("utf-8")
        for name in ("exchanges.yaml", "catalog/universes.yaml")
    ),
    "US: [ON, NO, 16:00, ~, 1.50, 2024-02-30, {symbol: Y, name: null}]\n",
    "a: &x [1, 2]\nb: *x\nc: |\n  one\n  two\nd: 'it''s'\n",
    "\ufeffUS: [AAPL]\n",
    "",
    "US: [AAPL",
    "US: [AAPL]\nUS: [IBM]\n",
    "? [a]\n: b\n",
    "US: " + "[" * 2000,
    BOMB,
    "US: &a [*a]\n",
)


@pytest.mark.parametrize("text", TEXTS, ids=[text[:12] for text in TEXTS])
def test_read_texts_reads_the_same_and_says_the_same_without_libyaml(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> object:
        try:
            return read_texts(text)
        except yaml.YAMLError as error:
            return str(error)

    quick = read()
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert quick == read()


def test_scalars_are_as_written_and_aliases_are_what_they_stand_for() -> None:
    assert read_texts(TEXTS[2]) == {
        "US": ["ON", "NO", "16:00", "~", "1.50", "2024-02-30", {"symbol": "Y", "name": "null"}]
    }
    assert read_texts("a: &x [1, 2]\nb: *x\n") == {"a": ["1", "2"], "b": ["1", "2"]}
    assert read_texts("\ufeffUS: [AAPL]\n") == {"US": ["AAPL"]}
    assert read_texts("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        (BOMB, f"more than {LARGEST:,} characters and values", 8),
        pytest.param("US:\n- " + "[" * 200_000, f"deeper than {DEEPEST} levels", 2, id="200,000 brackets"),
        pytest.param("- " * 200_000 + "x", f"deeper than {DEEPEST} levels", 1, id="200,000 dashes"),
        # As deep as can be in few columns: a list under a key may stand below it.
        (
            "".join(f"{' ' * n}a:\n{' ' * n}-\n" for n in range(DEEPEST // 2 + 1)),
            f"deeper than {DEEPEST} levels",
            DEEPEST + 1,
        ),
        ("US:\n- &a [b, *a]\n", "inside what it is an alias of", 2),
        ("US:\n  a: 1\n  a: 2\n", "the key a is there twice", 3),
        ("US:\n  ? [a]\n  : 2\n", "a key that is no text", 2),
    ],
)
def test_what_would_blow_up_is_refused_with_its_line(text: str, told: str, line: int) -> None:
    with pytest.raises(yaml.MarkedYAMLError, match=told) as refused:
        read_texts(text)
    assert refused.value.problem_mark is not None
    assert refused.value.problem_mark.line + 1 == line


def test_as_deep_and_as_large_as_is_allowed_is_read() -> None:
    deepest: object = read_texts("[" * DEEPEST + "]" * DEEPEST)
    for _ in range(DEEPEST - 1):
        assert isinstance(deepest, list)
        (deepest,) = deepest
    assert deepest == []
    # A list and its text: two values.
    assert read_texts("- " + "x" * (LARGEST - 2)) == ["x" * (LARGEST - 2)]
    with pytest.raises(yaml.MarkedYAMLError, match="more than"):
        read_texts("- " + "x" * (LARGEST - 1))


def test_a_value_knows_its_line() -> None:
    text = "# ours\nall:\n  - name: one\n    of: [a,\n      b]\n  - {name: two, of: [c]}\n"
    _, node = read_marked(text)
    assert line_of(node, ()) == 2
    assert line_of(node, ("all",)) == 2
    assert line_of(node, ("all", 0)) == 3
    assert line_of(node, ("all", 0, "name")) == 3
    assert line_of(node, ("all", 0, "of", 0)) == 4
    assert line_of(node, ("all", 0, "of", 1)) == 5
    assert line_of(node, ("all", 1, "name")) == 6
    # What is not there is passed over, as is a number beyond the list.
    assert line_of(node, ("all", 0, "tag", "of")) == 4
    assert line_of(node, ("all", 7)) == 2
    assert line_of(None, ("all", 0)) == 1
