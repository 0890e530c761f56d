"""The figures as HTML: a page over all exchanges, and a page an exchange. No script, nothing of another server."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from quant_assets._version import __version__
from quant_assets.maintenance.report.figures import MOST, SESSIONS, ExchangeFigures, StoreReport
from quant_assets.maintenance.store_figures import Size
from quant_assets.market.inventory import growth
from quant_assets.words import number_of

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEPS = ((1.0, "c6"), (0.99, "c5"), (0.95, "c4"), (0.9, "c3"), (0.5, "c2"), (0.0, "c1"))
"""From which share on a month has which shade."""
LEGEND = (
    ("c6", "all"), ("c5", "99 % or more"), ("c4", "95 % or more"), ("c3", "90 % or more"), ("c2", "half or more"),
    ("c1", "less than half"), ("c0", "nobody was expected, or no cell"),
)  # fmt: skip
_SQUARE, _LEFT, _TOP = 9, 64, 18
"""Pixels of the map over all exchanges."""


def page_of_all(report: StoreReport, runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page over all exchanges. `runs`: the last ones, as `RunOutcome.facts` tells them."""
    common = _common(report, report.exchanges, report.sizes, runs)
    return _template().render(common, title="All exchanges", one=None, map=_map(report.exchanges))


def page_of(report: StoreReport, code: str, runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page of one exchange; of `runs` those that concern it. Raises KeyError."""
    one = report.one(code)
    mine = [run for run in runs if code in str(run.get("exchange", "")).split(", ")]
    common, heat = _common(report, [one], {}, mine), list(heat_years(one.months))
    return _template().render(common, title=f"{one.name} ({code})", one=one, heat=heat)


@lru_cache(maxsize=1)
def style_hash() -> str:
    """The hash by which a Content-Security-Policy allows the pages' one style element."""
    digest = hashlib.sha256(_style().encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def heat_years(months: pl.DataFrame) -> Iterable[tuple[int, list[tuple[str, str, str]]]]:
    """By year, the latest first: for each of its months the shade, the share in words, and all that is known of it.

    `months`: MONTHS_SCHEMA.
    """
    known = {row["month"]: row for row in months.iter_rows(named=True)}
    if not known:
        return
    for year in range(max(known).year, min(known).year - 1, -1):
        yield year, [_month(known.get(date(year, month, 1)), year, month) for month in range(1, 13)]


def shade(coverage: float | None) -> str:
    """The class of a share."""
    if coverage is None:
        return "c0"
    return next(name for least, name in _STEPS if coverage >= least)


def _month(row: Mapping[str, Any] | None, year: int, month: int) -> tuple[str, str, str]:
    name = f"{_MONTHS[month - 1]} {year}"
    if row is None:
        return "c0", "", f"{name}: no cell"
    states = ", ".join(
        f"{row[state]} {state}" for state in ("complete", "partial", "failed", "closed") if row[state]
    )
    coverage = row["coverage"]
    if coverage is None:
        return "c0", "–", f"{name}: {states or 'no cell'}"
    return shade(coverage), percent(coverage), f"{name}: {percent(coverage)} of the rows expected; {states}"


def _map(exchanges: Sequence[ExchangeFigures]) -> Markup:
    """Every month of every exchange as a square, in one picture; the table beside it has the years in words."""
    known = [one for one in exchanges if not one.months.is_empty()]
    if not known:
        return Markup("")
    first = min(one.months["month"].min() for one in known)  # pyright: ignore[reportArgumentType, reportCallIssue]
    last = max(one.months["month"].max() for one in known)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert isinstance(first, date)
    assert isinstance(last, date)
    years = range(first.year, last.year + 1)
    width, height = _LEFT + 12 * len(years) * _SQUARE, _TOP + len(known) * (_SQUARE + 5)
    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Coverage by exchange and month; the table below has the years in words">'
    ]
    parts += [
        f'<text x="{_LEFT + 12 * at * _SQUARE}" y="12">{year if len(years) < 30 or year % 5 == 0 else ""}</text>'
        for at, year in enumerate(years)
    ]
    for row, one in enumerate(known):
        top = _TOP + row * (_SQUARE + 5)
        parts.append(f'<text x="0" y="{top + _SQUARE}">{one.code}</text>')
        for of_month in one.months.iter_rows(named=True):
            month: date = of_month["month"]
            left = _LEFT + ((month.year - years[0]) * 12 + month.month - 1) * _SQUARE
            kind, _, says = _month(of_month, month.year, month.month)
            parts.append(
                f'<rect class="{kind}" x="{left}" y="{top}" width="{_SQUARE - 1}" height="{_SQUARE + 2}">'
                f"<title>{one.code} {says}</title></rect>"
            )
    # Exchange codes, numbers and words of this module: nothing in it comes from a file of somebody else's.
    return Markup("".join([*parts, "</svg>"]))


def percent(share: float | None) -> str:
    """A share in words: rounded down, so that 100 % is all of it."""
    if share is None:
        return "–"
    return "100 %" if share >= 1 else f"{int(share * 1000) / 10:.1f} %"


def size_in_words(count: int) -> str:
    """Bytes as people read them."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:,.0f} {units[0]}" if units[0] == "bytes" or value >= 100 else f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """A time span as people read it."""
    minutes = int(seconds // 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def years_of(one: ExchangeFigures) -> list[tuple[int, str, str]]:
    """By year, the latest first: the shade and the share in words."""
    by_year = (
        one.months.group_by(pl.col("month").dt.year().alias("year"))
        .agg(pl.col("expected", "received").sum())
        .sort("year", descending=True)
    )
    shares = (
        (year, received / expected if expected else None) for year, expected, received in by_year.iter_rows()
    )
    return [(year, shade(share), percent(share)) for year, share in shares]


def _moment(value: datetime | str | None) -> str:
    if value is None:
        return "–"
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d %H:%M}"


def _common(
    report: StoreReport,
    shown: Sequence[ExchangeFigures],
    shared: Mapping[str, Size],
    runs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What both kinds of page say of the exchanges `shown`, each list of all of them together; `shared`: the sizes of
    what concerns no exchange."""
    sizes = dict(shared)
    for one in shown:
        for table, size in one.sizes.items():
            sizes[table] = sizes.get(table, Size()) + size
    return {
        "style": Markup(_style()),
        "legend": LEGEND,
        "month_names": _MONTHS,
        "location": report.location,
        "made": report.made,
        "version": __version__,
        "codes": [one.code for one in report.exchanges],
        "all": shown,
        "sessions": SESSIONS,
        "worst": _rows(shown, lambda one: one.worst, "quality"),
        "holes": sorted(
            ((one.code, *hole) for one in shown for hole in one.holes), key=lambda hole: -hole[-1]
        )[:MOST],
        "held": _rows(shown, lambda one: one.held, "since"),
        "held_count": sum(one.held.height for one in shown),
        "restated": _rows(shown, lambda one: one.restated, "detected_at", descending=True),
        "classes": sum((Counter(one.classes) for one in shown), Counter[str]()),
        "runs": list(runs)[:MOST],
        "sizes": dict(sorted(sizes.items())),
        "growth": growth(pl.concat([one.months for one in shown])) if shown else None,
        "stored": _stored(shown),
    }


def _rows(
    shown: Sequence[ExchangeFigures],
    frame: Callable[[ExchangeFigures], pl.DataFrame],
    by: str,
    *,
    descending: bool = False,
) -> list[dict[str, Any]]:
    """The first rows of a frame of each exchange, together in the order of `by`, with `exchange`."""
    frames = [frame(one).with_columns(exchange=pl.lit(one.code)) for one in shown]
    if not frames:
        return []
    together = pl.concat(frames).sort(by, descending=descending, maintain_order=True)
    return together.head(MOST).to_dicts()


def _stored(shown: Sequence[ExchangeFigures]) -> list[dict[str, Any]]:
    """What was put in each month, the latest first."""
    if not shown:
        return []
    together = pl.concat([one.stored for one in shown]).group_by("month").agg(pl.col("cells", "bytes").sum())
    return together.sort("month", descending=True).to_dicts()


@lru_cache(maxsize=1)
def _style() -> str:
    return files("quant_assets.maintenance.report").joinpath("page.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent, "bytes": size_in_words, "duration": duration, "moment": _moment, "years": years_of,
        "number_of": number_of,
    }  # fmt: skip
    return environment.from_string(
        files("quant_assets.maintenance.report").joinpath("page.jinja").read_text(encoding="utf-8")
    )
