"""What `fetch` hands on of a source's answers, by value: holes, claims, refusals, remarks."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest import fetch as module
from quant_assets.ingest.answers import Decisions
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fetch import Fetched, fetch
from quant_assets.ingest.plan import FillRequest, Mode, make_plan
from quant_assets.market.bars import ANSWER_SCHEMA
from quant_assets.market.coverage import Missing
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.yahoo import YahooSource
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, evening, truth
from quant_assets_tests.support import listings, quick_settings

NOW = evening(WEEK[-1])
TODAY = NOW.date()
LEAD = timedelta(days=45)


def decided(symbol: str, day: date, **value: float | None) -> pl.DataFrame:
    ((name, number),) = value.items()
    return pl.DataFrame(
        [(symbol, day, number)],
        schema={"symbol": pl.String, "date": pl.Date, name: pl.Float64},
        orient="row",
    )


def decisions(**made: pl.DataFrame) -> Decisions:
    closes, dividends = (decided("", DAY, **{name: 0.0}).clear() for name in ("close", "dividend"))
    none = {
        "accepted": closes, "rejected": closes, "no_dividends": dividends, "none_on_closed_days": dividends,
    }  # fmt: skip
    return Decisions(**{**none, **made})


@contextmanager
def fetched(
    harness: Harness,
    days: Sequence[date] = (DAY,),
    catalog: pl.DataFrame | None = None,
    made: Decisions | None = None,
    *,
    mode: Mode = Mode.INCREMENTAL,
) -> Generator[Fetched]:
    settings = quick_settings(harness.home, harness.url, now=NOW)
    source = YahooSource(settings)
    names = listings(*SYMBOLS) if catalog is None else catalog
    plan = make_plan(exchange("US"), harness.store, FillRequest(days, names, mode=mode), NOW)
    rules = FillRules(harness.home / "spill")
    context = FillContext(exchange("US"), harness.store, source, settings.clock, rules)
    try:
        with fetch(context, plan, names, made or decisions()) as found:
            yield found
    finally:
        source.close()


@pytest.fixture(autouse=True)
def clock(market: ReplayHandle) -> None:
    market.set_clock(NOW)


def fault(kind: str, symbol: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "symbol": symbol, "times": None, **more}


def high(day: date, symbol: str = "IBM") -> dict[str, Any]:
    """A high of a hundred times the bar's other prices."""
    return {"kind": "field_factor", "symbol": symbol, "date": str(day), "field": "high", "factor": 100.0}


def spilled(found: Fetched) -> list[tuple[str, date]]:
    rows = found.spill.symbols([*SYMBOLS, "FB"])
    assert rows.columns == list(ANSWER_SCHEMA)
    return sorted(rows.select("symbol", "date").rows())


def held_warning(symbol: str, what: str, day: date, word: str, rule: str) -> str:
    return (
        f"{symbol}: 1 {what} from {day} on are {word}: {rule} "
        f"(quant-assets quarantine list --exchange US --symbol {symbol})"
    )


def test_whoever_answers_is_noted_with_how_far_back_and_whoever_does_not_with_the_reason(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(fault("not_found_404", "IBM"), fault("server_error_500_html", "MSFT"))
    with fetched(harness, [DAY, WEEK[3]], listings("AAPL", "FB", "IBM", "MSFT")) as found:
        assert found.answered == {"AAPL": DAY - LEAD, "FB": DAY - LEAD}
        assert found.first_trade["FB"] == date(2012, 5, 18)
        assert found.outcomes == {"ok": 2, "not_found": 1, "failed": 1}
        assert found.facts.keys() == {"AAPL", "FB"}
        assert spilled(found) == [(name, day) for name in ("AAPL", "FB") for day in (DAY, WEEK[3])]
        holes = {
            day: {s: (m.outcome, m.asked_on) for s, m in of.items()} for day, of in found.missing.items()
        }
        both = {"IBM": ("not_found", TODAY), "MSFT": ("failed", TODAY)}
        assert holes == {DAY: both, WEEK[3]: both}
        assert (found.warnings, found.refused.height, found.held.height) == ([], 0, 0)
        assert found.seconds.keys() == {"source", "transform"}
        assert 0 < found.seconds["transform"] < 60
        assert 0 < found.seconds["source"] < 60


def test_of_two_symbols_with_one_history_only_what_a_person_accepted_is_kept(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(fault("other_history", "AAPL", other="IBM"))
    accepted = decided("IBM", DAY, close=truth(["IBM"], [DAY])["close"].item())
    with fetched(harness, [DAY, WEEK[3]], made=decisions(accepted=accepted)) as found:
        assert spilled(found) == [("IBM", DAY), ("MSFT", DAY), ("MSFT", WEEK[3])]
        assert {day: sorted(of) for day, of in found.missing.items()} == {
            DAY: ["AAPL"], WEEK[3]: ["AAPL", "IBM"],
        }  # fmt: skip


def test_asking_again_gives_whole_answers_that_are_kept_nowhere(
    harness: Harness, market: ReplayHandle
) -> None:
    with fetched(harness) as found:
        before = spilled(found)
        market.add_faults(fault("not_found_404", "IBM"))
        again = found.ask_again({"AAPL", "IBM"})
        assert set(again["symbol"]) == {"AAPL"}
        assert (again.columns, again["date"].min()) == (list(ANSWER_SCHEMA), date(2012, 12, 31))
        assert again["date"].max() == WEEK[-1]
        nobody = found.ask_again(["IBM"])
        assert (nobody.schema, nobody.height) == (ANSWER_SCHEMA, 0)
        assert spilled(found) == before


@pytest.mark.parametrize(("day", "missing"), [(DAY, True), (WEEK[1], False)])
def test_a_bar_in_doubt_is_held_and_a_hole_where_it_was_asked_for(
    harness: Harness, market: ReplayHandle, day: date, missing: bool
) -> None:
    harness.live(market, WEEK[1], WEEK[:2])
    market.set_clock(NOW)
    market.add_faults(high(day), high(WEEK[3], "AAPL"))
    with fetched(harness) as found:
        (claim,) = found.held.rows(named=True)
        assert (claim["symbol"], claim["date"], claim["scope"]) == ("IBM", day, "row")
        assert (claim["kind"], claim["witnesses"]) == ("field_out_of_line", "the bar's other prices")
        rule = str(claim["rule"])
        hole = Missing("IBM", "held", f"held: {rule}", TODAY)
        assert found.missing == ({DAY: {"IBM": hole}} if missing else {})
        # Of other sessions nothing is held, and nothing said.
        assert found.warnings == [held_warning("IBM", "bar(s)", day, "held", rule)]
        assert ("IBM", day) not in spilled(found)


def test_a_bar_in_doubt_that_somebody_has_rejected_stays_out_and_is_not_held(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(high(DAY))
    close = truth(["IBM"], [DAY])["close"].item()
    for price, outcome in ((close, "rejected"), (close + 1, "held")):
        with fetched(harness, made=decisions(rejected=decided("IBM", DAY, close=price))) as found:
            (hole,) = found.missing[DAY].values()
            assert (hole.outcome, hole.reason.partition(":")[0]) == (outcome, outcome)
            assert found.held.height == len(found.warnings) == (0 if outcome == "rejected" else 1)


@pytest.mark.parametrize("amount", [None, 3.4])
def test_a_dividend_in_doubt_that_somebody_has_rejected_is_none_and_is_not_held(
    harness: Harness, market: ReplayHandle, amount: float | None
) -> None:
    ex_date = date(2013, 2, 6)
    what: Mapping[str, Any] = (
        {"kind": "unreadable_event", "what": "dividend", "text": "3.4 USD"}
        if amount is None
        else {"kind": "dividend_factor", "factor": 4.0, "adjusted": False}
    )
    market.add_faults({**what, "symbol": "IBM", "date": str(ex_date)})
    with fetched(harness, [ex_date]) as found:
        (claim,) = found.held.rows(named=True)
        assert (claim["scope"], claim["dividend"], found.missing) == ("action", amount, {})
        assert found.warnings == [held_warning("IBM", "dividend(s)", ex_date, "held", str(claim["rule"]))]
    for none, is_held in (
        (decided("IBM", ex_date, dividend=amount), False),
        (decided("IBM", ex_date, dividend=3.3), True),
    ):
        with fetched(harness, [ex_date], made=decisions(no_dividends=none)) as found:
            assert (found.held.height, len(found.warnings)) == ((1, 1) if is_held else (0, 0))
            assert found.missing == {}


def test_a_bar_that_breaks_a_rule_is_refused_or_was_rejected(harness: Harness, market: ReplayHandle) -> None:
    low = {"kind": "corrected_bar", "symbol": "IBM", "field": "low", "value": 300.0}
    harness.live(market, WEEK[1], WEEK[:2])
    market.set_clock(NOW)
    market.add_faults({**low, "date": str(WEEK[1])}, {**low, "date": str(DAY)})
    close = truth(["IBM"], [DAY])["close"].item()
    rule = "high is below low"
    for price, outcome in ((close + 1, "refused"), (close, "rejected")):
        with fetched(harness, made=decisions(rejected=decided("IBM", DAY, close=price))) as found:
            # Nobody has asked for Tuesday: that bar is refused, and no hole.
            assert found.missing == {DAY: {"IBM": Missing("IBM", outcome, f"{outcome}: {rule}", TODAY)}}
            assert sorted(found.refused.select("date", "rule").rows()) == [(WEEK[1], rule), (DAY, rule)]
            assert found.warnings == [
                held_warning("IBM", "bar(s)", WEEK[1], "not stored", rule).replace("1 bar", "2 bar")
            ]


def test_a_bar_that_the_source_gave_in_no_usable_form_is_refused(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(fault("null_bar", "IBM", date=str(DAY)))
    with fetched(harness) as found:
        (hole,) = found.missing[DAY].values()
    assert (hole.symbol, hole.outcome, hole.answers) == ("IBM", "refused", 2)


@pytest.mark.parametrize("most", [2, 3])
def test_an_interrupted_run_names_what_was_not_asked_unless_it_is_too_much(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Three bars are wanted."""
    monkeypatch.setattr(module, "_MOST_HOLES", most)
    with fetched(harness) as found:
        assert len(found.answered) == 3
    monkeypatch.setattr(module, "interrupted", lambda: True)
    if most < 3:
        with pytest.raises(Interrupted), fetched(harness):
            pass
    else:
        with fetched(harness) as found:
            assert len(found.answered) == 3


def test_what_is_stated_of_a_listing_counts_and_not_that_it_is_followed_no_more(
    harness: Harness, market: ReplayHandle
) -> None:
    catalog = listings("AAPL", IBM=DAY).with_columns(delisted_on=pl.lit(WEEK[1]))
    catalog = catalog.with_columns(stated_delisting=pl.when(pl.col("symbol") == "AAPL").then(pl.lit(WEEK[1])))
    with fetched(harness, [WEEK[1]], catalog, mode=Mode.FORCE) as found:
        refused = found.refused.select("symbol", "date").rows()
    # What is after AAPL's last day is none of its bars; IBM is not asked for so early.
    assert refused == [("AAPL", day) for day in WEEK[2:]]
    with fetched(
        harness, [WEEK[1]], catalog.drop("stated_delisting").with_columns(delisted_on=None)
    ) as found:
        assert found.refused.is_empty()


def test_the_currency_of_the_catalog_is_that_of_the_symbol(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "no_currency", "symbols": ["AAPL", "IBM"], "times": None})
    catalog = listings("AAPL", "IBM").with_columns(
        currency=pl.when(pl.col("symbol") == "AAPL").then(pl.lit("USD"))
    )
    with fetched(harness, catalog=catalog) as found:
        assert found.warnings == ["the answer names no currency; USD is taken from the catalog: AAPL"]
        assert [(s, m.outcome) for s, m in found.missing[DAY].items()] == [("IBM", "failed")]
