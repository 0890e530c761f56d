"""Small pictures and tables as text, for Markdown: no plotting library, nothing fetched, a few kilobytes.

The SVGs have no background and use greys and hues that read on white and on near-black alike, because the
page they land on may be either.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, datetime
from typing import cast
from xml.sax.saxutils import escape

import polars as pl

MAX_POINTS = 250
MAX_SYMBOLS = 40
MAX_PERIODS = 60
_MAX_RUNS = 330

_INK = "#828b96"
_LINE = "#3b82f6"
_NAME = 16
_LABEL = 6.2  # width of a letter at the font size used
# Coverage from which on a colour applies: green, lime, amber, orange, red; then "nothing expected".
_STEPS = ((1.0, "#2f9e6e"), (0.98, "#8fbf4d"), (0.9, "#e0b93a"), (0.5, "#e0823c"), (0.0, "#d64545"))


def markdown_table(frame: pl.DataFrame, limit: int = 20) -> str:
    """The first `limit` rows as a Markdown table, with a line below that says how many more there are.

    Numbers are aligned right, floats have up to six significant digits, null is an empty cell. Pipes, line
    breaks and angle brackets in names and values are escaped. A frame without columns gives "".
    """
    if not frame.columns:
        return ""
    head = "| " + " | ".join(_cell(name) for name in frame.columns) + " |"
    rule = "|" + "|".join("---:" if dtype.is_numeric() else "---" for dtype in frame.dtypes) + "|"
    rows = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.head(limit).iter_rows()]
    more = frame.height - len(rows)
    tail = [f"\n… and {more:,} more row{'s' if more > 1 else ''}"] if more else []
    return "\n".join([head, rule, *rows, *tail])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:,.6g}"
    elif isinstance(value, datetime):
        text = value.isoformat(sep=" ", timespec="seconds")
    elif isinstance(value, list):
        text = ", ".join(str(item) for item in cast("list[object]", value))
    else:
        text = str(value)
    return escape(text).replace("\\", "\\\\").replace("|", "\\|").replace("\r", "").replace("\n", "<br>")


def svg_markdown(svg: str, alt: str) -> str:
    """`svg` as a Markdown image that carries its own data: `![alt](data:image/svg+xml;base64,…)`."""
    plain = alt.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("\n", " ")
    return f"![{plain}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def coverage_heat_map_svg(coverage: pl.DataFrame) -> str:
    """A grid of coverage: a row a symbol, a column a month or week.

    Args:
        coverage: symbol, then `month` or `week` (Date, or any value that sorts and prints), then coverage (0
            to 1; null: nothing was expected). (symbol, period) unique.

    Returns:
        An SVG below 30 KB, with the period and the coverage in every cell's title. Of more than 40 symbols
        the least covered are shown. Neighbouring periods are merged in pairs (mean coverage) until there are
        at most 60, and few enough changes of coverage for the size.

    Raises:
        ValueError: neither `month` nor `week` is a column, or both are.
    """
    names = [name for name in ("month", "week") if name in coverage.columns]
    if len(names) != 1:
        raise ValueError(f"a heat map needs a month or a week column, got {coverage.columns}")
    period = names[0]
    cells = coverage.select("symbol", pl.col(period).alias("period"), pl.col("coverage").cast(pl.Float64))
    cells = cells.drop_nulls(["symbol", "period"])
    if cells.is_empty():
        return _svg(240, 40, "Coverage", [_text(8, 24, "no cells")])
    order = (
        cells.group_by("symbol").agg(pl.col("coverage").mean()).sort("coverage", "symbol", nulls_last=True)
    )
    symbols = sorted(order["symbol"].head(MAX_SYMBOLS).to_list())
    labels = [_period(value, period) for value in cells["period"].unique().sort()]
    grid = _grid(cells.filter(pl.col("symbol").is_in(symbols)), symbols)
    spans = [(label, label) for label in labels]
    while len(spans) > MAX_PERIODS or sum(len(_runs(row)) for row in grid) > _MAX_RUNS:
        grid = [[_mean(row[at : at + 2]) for at in range(0, len(row), 2)] for row in grid]
        spans = [(spans[at][0], spans[min(at + 1, len(spans) - 1)][1]) for at in range(0, len(spans), 2)]

    size, top = 13, 22
    # Symbols are capitals, which are wider than the letters of the other labels.
    left = 14 + round(1.3 * _LABEL * max(min(len(name), _NAME) for name in symbols))
    styles = [f".c{n}{{stroke:{colour}}}" for n, (_, colour) in enumerate(_STEPS)]
    styles.append(
        f".c{len(_STEPS)}{{stroke:{_INK};opacity:.22}}path{{stroke-width:11;stroke-dasharray:12 1}}"
    )
    body = [f"<style>{''.join(styles)}</style>"]
    wide = max(left + size * len(spans) + 24, left + 80)
    step = int(_LABEL * len(spans[0][0]) + 14) // size + 1
    body += [
        _text(left + size * n, top - 8, spans[n][0])
        for n in range(0, len(spans), step)
        if left + size * n + _LABEL * len(spans[n][0]) < wide
    ]
    for line, (name, row) in enumerate(zip(symbols, grid, strict=True)):
        body.append(_text(left - 6, top + size * line + 10, _clip(name), anchor="end"))
        body.append(f'<g transform="translate({left},{top + size * line + 6})">')
        for start, end, percent in _runs(row):
            when = (
                spans[start][0] if spans[start][0] == spans[end][1] else f"{spans[start][0]}–{spans[end][1]}"
            )
            what = "none expected" if percent is None else f"{percent}%"
            body.append(
                f'<path class="c{_step(percent)}" d="M{start * size} 0h{(end + 1 - start) * size - 1}">'
                f"<title>{escape(when)} {what}</title></path>"
            )
        body.append("</g>")
    height = top + size * len(symbols) + 26
    at = 8
    for n, word in enumerate(("100%", "≥98%", "≥90%", "≥50%", "less", "none expected")):
        body.append(f'<path class="c{n}" d="M{at} {height - 12}h12"/>{_text(at + 16, height - 8, word)}')
        at += 32 + round(_LABEL * len(word))
    title = f"Coverage of {len(symbols)} symbols"
    if order.height > len(symbols):
        title = f"Coverage of the {len(symbols)} least covered of {order.height:,} symbols"
    return _svg(max(wide, at), height, title, body)


def _grid(cells: pl.DataFrame, symbols: Sequence[str]) -> list[list[float | None]]:
    """Coverage by symbol and period, null where there is no cell."""
    periods = cells["period"].unique().sort().to_list()
    found = {(name, when): value for name, when, value in cells.iter_rows()}
    return [[found.get((name, when)) for when in periods] for name in symbols]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _runs(row: Sequence[float | None]) -> list[tuple[int, int, int | None]]:
    """First and last column of each stretch of one coverage, and that in percent, rounded down so that only
    what lacks nothing says 100."""
    # A hair is added because 0.29 * 100 is 28.999999999999996.
    percents = [None if value is None else int(min(max(value, 0.0), 1.0) * 100 + 1e-9) for value in row]
    runs: list[tuple[int, int, int | None]] = []
    for column, percent in enumerate(percents):
        if runs and runs[-1][2] == percent:
            runs[-1] = (runs[-1][0], column, percent)
        else:
            runs.append((column, column, percent))
    return runs


def _step(percent: int | None) -> int:
    if percent is None:
        return len(_STEPS)
    return next(n for n, (floor, _) in enumerate(_STEPS) if percent >= floor * 100)


def _period(value: object, kind: str) -> str:
    if isinstance(value, date):
        return value.strftime("%Y-%m" if kind == "month" else "%Y-%m-%d")
    return _clip(str(value))


def price_volume_svg(bars: pl.DataFrame, title: str) -> str:
    """A line of closes over bars of volume.

    Args:
        bars: date, close, volume in any order, on one share basis (split-adjusted, or a split looks like a
            crash). Rows without a close are left out, a volume that is null counts 0.
        title: drawn above; the picture's accessible name.

    Returns:
        An SVG of at most 250 points: longer histories are cut into stretches of which the lowest and highest
        close are drawn, in their order, so that no spike is lost, and the mean volume.
    """
    width, height, left, right, top, floor = 640, 220, 10, 62, 30, 196
    rows = bars.select(
        "date", pl.col("close").cast(pl.Float64), pl.col("volume").cast(pl.Float64).fill_null(0)
    )
    rows = rows.filter(pl.col("close").is_finite()).sort("date")
    head = _text(left, 18, _clip(title, 90), weight=600)
    if rows.is_empty():
        return _svg(width, height, title, [head, _text(left, 110, "no bars")])
    low, high = _range(rows["close"])
    span = high - low or 1.0
    flat = high == low
    roof = 150  # where the volume bars may not reach

    def x(at: int) -> float:
        return left + (width - left - right) * (at / (rows.height - 1) if rows.height > 1 else 0.5)

    def y(close: float) -> float:
        return (top + roof) / 2 if flat else roof - (roof - top - 8) * (close - low) / span

    points = [(x(at), y(close)) for at, close in _thinned(rows["close"].to_list())]
    trail = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    volumes = [(at, volume) for at, volume in _averaged(rows["volume"].to_list())]
    most = max(volume for _, volume in volumes) or 1.0
    bar = max(1.0, min(8.0, 0.7 * (width - left - right) / len(volumes)))
    sticks = "".join(
        f"M{x(at):.1f} {floor}v{-38 * volume / most:.1f}" for at, volume in volumes if volume > 0
    )
    days = rows["date"].cast(pl.String)
    body = [
        head,
        f'<path d="M{left} {floor}H{width - right}" stroke="{_INK}" stroke-opacity=".5"/>',
        f'<path d="{sticks}" stroke="{_INK}" stroke-opacity=".55" stroke-width="{bar:.1f}"/>',
        f'<polygon points="{points[0][0]:.1f},{roof + 4} {trail} {points[-1][0]:.1f},{roof + 4}" '
        f'fill="{_LINE}" fill-opacity=".12"/>',
        f'<polyline points="{trail}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>',
        f'<circle cx="{points[-1][0]:.1f}" cy="{y(rows["close"][-1]):.1f}" r="2.5" fill="{_LINE}"/>',
        _text(width - right + 8, y(high) + 4, _number(high)),
        "" if flat else _text(width - right + 8, y(low) + 4, _number(low)),
        _text(width - right + 8, floor - 24, _number(most)),
        _text(left, height - 8, days[0]),
        _text(width - right, height - 8, days[-1], anchor="end") if rows.height > 1 else "",
    ]
    return _svg(width, height, title, body)


def _range(values: pl.Series) -> tuple[float, float]:
    ordered = values.sort()
    return ordered[0], ordered[-1]


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """At most `MAX_POINTS` of the values, with positions: each stretch's lowest and highest, and the last."""
    if len(values) <= MAX_POINTS:
        return list(enumerate(values))
    kept: list[int] = []
    for start, end in _stretches(len(values), MAX_POINTS // 2 - 1):
        stretch = range(start, end)
        kept += sorted({min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)})
    if kept[-1] != len(values) - 1:
        kept.append(len(values) - 1)
    return [(at, values[at]) for at in kept]


def _averaged(values: Sequence[float]) -> list[tuple[int, float]]:
    """Means of at most `MAX_POINTS` stretches, each at its middle."""
    return [
        ((start + end - 1) // 2, sum(values[start:end]) / (end - start))
        for start, end in _stretches(len(values), min(len(values), MAX_POINTS))
    ]


def _stretches(length: int, count: int) -> list[tuple[int, int]]:
    return [(n * length // count, (n + 1) * length // count) for n in range(count)]


def _number(value: float) -> str:
    """Four or so digits, and thousands, millions and billions by letter."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            return f"{value / (1e3 if letter == 'k' else unit):.4g}{letter}"
    return f"{value:.4g}" if abs(value) < 1 or value == int(value) else f"{value:.2f}"


def _clip(text: str, most: int = _NAME) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400) -> str:
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    bold = "" if weight == 400 else f' font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:.4g}"{place}{bold}>{escape(_printable(text))}</text>'


def _printable(text: str) -> str:
    # XML 1.0 has no place for control characters, escaped or not.
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="system-ui,sans-serif" font-size="11" fill="{_INK}" '
        f'role="img"><title>{escape(_printable(title))}</title>{"".join(body)}</svg>'
    )
