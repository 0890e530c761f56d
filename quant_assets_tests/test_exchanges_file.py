"""YAML is read alike with and without libyaml."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from quant_assets.exchanges_file import read_texts

TEXTS = (
    *(
        (files("quant_assets") / name).read_text("utf-8")
        for name in ("exchanges.yaml", "catalog/universes.yaml")
    ),
    "US: [ON, NO, 16:00, ~, 1.50, 2024-02-30, {symbol: Y, name: null}]\n",
    "a: &x [1, 2]\nb: *x\nc: |\n  one\n  two\nd: 'it''s'\n",
    "",
    "US: [AAPL",
    "US: [AAPL]\nUS: [IBM]\n",
    "? [a]\n: b\n",
    "US: " + "[" * 2000,
)


@pytest.mark.parametrize("text", TEXTS, ids=[text[:12] for text in TEXTS])
def test_read_texts_reads_the_same_and_says_the_same_without_libyaml(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> object:
        try:
            return read_texts(text)
        except (yaml.YAMLError, RecursionError) as error:
            return str(error)

    quick = read()
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert quick == read()
