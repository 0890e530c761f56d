"""Pictures and tables as text: well-formed, small, and saying what the frame says."""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree

import polars as pl
import pytest

from quant_assets.defs.rendering import (
    MAX_POINTS,
    coverage_heat_map_svg,
    markdown_table,
    price_volume_svg,
    svg_markdown,
)

SVG = "{http://www.w3.org/2000/svg}"
LIMIT = 30_000
HOSTILE = '<b>"A&B"</b>\x07'


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def cell_titles(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for path in root.iter(f"{SVG}path") for node in path.iter(f"{SVG}title")]


def months(count: int) -> list[date]:
    return [date(2000 + n // 12, n % 12 + 1, 1) for n in range(count)]


def history(closes: list[float | None], volumes: list[int | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": [date(2000, 1, 3) + timedelta(days=n) for n in range(len(closes))],
            "close": closes,
            "volume": volumes or [100] * len(closes),
        },
        schema={"date": pl.Date, "close": pl.Float64, "volume": pl.Int64},
    )


def trail(svg: str) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(svg).find(f"{SVG}polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


# --- tables


def test_a_table_aligns_numbers_and_names_what_it_leaves_out() -> None:
    frame = pl.DataFrame(
        {
            "symbol": ["BHP.AX", None, "X"],
            "rows": [1234567, 2, 3],
            "coverage": [0.123456789, 1.0, 0.0],
            "ok": [True, False, None],
            "day": [date(2024, 3, 15)] * 3,
            "worst": [["A", "B"], [], None],
            "at": [datetime(2024, 3, 15, 6, 30, tzinfo=UTC)] * 3,
        }
    )
    assert markdown_table(frame, 2).split("\n") == [
        "| symbol | rows | coverage | ok | day | worst | at |",
        "|---|---:|---:|---|---|---|---|",
        "| BHP.AX | 1,234,567 | 0.123457 | yes | 2024-03-15 | A, B | 2024-03-15 06:30:00+00:00 |",
        "|  | 2 | 1 | no | 2024-03-15 |  | 2024-03-15 06:30:00+00:00 |",
        "",
        "… and 1 more row",
    ]


def test_values_cannot_break_out_of_their_cell() -> None:
    table = markdown_table(pl.DataFrame({"a|b": ["x|y\nz", "<script>&", "back\\|slash"]}))
    assert table.split("\n")[0] == r"| a\|b |"
    assert table.split("\n")[2:] == [r"| x\|y<br>z |", "| &lt;script&gt;&amp; |", r"| back\\\|slash |"]


def test_empty_tables() -> None:
    assert markdown_table(pl.DataFrame()) == ""
    assert markdown_table(pl.DataFrame(schema={"a": pl.Int64})) == "| a |\n|---:|"


# --- images in Markdown


def test_an_image_carries_its_own_bytes() -> None:
    svg = price_volume_svg(history([1.0, 2.0]), "É ü 株")
    found = re.fullmatch(
        r"!\[a \\\[b\\\] c\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", svg_markdown(svg, "a [b]\nc")
    )
    assert found
    assert base64.b64decode(found[1]).decode() == svg


# --- heat map


def test_every_cell_says_its_period_and_coverage() -> None:
    frame = pl.DataFrame(
        {
            "symbol": ["B", "A", "A", "A", "A"],
            "month": [date(2024, 1, 1), *months(292)[288:292]],
            "coverage": [0.999, 1.0, 1.0, 0.29, None],
        }
    )
    svg = coverage_heat_map_svg(frame)
    assert cell_titles(svg) == [
        "2024-01–2024-02 100%",
        "2024-03 29%",
        "2024-04 none expected",
        "2024-01 99%",  # never rounded up to "nothing is missing"
        "2024-02–2024-04 none expected",
    ]
    assert [text for text in texts(svg) if text in "AB"] == ["A", "B"]
    classes = [node.attrib["class"] for node in ElementTree.fromstring(svg).findall(f".//{SVG}g/{SVG}path")]
    assert classes == ["c0", "c4", "c5", "c1", "c5"]


def test_the_least_covered_of_many_symbols_are_shown() -> None:
    frame = pl.DataFrame(
        {
            "symbol": [f"S{n:03}" for n in range(100)],
            "week": [date(2024, 3, 11)] * 100,
            "coverage": [n / 100 for n in range(100)],
        }
    )
    svg = coverage_heat_map_svg(frame)
    assert [text for text in texts(svg) if text.startswith("S")] == [f"S{n:03}" for n in range(40)]
    assert "40 least covered of 100 symbols" in svg
    assert "2024-03-11" in texts(svg)


def test_a_grid_of_nothing_but_changes_stays_small() -> None:
    frame = pl.DataFrame(
        [
            (f"A LONG NAME {row}", month, ((row * 7 + column * 13) % 101) / 100)
            for row in range(40)
            for column, month in enumerate(months(300))
        ],
        schema=["symbol", "month", "coverage"],
        orient="row",
    )
    svg = coverage_heat_map_svg(frame)
    assert len(svg.encode()) < LIMIT
    titles = cell_titles(svg)
    assert titles[0].startswith("2000-01–")
    assert titles[-1].split(" ")[0].endswith("2024-12")
    assert len(titles) >= 200  # merged no further than the size asks for


def test_twenty_full_years_need_few_bytes() -> None:
    frame = pl.DataFrame({"symbol": ["A"] * 240, "month": months(240), "coverage": [1.0] * 240})
    svg = coverage_heat_map_svg(frame)
    assert cell_titles(svg) == ["2000-01–2019-12 100%"]
    assert len(svg) < 2_500


def test_hostile_names_stay_text() -> None:
    frame = pl.DataFrame({"symbol": [HOSTILE], "month": ["<&>"], "coverage": [0.5]})
    svg = coverage_heat_map_svg(frame)
    assert '<b>"A&B"</b> ' in texts(svg)
    assert cell_titles(svg) == ["<&> 50%"]


def test_a_heat_map_of_nothing() -> None:
    empty = pl.DataFrame(schema={"symbol": pl.String, "month": pl.Date, "coverage": pl.Float64})
    assert texts(coverage_heat_map_svg(empty)) == ["no cells"]


def test_a_heat_map_wants_one_period_column() -> None:
    frame = pl.DataFrame({"symbol": ["A"], "month": [1], "week": [1], "coverage": [1.0]})
    for wrong in (frame, frame.drop("month", "week")):
        with pytest.raises(ValueError, match="month or a week"):
            coverage_heat_map_svg(wrong)


# --- price and volume


def test_prices_rise_towards_the_top_and_days_run_to_the_right() -> None:
    daily = history([1.0, 3.0, 2.0])
    points = trail(price_volume_svg(daily.sort("date", descending=True), "X"))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y1 < y2 < y0  # the y axis of an SVG points down
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1)


def test_a_long_history_keeps_its_spikes_and_its_last_close() -> None:
    closes: list[float | None] = [50 + (n % 97) / 97 for n in range(10_000)]
    closes[4_321], closes[7_777] = 100.0, 1.0
    svg = price_volume_svg(history(closes), "long")
    points = trail(svg)
    assert len(svg.encode()) < LIMIT
    assert 200 < len(points) <= MAX_POINTS
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    assert top < 60 < 130 < bottom
    assert sum(y < 60 for _, y in points) == 1
    assert sum(y > 130 for _, y in points) == 1
    assert points[-1][0] == pytest.approx(578, abs=0.1)
    assert {"100", "1"} <= set(texts(svg))


def test_volume_bars_are_drawn_to_scale() -> None:
    svg = price_volume_svg(history([1.0, 1.0, 1.0, 1.0], [0, 500_000, 1_000_000, None]), "X")
    sticks = [float(length) for length in re.findall(r"M[\d.]+ 196v(-[\d.]+)", svg)]
    assert sticks == [-19.0, -38.0]
    assert "1M" in texts(svg)


@pytest.mark.parametrize("closes", [[3.5], [3.5] * 60, [3.5] * 9_999])
def test_a_constant_price_is_a_level_line(closes: list[float | None]) -> None:
    svg = price_volume_svg(history(closes, [0] * len(closes)), "flat")
    assert {y for _, y in trail(svg)} == {90.0}  # halfway between where a high and a low would be
    assert texts(svg).count("3.50") == 1
    assert "nan" not in svg


def test_days_without_a_close_are_left_out() -> None:
    assert len(trail(price_volume_svg(history([1.0, None, float("nan"), 2.0]), "X"))) == 2
    for nothing in (history([]), history([None, None])):
        assert texts(price_volume_svg(nothing, "BHP.AX")) == ["BHP.AX", "no bars"]


def test_a_hostile_title_stays_text() -> None:
    svg = price_volume_svg(history([1.0, 2.0]), HOSTILE)
    assert texts(svg)[0] == '<b>"A&B"</b> '
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == '<b>"A&B"</b> '
