"""`quant-assets catalog review`: open cases side by side, and decisions that count before what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant_assets import companies, prices
from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.tables.companies import company_id, read_company_events
from quant_assets_tests.company_desk import Desk, walk
from quant_assets_tests.support import days_between

BEGIN, LISTED = date(2024, 1, 2), date(2012, 5, 18)
DAYS = days_between(BEGIN, date(2024, 3, 28))
LAST, FIRST = date(2024, 3, 8), date(2024, 3, 11)
ANEW = date(2024, 7, 1)
FB, META = (company_id("US", symbol, LISTED, None) for symbol in ("FB", "META"))

Review = Callable[..., Result]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "home" / "store")
    desk.make(BEGIN, "FB")
    desk.learn(BEGIN, "FB", LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), "FB")
    return desk


@pytest.fixture
def review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Review:
    def run(*arguments: str) -> Result:
        wanted = {"HOME": str(tmp_path / "home"), "EXCHANGES": "US,ASX", "NOW": "2024-08-01T22:00:00Z"}
        for name, value in wanted.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        return CliRunner().invoke(app, ["catalog", "review", *arguments], catch_exceptions=False)

    return run


@pytest.fixture
def maybe_renamed(desk: Desk) -> Desk:
    """META begins where FB ends; nothing of before is stored under META."""
    closes = walk(DAYS)
    old, new = ({d: c for d, c in closes.items() if (d <= LAST) is is_old} for is_old in (True, False))
    desk.store_bars({"FB": old, "META": new})
    desk.make(FIRST, "META")
    desk.learn(FIRST, "META", LISTED, "Meta Platforms, Inc.")
    desk.make(FIRST + timedelta(days=1), "META")
    return desk


@pytest.fixture
def maybe_reused(desk: Desk) -> Desk:
    """FB begins anew after months, under a name that may be the same."""
    desk.store_bars({"FB": walk([*(d for d in DAYS if d <= LAST), ANEW])})
    desk.make(ANEW, "FB")
    desk.learn(ANEW, "FB", ANEW, "Facebook Marketplace")
    desk.make(ANEW + timedelta(days=1), "FB")
    return desk


def spells(desk: Desk, symbol: str) -> list[tuple[object, ...]]:
    found = companies(symbol, store=desk.store).collect()
    return found.select("company_id", "symbol", "first", "last", "event").rows()


def test_an_open_rename_is_shown_side_by_side(maybe_renamed: Desk, review: Review) -> None:
    shown = review()
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "US FB META: may be what FB is called now: the same first trade date 2012-05-18, bars that go on at about "
        "the same price (2024-03-08, 2024-03-11) (since 2024-03-12)",
        "  symbol       FB              META",
        "  first trade  2012-05-18      2012-05-18",
        "  name         Facebook, Inc.  Meta Platforms, Inc.",
        "  currency     USD             USD",
        "  isin         ?               ?",
        "  instrument   EQUITY          EQUITY",
        "  first bar    2024-01-02      2024-03-11",
        "  last bar     2024-03-08      2024-03-28",
        "  0 of 0 common sessions have equal closes",
        "  decide with: quant-assets catalog review --link FB META, or --separate FB META",
        "review: 1 open",
    ]
    (case,) = json.loads(review("--json").stdout)
    assert (case["company_id"], case["first"], case["common_sessions"]) == (FB, "2024-03-11", 0)
    assert (case["old"]["last_bar"], case["new"]["name"]) == ("2024-03-08", "Meta Platforms, Inc.")
    assert review("--exchange", "ASX").stdout == "review: nothing is open\n"


def test_what_a_person_links_is_one_company(maybe_renamed: Desk, review: Review) -> None:
    done = review("--link", "fb", "META", "--note", "press release")
    assert done.stdout.splitlines() == [
        f"FB: linked {FB} from 2012-05-18 through 2024-03-08", f"META: linked {FB} from 2024-03-11",
        "review: ok recorded",
    ]  # fmt: skip
    rows = read_company_events(maybe_renamed.store, "US").tail(2)
    assert set(rows["evidence"]) == {"stated on 2024-08-01: press release"}
    assert set(rows["confidence"]) == {"stated"}
    assert spells(maybe_renamed, "META") == [
        (FB, "FB", LISTED, LAST, "linked"), (FB, "META", FIRST, None, "linked"),
    ]  # fmt: skip
    assert prices("META", by="company", store=maybe_renamed.store).collect().height == len(DAYS)
    assert review("--link", "FB", "META").stdout == "review: ok nothing new\n"
    assert review().stdout == "review: nothing is open\n"
    # And apart again, each with an id of its own.
    assert review("--separate", "FB", "META").stdout.splitlines()[-1] == "review: ok recorded"
    assert spells(maybe_renamed, "META") == [(META, "META", LISTED, None, "assigned")]


def test_two_symbols_that_both_trade_are_linked_only_from_a_day_on(desk: Desk, review: Review) -> None:
    closes = walk(DAYS)
    desk.store_bars({"FB": closes, "META": closes})
    desk.make(FIRST, "FB", "META")
    desk.learn(FIRST, "META", LISTED, "Meta Platforms, Inc.")
    both = f"FB and META both have bars in {len(DAYS)} session.s., through {DAYS[-1]}: say from which day"
    with pytest.raises(UsageProblem, match=both):
        review("--link", "FB", "META")
    assert review("--link", "FB", "META", "--from", str(FIRST)).exit_code == 0
    assert spells(desk, "META") == [
        (FB, "FB", LISTED, FIRST - timedelta(days=1), "linked"), (FB, "META", FIRST, None, "linked"),
    ]  # fmt: skip


def test_what_a_person_separates_is_never_judged_again(maybe_renamed: Desk, review: Review) -> None:
    assert review("--separate", "FB", "META").exit_code == 0
    # The whole history comes in, and would link the two.
    closes = walk(DAYS)
    maybe_renamed.store_bars({"FB": {d: c for d, c in closes.items() if d <= LAST}, "META": closes})
    assert maybe_renamed.make(FIRST + timedelta(days=2), "META") == []
    assert review("--separate", "FB", "META").stdout == "review: ok nothing new\n"
    assert spells(maybe_renamed, "META") == [(META, "META", LISTED, None, "assigned")]


def test_one_symbol_of_two_companies_is_separated_or_linked(maybe_reused: Desk, review: Review) -> None:
    shown = review().stdout.splitlines()
    assert shown[1].split("  FB ")[1:] == ["before     ", "from 2024-07-01 on"]
    assert "2024-03-08" in shown[8]
    assert "equal closes" not in "".join(shown)
    anew = company_id("US", "FB", ANEW, None)
    assert review("--separate", "FB", "FB").stdout.splitlines() == [
        f"FB: separated {FB} from 2012-05-18 through 2024-03-08", f"FB: assigned {anew} from 2024-07-01",
        "review: ok recorded",
    ]  # fmt: skip
    assert review("--link", "FB", "FB").stdout.splitlines()[0] == f"FB: linked {FB} from 2012-05-18"
    assert spells(maybe_reused, "FB") == [(FB, "FB", LISTED, None, "linked")]
    assert maybe_reused.make(ANEW + timedelta(days=2), "FB") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--link", "FB", "META", "--separate", "FB", "META"), "opposite things"),
        (("--note", "why"), "--from and --note belong to a decision"),
        (("--link", "FB", "NOBODY"), "--link: not in the catalog: NOBODY"),
        (
            ("--separate", "META", "META"),
            "META: no case is open; say from which day on it is another company",
        ),
        (("--link", "FB", "META", "--from", "soon"), "--from 'soon' is no date"),
    ],
)
def test_what_cannot_be_decided_is_told_with_what_to_say(
    maybe_renamed: Desk, review: Review, arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UsageProblem) as problem:
        review(*arguments)
    assert told in str(problem.value)
