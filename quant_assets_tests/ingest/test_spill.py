"""Where the rows of an answer lie until their cells are written, and who may remove them."""

from __future__ import annotations

from pathlib import Path

from quant_assets.ingest.spill import spill_room, sweep_spill


def test_what_a_run_uses_is_not_swept_and_what_a_killed_one_has_left_is(tmp_path: Path) -> None:
    left = tmp_path / "fetch-left"
    left.mkdir()
    with spill_room(tmp_path):
        (mine,) = set(tmp_path.iterdir()) - {left}
        sweep_spill(tmp_path)
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []
    sweep_spill(tmp_path / "none")
