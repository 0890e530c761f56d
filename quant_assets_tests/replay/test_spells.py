"""Symbols over time: renamed, delisted and forgotten, given to another company."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from quant_assets.replay.csv_files import COLUMNS
from quant_assets.replay.errors import ReplayError
from quant_assets.replay.launch import ReplayConfig, build
from quant_assets.replay.protocol import ChartQuery
from quant_assets.replay.server import ReplayApp

HALF_YEAR = [date(2024, month, 2) for month in (1, 2, 4, 5, 7, 8)]
RENAMED = [
    {"symbol": "OLD", "until": "2024-04-02"},
    {"symbol": "NEW", "of": "OLD", "since": "2024-04-02", "name": "New Name"},
]
REUSED = [{"symbol": "TWO", "until": "2024-03-01"}, {"symbol": "TWO", "of": "OTHER", "since": "2024-07-02"}]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """OLD with a bar in each month, TWO that ends in February, and OTHER that begins in July."""
    path = tmp_path / "small.csv"
    rows = [f"OLD,{day},10,11,9,{day.month},100,0,1,," for day in HALF_YEAR]
    rows += [f"TWO,{day},20,21,19,20,100,0,1,,2024-02-02" for day in HALF_YEAR[:2]]
    rows += [f"OTHER,{day},5,6,4,5,100,0,1,," for day in HALF_YEAR[4:]]
    path.write_text("\n".join([",".join((*COLUMNS, "listed_on", "delisted_on")), *rows]))
    return path


def serving(history: Path, *spells: dict[str, Any]) -> ReplayApp:
    return build(ReplayConfig(history_files=[(history, "as_traded")], now="2024-01-02", spells=spells))


def closes(app: ReplayApp, symbol: str, day: str) -> tuple[int, str | None, list[float]]:
    """Status of the answer, the name in it, and the closes, as of the end of a day."""
    app.world.set_now(datetime.fromisoformat(f"{day}T23:00:00+00:00").astimezone(UTC))
    answer = app.charts.data(symbol, ChartQuery.parse({"range": "max"}))
    if answer.status_code != 200:
        return answer.status_code, None, []
    found = json.loads(bytes(answer.body))["chart"]["result"][0]
    assert found["meta"]["symbol"] == symbol
    return 200, found["meta"]["longName"], found["indicators"]["quote"][0]["close"]


def test_a_renamed_symbol_is_forgotten_and_the_new_one_has_the_whole_history(history: Path) -> None:
    app = serving(history, *RENAMED)
    assert closes(app, "OLD", "2024-04-01") == (200, "OLD", [1.0, 2.0])
    assert closes(app, "NEW", "2024-04-01") == (404, None, [])
    assert closes(app, "OLD", "2024-04-02") == (404, None, [])
    assert closes(app, "NEW", "2024-04-02") == (200, "New Name", [1.0, 2.0, 4.0])
    listing = app.world.listing("NEW")
    assert listing is not None
    assert listing.listed_on == HALF_YEAR[0]
    assert [row["symbol"] for row in app.world.catalog()] == ["NEW", "TWO"]


def test_a_delisted_symbol_answers_until_it_is_forgotten_and_then_may_be_of_another_company(
    history: Path,
) -> None:
    app = serving(history, *REUSED)
    assert closes(app, "TWO", "2024-02-29") == (200, "TWO", [20.0, 20.0])
    assert [row["delisted_on"] for row in app.world.catalog()] == [None, date(2024, 2, 2)]
    assert closes(app, "TWO", "2024-03-01") == (404, None, [])
    assert closes(app, "TWO", "2024-07-01") == (404, None, [])
    assert closes(app, "TWO", "2024-08-02") == (200, "OTHER", [5.0, 5.0])
    listing = app.world.listing("TWO")
    assert listing is not None
    assert listing.listed_on == date(2024, 7, 2)
    # The company has no second symbol.
    assert closes(app, "OTHER", "2024-08-02") == (404, None, [])
    assert app.world.symbols == ["OLD", "TWO"]


@pytest.mark.parametrize(
    ("spells", "message"),
    [
        ([{"symbol": "NEW"}], "spell of NEW: no history holds NEW"),
        ([{"symbol": "NEW.AX", "of": "OLD"}], "spell of NEW.AX: OLD is of another exchange"),
        ([{"symbol": "OLD", "since": "2 May"}], "spell of OLD: since '2 May' is no date: write YYYY-MM-DD"),
        ([{"of": "OLD"}], "no symbol: a spell has name, of, since, symbol, until"),
        ([{"symbol": "OLD", "from": "2024-01-02"}], "unknown from: a spell has name, of, since"),
        ([*REUSED[:1], {"symbol": "TWO", "of": "OTHER"}], "two spells of TWO overlap: let one end before"),
    ],
)
def test_spells_that_cannot_be_are_refused(history: Path, spells: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ReplayError, match=message):
        serving(history, *spells)
