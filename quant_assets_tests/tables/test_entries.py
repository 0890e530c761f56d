"""What an entry says where nothing is said, and where what it says comes from."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

from quant_assets.market.coverage import CellState, Missing
from quant_assets.resources.object_store import ObjectInfo
from quant_assets.tables.entries import Entry

HOLE = Missing("A", "no_bar", "no bar", date(2024, 1, 5))


def test_of_a_bare_entry_nothing_is_known() -> None:
    bare = Entry("2024-01-02", CellState.CLOSED)
    texts = (
        "version",
        "content_sha256",
        "inputs_sha256",
        "expected_sha256",
        "source",
        "code_version",
        "reason",
    )
    assert asdict(bare) == {
        "partition": "2024-01-02", "state": CellState.CLOSED, "rows": 0, "size": 0, "expected": 0, "received": 0,
        "missing": (), "recorded_at": "", **dict.fromkeys(texts, ""),
    }  # fmt: skip


def test_size_and_version_are_those_of_the_object_or_else_the_recorded_ones() -> None:
    facts = {
        "partition": "2024-01-02",
        "state": "partial",
        "size": 7,
        "version": "7",
        "missing": [HOLE.to_json()],
    }
    given = Entry.from_facts(facts, ObjectInfo("key", 5, "5"))
    recorded = Entry.from_facts(facts, None)
    bare = Entry.from_facts({"partition": "2024-01-02", "state": "partial"}, None)
    assert [(one.size, one.version) for one in (given, recorded, bare)] == [(5, "5"), (7, "7"), (0, "")]
    assert [one.missing for one in (given, recorded, bare)] == [(HOLE,), (HOLE,), ()]
    assert bare == Entry("2024-01-02", CellState.PARTIAL)


def test_the_later_object_beats_and_of_one_object_the_later_record() -> None:
    def entry(version: str, recorded_at: str) -> Entry:
        return Entry("2024-01-02", CellState.PARTIAL, version=version, recorded_at=recorded_at)

    ordered = [entry("", "1"), entry("", "2"), entry("1", "1"), entry("1", "2"), entry("2", "1")]
    for at, one in enumerate(ordered):
        assert [one.beats(other) for other in ordered] == [number < at for number in range(5)]
