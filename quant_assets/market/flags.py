"""What is odd about a daily bar, as text codes in its column `flags`: "" for most, else sorted codes joined by commas.

| code | says of the row |
|---|---|
| `open_outside_range`, `close_outside_range` | the source gives an open, a close that is not within its low and high (an auction outside the order book, a mid price on a day without a trade); stored as served |
| `rounding` | high or low, a step of float32 short of open or close, have been widened to them |
| `no_trade` | a bar of a session without a share traded |
| `stale_price` | the close of at least four sessions before, and still without a trade |
| `volume_unknown` | `volume` is null: a later split has made the served number meaningless |
| `dividend_held` | `dividend` is null: what the source says of it is in doubt, and waits in quarantine |
| `settled_by_person` | somebody has decided about the row |
| `explained:<kind>` | the source erred in a known way, which has been undone |
| `action_dated:<YYYY-MM-DD>` | the source dates the row's action on that day, on which the exchange was closed |

A flag is a remark about values and none of them: flags that change alone are no restatement, and a row whose values
are said again keeps the flags it has.
"""  # noqa: E501 - a row of a table is a line

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

OPEN_OUTSIDE_RANGE = "open_outside_range"
CLOSE_OUTSIDE_RANGE = "close_outside_range"
ROUNDING = "rounding"
NO_TRADE = "no_trade"
STALE_PRICE = "stale_price"
VOLUME_UNKNOWN = "volume_unknown"
DIVIDEND_HELD = "dividend_held"
SETTLED_BY_PERSON = "settled_by_person"

NONE = ""
"""The column of a row that nothing is odd about."""
FLAGS = "flags"
_COMMA = ","
_EXPLAINED, _ACTION_DATED = "explained", "action_dated"


def explained(kind: str) -> str:
    """The code of a row in which a known error of the source has been undone: `explained:<kind>`.

    Raises ValueError for a kind that cannot stand in a list of codes.
    """
    if not kind or _COMMA in kind or kind != kind.strip():
        raise ValueError(f"{kind!r} is no kind of error: a word without commas and blanks at its ends")
    return f"{_EXPLAINED}:{kind}"


def action_dated(day: date) -> str:
    """The code of a row whose action the source dates on a day without trading: `action_dated:<YYYY-MM-DD>`."""
    return f"{_ACTION_DATED}:{day.isoformat()}"


def codes(text: str) -> list[str]:
    """The codes in one row's flags, sorted."""
    return text.split(_COMMA) if text else []


def from_conditions(conditions: Mapping[str, pl.Expr]) -> pl.Expr:
    """Flags of rows that have none: each code where its condition holds (a null does not)."""
    # Codes are written in their order, so that nothing has to be sorted row by row.
    found = [pl.when(conditions[code]).then(pl.lit(code)) for code in sorted(conditions)]
    return pl.concat_str(found, separator=_COMMA, ignore_nulls=True)


def joined(flags: pl.Expr, more: pl.Expr) -> pl.Expr:
    """The codes of both columns of flags, each once; a null has none."""
    both = pl.concat_str(flags.fill_null(NONE), more.fill_null(NONE), separator=_COMMA)
    return both.str.strip_chars(_COMMA).str.split(_COMMA).list.unique().list.sort().list.join(_COMMA)


def added(flags: pl.Expr, code: str, where: pl.Expr) -> pl.Expr:
    """`flags` with one more code where a condition holds; what has it already stays as it is."""
    return pl.when(where).then(joined(flags, pl.lit(code))).otherwise(flags)


def removed(flags: pl.Expr, code: str, where: pl.Expr) -> pl.Expr:
    """`flags` without a code where a condition holds."""
    rest = flags.str.split(_COMMA).list.filter(pl.element() != code).list.join(_COMMA)
    return pl.when(where).then(rest).otherwise(flags)


def has(code: str, flags: pl.Expr | None = None) -> pl.Expr:
    """Whether a row's flags (the column `flags` unless others are given) hold a code."""
    text = pl.col(FLAGS) if flags is None else flags
    return pl.concat_str(pl.lit(_COMMA), text, pl.lit(_COMMA)).str.contains(f",{code},", literal=True)


def has_kind(kind: str, flags: pl.Expr | None = None) -> pl.Expr:
    """Whether they hold a code with a part of its own, such as `explained:…`, whatever that part is."""
    text = pl.col(FLAGS) if flags is None else flags
    return pl.concat_str(pl.lit(_COMMA), text).str.contains(f",{kind}:", literal=True)


def counted(rows: pl.DataFrame) -> dict[str, int]:
    """How many rows (with a column `flags`) have each code, by code; of codes with a part of their own, the kind."""
    flagged = rows.filter(pl.col(FLAGS) != NONE)
    if flagged.is_empty():
        return {}
    # Few combinations, many rows.
    found: dict[str, int] = {}
    for text, count in flagged.group_by(FLAGS).len().rows():
        for kind in {code.partition(":")[0] for code in codes(text)}:
            found[kind] = found.get(kind, 0) + count
    return dict(sorted(found.items()))
