"""What is judged of a daily cell once it is stored: one rule a check, each saying passed, WARN or ERROR, and why.

| check | WARN | ERROR | passed |
|---|---|---|---|
| `coverage` | symbols are missing that are neither suspended nor rejected | the cell is `failed`: too few symbols, or nobody; stops nothing, for a valid row is good whoever else is missing | complete, closed, or short of settled gaps only; nothing to cover yet |
| `calendar` | | a closed day has rows, a row has another day's date, a session is recorded as closed, or a session that is over has no cell | the cell and the calendar agree, or the session is not over |
| `validity` | bars of the session wait in quarantine for a decision | a stored row breaks a rule of a daily bar, rows are not unique or not sorted, or the object is damaged or gone | all rows keep the rules, and nothing waits |
| `jumps_explained` | a close moved by more than a factor of 1.6 since the session before, and no split or dividend explains it | never: a real crash is a fact | every move is smaller or explained |
| `flags` | something is odd about rows: open or close outside the range, no trade, a stale price, a value in doubt (`market.flags`) | never: it is what the source says of the market | no row has a flag |
| `freshness` (of the exchange, said of its latest cell) | the last session with all that the source can give is 2 to 5 sessions behind the last one over | more than 5 behind; stops nothing, for old prices are no wrong prices | at most 1 behind, or not the latest cell |
| `restatements_today` | values of the session were restated in the last 24 hours | never: a restatement is a recorded correction | none were |
| `usable` | | `calendar` or `validity` is ERROR (stops what is downstream) | neither is |

`usable` alone is blocking: to Dagster a blocking check has passed or has not, and a WARN has not, so that a cell that
merely lacks one symbol would stop its week.
"""  # noqa: E501 - a row of a table is a line

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES
from quant_assets.market.coverage import FINAL, HELD, SETTLED, CellState, Missing
from quant_assets.market.flags import FLAGS, NONE, counted
from quant_assets.market.moves import LARGE, exceeds, like_a_split, size_explained

STALE_WARN, STALE_ERROR = 1, 5
"""Sessions that an exchange may be behind before that is a WARN, and before it is an ERROR."""
RECENT = timedelta(hours=24)
"""How long a restatement counts as one of today."""


LOOKED_AT = ("calendar", "validity", "jumps_explained", "flags")
"""The checks that look at the rows of a cell."""


class Severity(StrEnum):
    """How bad it is that a check did not pass."""

    WARN = "WARN"
    """Somebody should look; what rests on the cell goes on."""
    ERROR = "ERROR"
    """Something is wrong with the cell. Where it is its rows, nothing should be made from it (`usable`)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says: `severity` None when it passed, a sentence, and the rows that it is about."""

    summary: str
    severity: Severity | None = None
    table: pl.DataFrame | None = None

    @property
    def passed(self) -> bool:
        """Whether there is nothing to look at."""
        return self.severity is None

    @property
    def is_error(self) -> bool:
        """Whether it is an ERROR."""
        return self.severity is Severity.ERROR


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What a cell says of itself, and where it stands in time.

    `state` None: there is no cell. `is_session` and `over`: whether the exchange trades that day, and whether that
    session is over by now.
    """

    day: date
    is_session: bool
    over: bool
    state: CellState | None = None
    reason: str = ""
    missing: Sequence[Missing] = ()


def coverage(cell: CellFacts) -> Verdict:
    """Whether everybody came who should have, judged by what the cell names as missing."""
    if cell.state is None:
        return Verdict("there is no cell to judge" if cell.over else "the session is not over")
    table = _missing_table(cell.missing)
    if cell.state is CellState.FAILED:
        return Verdict(cell.reason or "the cell is failed", Severity.ERROR, table)
    open_ = [m for m in cell.missing if m.outcome not in FINAL]
    if open_:
        return Verdict(
            f"{len(open_)} symbol(s) missing: {_few([f'{m.symbol} ({m.reason})' for m in open_])}",
            Severity.WARN,
            table,
        )
    if cell.missing:
        return Verdict(f"complete but for {len(cell.missing)} settled gap(s)", table=table)
    return Verdict(cell.reason or cell.state.value)


def calendar(cell: CellFacts, rows: pl.DataFrame | None) -> Verdict:
    """Whether there are rows exactly when the exchange traded. `rows`: those of the cell, None where it has none."""
    if rows is not None and not rows.is_empty():
        if not cell.is_session:
            return Verdict(f"{rows.height} row(s) on {cell.day}, a day without trading", Severity.ERROR)
        strays = rows.filter(pl.col("date").ne_missing(pl.lit(cell.day)))
        if not strays.is_empty():
            summary = f"{strays.height} row(s) in the cell of {cell.day} have another date"
            return Verdict(summary, Severity.ERROR, strays.select(KEYS))
    if not cell.is_session:
        return Verdict("no session, and no rows")
    if cell.state is CellState.CLOSED:
        summary = f"recorded as closed, but the calendar has a session on {cell.day}"
        return Verdict(summary, Severity.ERROR)
    if not cell.over:
        return Verdict("the session is not over")
    if cell.state is None:
        return Verdict(f"the session of {cell.day} is over and has no cell", Severity.ERROR)
    return Verdict("a session, with a cell")


def worth_a_look(cells: Mapping[date, pl.DataFrame], before: Mapping[date, date]) -> dict[date, set[str]]:
    """By day, the names of those of `LOOKED_AT` that the rows of its cell may not pass: found in one look at all.

    To every other of these checks the rows of a cell are as good as none: with an empty frame in their place it says
    the same, in a small part of the time.

    Args:
        cells: the rows of cells by day.
        before: by day the session before it; its cell is looked at when it is among `cells`.
    """
    found: dict[date, set[str]] = {day: set() for day in cells}
    plain = {day: rows for day, rows in cells.items() if rows.schema == DAILY_SCHEMA and rows.height}
    for day, rows in cells.items():
        if rows.schema != DAILY_SCHEMA or before.get(day, day) in cells.keys() - plain.keys():
            found[day] |= set(LOOKED_AT)
    if not plain:
        return found
    heights = pl.Series([rows.height for rows in plain.values()])
    of_row = pl.Series("_cell", list(plain), dtype=pl.Date).repeat_by(heights).explode()
    rows = pl.concat(list(plain.values())).with_columns(of_row.alias("_cell"))
    odd, stray, unsorted = (
        pl.col(FLAGS) != NONE,
        pl.col("date").ne_missing(pl.col("_cell")),
        (pl.col("_cell") == pl.col("_cell").shift(1))
        & (
            (pl.col("symbol") < pl.col("symbol").shift(1))
            | ((pl.col("symbol") == pl.col("symbol").shift(1)) & (pl.col("date") < pl.col("date").shift(1)))
        ),
    )
    jumps = (
        rows.lazy()
        .with_columns(_before=_closes_before(rows, list(plain), before))
        .filter(pl.col("close") > 0, exceeds(size_explained(pl.col("_before")), LARGE))
    )
    looks = {
        "flags": rows.lazy().filter(odd),
        "calendar": rows.lazy().filter(stray),
        "validity": rows.lazy().filter(unsorted | pl.any_horizontal(pl.col(*KEYS).is_null())),
        "jumps_explained": jumps,
    }
    days = pl.collect_all([look.select(pl.col("_cell").unique()) for look in looks.values()])
    for name, some in zip(looks, days, strict=True):
        for day in some["_cell"]:
            found[day].add(name)
    return found


def _closes_before(rows: pl.DataFrame, days: Sequence[date], before: Mapping[date, date]) -> pl.Series:
    """By row (symbol, close, `_cell`) the symbol's last positive close in the cell of the session before; else null.

    A table of cells by symbols, looked up: a join of the rows of many cells takes several times as long.
    """
    import numpy as np

    place = {day: number for number, day in enumerate(days)}
    cell = rows["_cell"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    symbol = rows["symbol"].cast(pl.Categorical).to_physical().fill_null(0).to_numpy()
    positive = ((rows["close"] > 0).fill_null(value=False) & rows["symbol"].is_not_null()).to_numpy()
    # A row more than there are cells: for sessions whose cell is not among them, in which nobody has a close.
    closes = np.full((len(days) + 1, int(symbol.max()) + 1), np.nan)
    closes[cell[positive], symbol[positive]] = rows["close"].to_numpy()[positive]
    previous = np.array([place.get(before[day], -1) if day in before else -1 for day in days])
    return pl.Series(closes[previous[cell], symbol]).fill_nan(None)


def broken_rules(cells: Mapping[date, pl.DataFrame]) -> dict[date, pl.DataFrame]:
    """By day, the rows of its cell (DAILY_SCHEMA) that break a rule, with the column `rule`; days without are absent.

    All are judged in one go, and one by one only where some row is refused.
    """
    # dataframely is slow to import, and whoever imports this module need not judge.
    from quant_assets.market.validation import validate

    frames = [rows for rows in cells.values() if rows.schema == DAILY_SCHEMA and not rows.is_empty()]
    if not frames or validate(pl.concat(frames))[1].is_empty():
        return {}
    refused = {
        day: validate(rows)[1] for day, rows in cells.items() if rows.schema == DAILY_SCHEMA and rows.height
    }
    return {day: rows for day, rows in refused.items() if not rows.is_empty()}


def validity(
    rows: pl.DataFrame | None, refused: pl.DataFrame | None, damage: str, pending: pl.DataFrame
) -> Verdict:
    """Whether what is stored keeps the rules of a daily bar.

    Args:
        rows: the cell's rows; None where it has none.
        refused: those of them that break a rule (`broken_rules`); None where none does.
        damage: what is wrong with the object, with its path; empty where it could be read.
        pending: symbol, rule, id and more of what is held of the session and waits in quarantine.
    """
    if damage:
        return Verdict(damage, Severity.ERROR)
    if rows is not None:
        if rows.schema != DAILY_SCHEMA:
            return Verdict("its columns are not those of a daily bar", Severity.ERROR)
        if refused is not None and not refused.is_empty():
            rules = sorted(set(refused["rule"]))
            summary = f"{refused.height} stored row(s) break a rule: {_few(rules)}"
            return Verdict(summary, Severity.ERROR, refused.select(*KEYS, "rule"))
        if rows.height and not rows.select(KEYS).equals(rows.select(KEYS).sort(KEYS)):
            return Verdict("its rows are not sorted by symbol and date", Severity.ERROR)
    if not pending.is_empty():
        held = [
            f"{symbol} ({rule}; {id_})" for symbol, rule, id_ in pending.select("symbol", "rule", "id").rows()
        ]
        return Verdict(f"{len(held)} bar(s) wait in quarantine: {_few(held)}", Severity.WARN, pending)
    return Verdict("all rows keep the rules" if rows is not None else "no rows")


def jumps_explained(rows: pl.DataFrame | None, before: pl.DataFrame | None, previous: date) -> Verdict:
    """Whether every large move since the session before has a reason.

    Args:
        rows, before: the rows (DAILY_SCHEMA) of the cell and of the cell of `previous`; None where there is none.
    """
    if rows is None:
        return Verdict("no rows")
    if before is None:
        return Verdict(f"nothing to compare with: the session before, {previous}, has no rows")
    if rows.is_empty():
        return Verdict(f"no unexplained move since {previous}")
    last = before.filter(pl.col("close") > 0).select("symbol", before="close").unique("symbol", keep="last")
    jumps = (
        rows.filter(pl.col("close") > 0)
        .join(last, on="symbol", how="inner", maintain_order="left")
        .with_columns(
            _size=size_explained(pl.col("before")),
            factor=pl.col("close") / pl.col("before"),
        )
        .filter(exceeds(pl.col("_size"), LARGE))
        .select("symbol", "before", "close", "factor", "split_ratio", "dividend")
    )
    if jumps.is_empty():
        return Verdict(f"no unexplained move since {previous}")
    jumped = [
        f"{symbol} from {was:g} to {now:g}{_like_a_split(now * ratio / was)}"
        for symbol, was, now, ratio in jumps.select("symbol", "before", "close", "split_ratio").rows()
    ]
    return Verdict(
        f"{len(jumped)} unexplained move(s) since {previous}: {_few(jumped)}", Severity.WARN, jumps
    )


def _like_a_split(move: float) -> str:
    """What a move that the known splits leave over looks like, in words; empty when like nothing."""
    ratio = like_a_split(move)
    return f", which looks like a {ratio} split that the source has not reported" if ratio else ""


def flagged(rows: pl.DataFrame | None) -> Verdict:
    """Whether something is odd about rows of the cell (DAILY_SCHEMA; None where it has none), as their flags say."""
    if rows is None:
        return Verdict("no rows")
    odd = rows if rows.is_empty() else rows.filter(pl.col(FLAGS) != NONE)
    if odd.is_empty():
        return Verdict("nothing is odd about any row")
    kinds = ", ".join(f"{count} {kind}" for kind, count in counted(odd).items())
    return Verdict(
        f"{odd.height} of {rows.height} row(s) are flagged: {kinds}",
        Severity.WARN,
        odd.select("symbol", FLAGS, *PRICES, "volume", "dividend"),
    )


def is_whole(state: CellState, missing: Collection[Missing]) -> bool:
    """Whether a session's cell has all that the source can give: whoever is missing, the source itself said so,
    or what it said is held."""
    return state is CellState.COMPLETE or (
        state is CellState.PARTIAL and all(m.outcome in SETTLED | FINAL | {HELD} for m in missing)
    )


def freshness(day: date, latest: date | None, last_whole: date | None, over: Sequence[date]) -> Verdict:
    """How far an exchange is behind, said of its latest cell.

    Args:
        latest: the last day that has a cell.
        last_whole: the last session whose cell has all that the source can give (`is_whole`).
        over: the sessions that are over, in order, from `last_whole` on; all that matter when that is None.
    """
    if latest is None or day < latest:
        return Verdict(f"judged on the latest cell, {latest}" if latest else "no cell yet")
    behind = sum(session > last_whole for session in over) if last_whole else len(over)
    last = over[-1] if over else None
    summary = f"last whole session {last_whole}, last session over {last}: {behind} behind"
    if behind > STALE_ERROR:
        return Verdict(summary, Severity.ERROR)
    return Verdict(summary, Severity.WARN if behind > STALE_WARN else None)


def restatements_today(restatements: pl.DataFrame, day: date, now: datetime) -> Verdict:
    """Whether values of a session were restated lately.

    Args:
        restatements: the ledger's columns `date`, `detected_at` and any others.
    """
    recent = restatements
    if not recent.is_empty():
        recent = recent.filter(
            (pl.col("date") == day) & (pl.col("detected_at") > now - RECENT) & (pl.col("detected_at") <= now)
        )
    if recent.is_empty():
        return Verdict("none in the last 24 hours")
    return Verdict(f"{recent.height} value(s) restated in the last 24 hours", Severity.WARN, recent)


def usable(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Whether something may be made from the cell: none of the verdicts given is an ERROR."""
    errors = [f"{name}: {verdict.summary}" for name, verdict in verdicts.items() if verdict.is_error]
    return Verdict("; ".join(errors), Severity.ERROR) if errors else Verdict("nothing speaks against it")


def _missing_table(missing: Collection[Missing]) -> pl.DataFrame | None:
    if not missing:
        return None
    rows = [(m.symbol, m.outcome, m.reason, m.since or m.asked_on, m.asked_on, m.answers) for m in missing]
    schema = {
        "symbol": pl.String, "outcome": pl.String, "reason": pl.String,
        "first_told": pl.Date, "asked_on": pl.Date, "answers": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _few(texts: Sequence[str], most: int = 5) -> str:
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more
