"""Each rule about a stored cell, on its own: what is red, how red, and what is not."""

import random
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.market import checks
from quant_assets.market.bars import DAILY_SCHEMA, empty_daily
from quant_assets.market.checks import CellFacts, Severity, Verdict
from quant_assets.market.coverage import CellState, Missing

DAY, BEFORE = date(2024, 3, 15), date(2024, 3, 14)
NOW = datetime(2024, 3, 16, tzinfo=UTC)
WARN, ERROR = Severity.WARN, Severity.ERROR
NONE_HELD = pl.DataFrame(schema={"symbol": pl.String, "rule": pl.String, "id": pl.String})


def bars(day: date = DAY, **closes: float | None) -> pl.DataFrame:
    """Rows of one session, sound in themselves."""
    return pl.DataFrame(
        {
            "symbol": list(closes), "date": day,
            **{name: list(closes.values()) for name in ("open", "high", "low", "close")},
            "volume": [0 if close is None else 10 for close in closes.values()],
            "dividend": 0.0, "split_ratio": 1.0, "currency": "USD", "flags": "",
            "fetched_at": NOW,
        },
        schema=DAILY_SCHEMA,
    )  # fmt: skip


def cell(state: CellState | None, *outcomes: str, session: bool = True, over: bool = True) -> CellFacts:
    missing = tuple(
        Missing(f"S{n}", outcome, "why", DAY, since=BEFORE, answers=3) for n, outcome in enumerate(outcomes)
    )
    return CellFacts(DAY, session, over, state, "a reason" if state is CellState.FAILED else "", missing)


# Coverage.


@pytest.mark.parametrize(
    ("facts", "severity"),
    [
        (cell(CellState.COMPLETE), None),
        (cell(CellState.CLOSED, session=False, over=False), None),
        (cell(CellState.PARTIAL, "suspended", "rejected"), None),
        (cell(CellState.PARTIAL, "suspended", "no_bar"), WARN),
        (cell(CellState.PARTIAL, "rate_limited"), WARN),
        (cell(CellState.FAILED, "suspended"), ERROR),
        (cell(CellState.FAILED), ERROR),
        (cell(None, over=False), None),
    ],
)
def test_coverage_is_an_error_when_failed_and_a_warning_when_a_gap_is_not_settled(
    facts: CellFacts, severity: Severity | None
) -> None:
    assert checks.coverage(facts).severity == severity


@pytest.mark.parametrize(
    ("state", "reason", "text"),
    [(CellState.COMPLETE, "", "complete"), (CellState.CLOSED, "a holiday", "a holiday")],
)
def test_coverage_says_why_a_cell_lacks_nothing_or_what_it_is(
    state: CellState, reason: str, text: str
) -> None:
    assert checks.coverage(CellFacts(DAY, True, True, state, reason)) == Verdict(text)


def test_a_failed_cell_says_why_or_that_it_failed() -> None:
    for reason, text in (("nobody answered", "nobody answered"), ("", "the cell is failed")):
        found = checks.coverage(CellFacts(DAY, True, True, CellState.FAILED, reason))
        assert found == Verdict(text, ERROR)


def test_coverage_names_who_is_missing_with_outcome_reason_and_dates() -> None:
    verdict = checks.coverage(cell(CellState.PARTIAL, "suspended", "no_bar"))
    assert verdict.summary == "1 symbol(s) missing: S1 (why)"
    assert verdict.table is not None
    assert verdict.table.rows() == [
        ("S0", "suspended", "why", BEFORE, DAY, 3),
        ("S1", "no_bar", "why", BEFORE, DAY, 3),
    ]


# Calendar.


@pytest.mark.parametrize(
    ("facts", "rows", "severity"),
    [
        (cell(CellState.COMPLETE), bars(A=1.0), None),
        (cell(CellState.FAILED), None, None),
        (cell(None), None, ERROR),
        (cell(None, over=False), None, None),
        (cell(CellState.CLOSED), None, ERROR),
        (cell(CellState.CLOSED, session=False, over=False), None, None),
        (cell(CellState.CLOSED, session=False, over=False), bars(A=1.0), ERROR),
        (cell(None, session=False, over=False), None, None),
        (cell(CellState.COMPLETE), bars(BEFORE, A=1.0), ERROR),
        (cell(CellState.COMPLETE), pl.concat([bars(A=1.0), bars(BEFORE, B=1.0)]), ERROR),
    ],
)
def test_rows_belong_to_sessions_and_sessions_that_are_over_have_a_cell(
    facts: CellFacts, rows: pl.DataFrame | None, severity: Severity | None
) -> None:
    assert checks.calendar(facts, rows).severity == severity


# Flags.


def test_flagged_rows_are_a_warning_that_counts_and_shows_them() -> None:
    rows = bars(A=1.0, B=2.0, C=3.0)
    assert checks.flagged(rows).passed
    assert checks.flagged(None).passed
    odd = rows.with_columns(flags=pl.Series(["no_trade", "", "no_trade,stale_price"]))
    verdict = checks.flagged(odd)
    assert verdict.severity is WARN
    assert verdict.summary == "2 of 3 row(s) are flagged: 2 no_trade, 1 stale_price"
    assert verdict.table is not None
    assert verdict.table.select("symbol", "flags", "close").rows() == [
        ("A", "no_trade", 1.0),
        ("C", "no_trade,stale_price", 3.0),
    ]


# Validity.


def test_only_the_days_with_a_broken_row_are_told_with_the_rule_that_it_breaks() -> None:
    broken = bars(DAY, A=1.0, B=2.0).with_columns(
        low=pl.when(pl.col("symbol") == "B").then(9.0).otherwise(1.0)
    )
    assert checks.broken_rules({BEFORE: bars(BEFORE, A=1.0), DAY: bars(A=1.0)}) == {}
    refused = checks.broken_rules({BEFORE: bars(BEFORE, A=1.0), DAY: broken})
    assert list(refused) == [DAY]
    assert refused[DAY].select("symbol", "rule").rows() == [("B", "high is below low")]
    twice = pl.concat([bars(A=1.0), bars(A=1.0)])
    assert checks.broken_rules({DAY: twice})[DAY]["rule"].unique().to_list() == ["two rows for one session"]
    # What is no table of daily bars is not judged by their rules.
    assert list(checks.broken_rules({BEFORE: bars(BEFORE, A=1.0).drop("volume"), DAY: broken})) == [DAY]
    # The same rows in two cells are the calendar's matter: each of them is unique in its own.
    assert checks.broken_rules({BEFORE: bars(A=1.0), DAY: bars(A=1.0)}) == {}


def test_validity_is_an_error_for_what_is_stored_and_a_warning_for_what_waits() -> None:
    rows = bars(A=1.0, B=1.0)
    refused = rows.head(1).with_columns(rule=pl.lit("too low"))
    held = pl.DataFrame([("C", "too high", "abc")], schema=NONE_HELD.schema, orient="row")
    assert checks.validity(rows, None, "", NONE_HELD).passed
    assert checks.validity(None, None, "", NONE_HELD).passed
    waits = checks.validity(rows, None, "", held)
    assert (waits.severity, waits.summary) == (WARN, "1 bar(s) wait in quarantine: C (too high; abc)")
    broken = checks.validity(rows, refused, "", held)
    assert (broken.severity, broken.summary) == (ERROR, "1 stored row(s) break a rule: too low")
    assert checks.validity(rows.reverse(), None, "", NONE_HELD).severity is ERROR
    assert checks.validity(rows.drop("volume"), None, "", NONE_HELD).severity is ERROR
    damaged = checks.validity(None, None, "/a/path: torn", held)
    assert (damaged.severity, damaged.summary) == (ERROR, "/a/path: torn")


# Jumps.


@pytest.mark.parametrize(
    ("was", "now", "ratio", "dividend", "jump"),
    [
        (10.0, 15.9, 1.0, 0.0, False),
        (10.0, 16.1, 1.0, 0.0, True),
        (10.0, 6.3, 1.0, 0.0, False),
        (10.0, 6.2, 1.0, 0.0, True),
        # Explained: by a split, by its reverse, by a special dividend.
        (10.0, 2.5, 4.0, 0.0, False),
        (1.0, 10.0, 0.1, 0.0, False),
        (10.0, 5.0, 1.0, 5.0, False),
        # What is known does not explain it.
        (10.0, 2.5, 2.0, 0.0, True),
        (10.0, 5.0, 1.0, 0.1, True),
    ],
)
def test_a_move_beyond_a_factor_of_1_6_needs_an_explanation(
    was: float, now: float, ratio: float, dividend: float, jump: bool
) -> None:
    rows = bars(A=now).with_columns(split_ratio=pl.lit(ratio), dividend=pl.lit(dividend))
    assert checks.jumps_explained(rows, bars(BEFORE, A=was), BEFORE).severity == (WARN if jump else None)


@pytest.mark.parametrize(
    ("was", "now", "ratio", "words"),
    [
        (100.0, 50.0, 1.0, "looks like a 2:1 split"),
        (100.0, 33.9, 1.0, "looks like a 3:1 split"),
        (100.0, 41.0, 1.0, "looks like a 5:2 split"),
        (1.0, 10.2, 1.0, "looks like a 1:10 split"),
        # Of 4:1 only half is known.
        (100.0, 25.0, 2.0, "looks like a 2:1 split"),
        (100.0, 45.0, 1.0, ""),
    ],
)
def test_a_jump_near_a_simple_ratio_is_said_to_look_like_that_split(
    was: float, now: float, ratio: float, words: str
) -> None:
    rows = bars(A=now).with_columns(split_ratio=pl.lit(ratio))
    summary = checks.jumps_explained(rows, bars(BEFORE, A=was), BEFORE).summary
    assert f"A from {was:g} to {now:g}" in summary
    assert (words in summary) if words else ("looks like" not in summary)


@pytest.mark.parametrize(("moved", "more"), [(5, False), (6, True)])
def test_five_are_named_and_the_others_counted(moved: int, more: bool) -> None:
    before, now = (
        bars(on, **{f"S{n}": close for n in range(moved)}) for on, close in ((BEFORE, 1.0), (DAY, 9.0))
    )
    summary = checks.jumps_explained(now, before, BEFORE).summary
    assert summary.count(" from ") == 5
    assert summary.endswith("; and 1 more") is more
    assert (" more" in summary) is more


def test_only_bars_on_both_sides_are_compared() -> None:
    before = bars(BEFORE, A=1.0, B=None, C=1.0)
    assert checks.jumps_explained(bars(A=None, B=9.0, D=9.0), before, BEFORE).passed
    assert checks.jumps_explained(bars(A=9.0), None, BEFORE).passed
    assert checks.jumps_explained(None, before, BEFORE).passed
    # Neither a stranger's jump nor a gap hides this one.
    verdict = checks.jumps_explained(bars(A=None, B=9.0, C=9.0), before, BEFORE)
    assert verdict.table is not None
    assert verdict.table["symbol"].to_list() == ["C"]


# One look at many cells.


@pytest.mark.parametrize("seed", range(8))
def test_where_one_look_at_all_cells_finds_nothing_no_rows_are_as_good_as_the_rows(seed: int) -> None:
    chance = random.Random(seed)
    days = [DAY + timedelta(days=n) for n in range(6)]
    cells: dict[date, pl.DataFrame] = {}
    for day in days:
        rows = bars(day, **{name: chance.choice((1.0, 1.2, None)) for name in "ABCDE"})
        if chance.random() < 0.2:
            rows = rows.with_columns(
                pl.col("close") * pl.when(pl.col("symbol") == "B").then(9.0).otherwise(1.0)
            )
        if chance.random() < 0.2:
            rows = rows.with_columns(
                flags=pl.when(pl.col("symbol") == "C").then(pl.lit("no_trade")).otherwise("flags")
            )
        if chance.random() < 0.2:
            rows = pl.concat([rows, bars(days[0], A=1.0)])
        rows = chance.choice((rows, rows, rows, rows.reverse(), rows.drop("volume"), rows.clear()))
        if chance.random() < 0.8:
            cells[day] = rows
    before = {day: day - timedelta(days=1) for day in days}
    looks = checks.worth_a_look(cells, before)
    skipped = 0
    for day, rows in cells.items():
        last = cells.get(before[day])
        facts = CellFacts(day, True, True, CellState.COMPLETE)
        said = {
            "calendar": lambda rows, facts=facts: checks.calendar(facts, rows),
            "validity": lambda rows: checks.validity(rows, None, "", NONE_HELD),
            "jumps_explained": lambda rows, last=last, day=day: checks.jumps_explained(
                rows, last, before[day]
            ),
            "flags": checks.flagged,
        }
        for name, judge in said.items():
            if name not in looks[day]:
                assert judge(empty_daily()) == judge(rows)
                skipped += rows.height > 0
    assert skipped


def test_one_look_sees_no_jump_and_no_disorder_between_cells_that_do_not_follow_one_another() -> None:
    cells = {BEFORE: bars(BEFORE, A=0.1, B=0.1), DAY: bars(DAY, A=0.9, B=0.9)}
    assert checks.worth_a_look(cells, {}) == {BEFORE: set(), DAY: set()}
    assert checks.worth_a_look(cells, {DAY: BEFORE}) == {BEFORE: set(), DAY: {"jumps_explained"}}
    cells[DAY] = cells[DAY].reverse()
    assert checks.worth_a_look(cells, {}) == {BEFORE: set(), DAY: {"validity"}}
    # A row of an earlier day that comes where its symbol belongs is in order.
    cells[DAY] = pl.concat([bars(A=0.1), bars(BEFORE, B=0.1)])
    assert checks.worth_a_look(cells, {}) == {BEFORE: set(), DAY: {"calendar"}}


# Freshness.


@pytest.mark.parametrize(("behind", "severity"), [(0, None), (1, None), (2, WARN), (5, WARN), (6, ERROR)])
def test_freshness_counts_sessions_since_the_last_whole_one(behind: int, severity: Severity | None) -> None:
    over = [DAY + timedelta(days=n) for n in range(behind + 1)]
    assert checks.freshness(DAY, DAY, DAY, over).severity == severity
    # Nothing was ever whole: all sessions since the first cell count.
    assert checks.freshness(DAY, DAY, None, over[1:]).severity == severity
    # Said of the latest cell alone, and not of a day that has none yet but comes after it.
    assert checks.freshness(BEFORE, DAY, DAY, over).passed
    assert checks.freshness(DAY, None, None, over).passed


def test_freshness_names_the_last_whole_session_and_the_last_that_is_over() -> None:
    over = [DAY + timedelta(days=n) for n in range(3)]
    assert checks.freshness(DAY, DAY, DAY, over).summary == (
        f"last whole session {DAY}, last session over {over[2]}: 2 behind"
    )
    nothing = checks.freshness(DAY, DAY, None, []).summary
    assert nothing == "last whole session None, last session over None: 0 behind"


def test_a_session_is_whole_when_the_source_itself_has_said_what_is_not_there() -> None:
    def whole(state: CellState, *outcomes: str) -> bool:
        facts = cell(state, *outcomes)
        return checks.is_whole(state, facts.missing)

    assert whole(CellState.COMPLETE)
    assert whole(CellState.PARTIAL, "no_bar", "suspended", "not_found")
    assert not whole(CellState.PARTIAL, "no_bar", "rate_limited")
    assert not whole(CellState.PARTIAL, "not_asked")
    assert not whole(CellState.FAILED, "no_bar")
    assert not whole(CellState.CLOSED)


# Restatements, and all together.


def test_only_restatements_of_the_session_found_in_the_last_day_count() -> None:
    def ledger(day: date, ago: timedelta) -> pl.DataFrame:
        return pl.DataFrame({"symbol": ["A"], "date": [day], "detected_at": [NOW - ago]})

    assert checks.restatements_today(ledger(DAY, timedelta(hours=23)), DAY, NOW).severity is WARN
    assert checks.restatements_today(ledger(DAY, timedelta(hours=24)), DAY, NOW).passed
    assert checks.restatements_today(ledger(DAY, timedelta(hours=-1)), DAY, NOW).passed
    assert checks.restatements_today(ledger(BEFORE, timedelta(hours=1)), DAY, NOW).passed


def test_an_error_alone_makes_a_cell_unusable() -> None:
    fine, odd, bad = Verdict("fine"), Verdict("odd", WARN), Verdict("bad", ERROR)
    assert checks.usable({"calendar": odd, "validity": fine}).passed
    verdict = checks.usable({"calendar": odd, "validity": bad})
    assert (verdict.severity, verdict.summary) == (ERROR, "validity: bad")
