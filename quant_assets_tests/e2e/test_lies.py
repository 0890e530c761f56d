"""One variant of every kind of lie, told to an established store for two evenings and then taken back. `make lies`
tells them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lies.__main__ import play, table
from benchmarks.lies.cases import HONEST, Choice, make_cases
from quant_assets.replay.launch import ReplayConfig, start


@pytest.mark.slow
def test_what_a_lying_source_says_is_never_stored_as_good_and_heals(tmp_path: Path) -> None:
    made = make_cases(Choice(seed=1, quick=True, variants=1), tmp_path)
    # Refusals need runs of their own; they have tests of their own.
    made.cases = [case for case in made.cases if not case.kind.alone]
    config = ReplayConfig(history_files=[(tmp_path / "lies.csv", "as_traded")], now="2024-01-01")
    with start(config) as server:
        # On a first backfill `ingest/test_wrong_answers.py` tells one of nearly every kind.
        played = play(made, server, tmp_path, live=3, hows=("established",))
    assert table(played) == []
    assert not made.absent
    assert len({case.kind.name for case in made.cases} - {HONEST}) > 20
    assert played.held_long == 0
