"""Where the rows of an answer lie until their cells are written, and who may remove them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.ingest import spill as spill_module
from quant_assets.ingest.spill import spill_room, sweep_spill
from quant_assets.market.bars import ANSWER_SCHEMA


def test_what_a_run_uses_is_not_swept_and_what_a_killed_one_has_left_is(tmp_path: Path) -> None:
    left = tmp_path / "fetch-left"
    left.mkdir()
    with spill_room(tmp_path):
        (mine,) = set(tmp_path.iterdir()) - {left}
        sweep_spill(tmp_path)
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []
    sweep_spill(tmp_path / "none")


DECEMBER, JANUARY = date(2012, 12, 31), date(2013, 1, 2)


def answers(*rows: tuple[str, date]) -> pl.DataFrame:
    known = pl.DataFrame(rows, schema={"symbol": pl.String, "date": pl.Date}, orient="row")
    return pl.concat([pl.DataFrame(schema=ANSWER_SCHEMA), known], how="diagonal")


def keys(rows: pl.DataFrame) -> list[tuple[str, date]]:
    return sorted(rows.select("symbol", "date").rows())


@pytest.mark.parametrize("at_hand", [0, 3, 1_000])
def test_rows_are_found_by_year_and_by_symbol_and_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_hand: int
) -> None:
    monkeypatch.setattr(spill_module, "_AT_HAND", at_hand)
    with spill_room(tmp_path / "new" / "folder") as spill:
        assert (spill.years(), spill.year(2013).schema, spill.symbols(["A"]).schema) == (
            [], ANSWER_SCHEMA, ANSWER_SCHEMA,
        )  # fmt: skip
        spill.add(answers(("A", JANUARY), ("A", DECEMBER), ("B", JANUARY)))
        spill.add(answers(("C", JANUARY)).with_columns(flags=pl.lit("no_trade")))
        spill.add(answers(("D", date(2014, 1, 2))).with_columns(flags=pl.lit("")))
        assert spill.year(2014)["flags"].to_list() == [""]
        assert spill.symbols(["C"])["flags"].to_list() == ["no_trade"]
        assert spill.years() == [2012, 2013, 2014]
        assert keys(spill.take({"D"})) == [("D", date(2014, 1, 2))]
        assert keys(spill.year(2013)) == [("A", JANUARY), ("B", JANUARY), ("C", JANUARY)]
        assert keys(spill.symbols({"A", "C"})) == [("A", DECEMBER), ("A", JANUARY), ("C", JANUARY)]
        assert keys(spill.take({"A"})) == [("A", DECEMBER), ("A", JANUARY)]
        assert keys(spill.take({"A"})) == keys(spill.year(2012)) == []
        assert keys(spill.year(2013)) == [("B", JANUARY), ("C", JANUARY)]


def test_what_is_no_folder_is_left_alone_by_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    sweep_spill(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["note"]
