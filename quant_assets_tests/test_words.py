"""Counts in messages are in the form that their number asks for."""

from quant_assets.words import number_of


def test_one_and_many() -> None:
    assert [number_of(count, "session") for count in (0, 1, 3480)] == [
        "0 sessions",
        "1 session",
        "3,480 sessions",
    ]
    assert number_of(2, "stretch", "stretches") == "2 stretches"
