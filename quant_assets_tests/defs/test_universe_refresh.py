"""Universes on Dagster: the catalog refreshes what it lacks, the weekly job all, the sensor notices the change."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.definitions import build_definitions
from quant_assets.defs.progress import listening
from quant_assets.reader import universe
from quant_assets.resources.clock import ClockResource
from quant_assets.resources.settings import Settings
from quant_assets.tables.layout import events_key
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, append_events
from quant_assets.tables.membership import read_membership
from quant_assets.tables.universes import read_constituents
from quant_assets_tests.defs.platform import Platform, failure

LONG = """\
universes:
  - {name: page, exchange: US, source: {kind: csv, path: page.csv}}
  - {name: mine, exchange: US, source: {kind: static, symbols: [MSFT]}}
  - {name: both, exchange: US, source: {kind: union, of: [page, mine]}}
"""


@pytest.fixture
def page(platform: Platform) -> Path:
    """The document that one universe is read from."""
    file = platform.settings.universe
    assert file is not None
    file.write_text(LONG)
    page = file.with_name("page.csv")
    page.write_text("symbol\nAAPL\nIBM\n")
    return page


def listed(platform: Platform) -> dict[str, tuple[list[str], bool]]:
    rows = universe(store=platform.store).select("symbol", "universes", "is_active").collect().rows()
    return {symbol: (names, active) for symbol, names, active in rows}


class Told:
    """Hears what a person should know."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def told(self, trouble: str) -> None:
        self.sentences.append(trouble)


def test_a_refresh_that_changes_something_makes_the_catalog_anew(platform: Platform, page: Path) -> None:
    first = platform.sense("universe_file", None)
    assert len(first.run_requests) == 1
    made = platform.run("symbol_catalog_job")
    assert made.success
    assert listed(platform) == {
        "AAPL": (["both", "page"], True), "IBM": (["both", "page"], True), "MSFT": (["both", "mine"], True),
    }  # fmt: skip
    shown = platform.recorded("symbol_catalog", made.run_id)
    assert "| page | new | 2 |" in next(iter(shown.values()))["universes"]
    same = platform.sense("universe_file", first.cursor)
    assert not same.run_requests
    # What a source gives meanwhile is for the refresh to see, and not for the catalog.
    page.write_text("symbol\nAAPL\nIBM\nFB\n")
    assert platform.run("symbol_catalog_job").success
    assert "FB" not in listed(platform)
    refreshed = platform.run("refresh_universes")
    assert refreshed.success
    (output,) = [e.step_output_data for e in refreshed.all_events if e.event_type_value == "STEP_OUTPUT"]
    assert "| page | changed | 3 | 1 | 0 | 0 |" in str(output.metadata["universes"].value)
    ledger = read_membership(platform.store, "page")
    assert ledger.select("symbol", "event").rows()[-1] == ("FB", "joined")
    changed = platform.sense("universe_file", same.cursor)
    assert len(changed.run_requests) == 1
    assert platform.run(changed.run_requests[0].job_name or "symbol_catalog_job").success
    assert listed(platform)["FB"] == (["both", "page"], True)
    # One that found the same changes nothing.
    assert platform.run("refresh_universes").success
    assert not platform.sense("universe_file", changed.cursor).run_requests


def test_one_that_fails_is_told_and_takes_nobody_along(platform: Platform, page: Path) -> None:
    page.unlink()
    told = Told()
    with listening(told):  # pyright: ignore[reportArgumentType]
        assert platform.run("symbol_catalog_job").success
    assert [sentence.partition(":")[0] for sentence in told.sentences] == [
        "universe page failed", "universe both skipped",
    ]  # fmt: skip
    assert str(page) in told.sentences[0]
    assert listed(platform) == {"MSFT": (["mine"], True)}
    reason = failure(platform.run("refresh_universes"))
    assert reason.startswith("universe page failed: page")
    assert reason.endswith("; universe both skipped: it needs page")
    # It comes in as soon as its source is there, and what it shrinks to is not believed.
    page.write_text("symbol\nAAPL\nIBM\n")
    assert platform.run("refresh_universes").success
    assert platform.run("symbol_catalog_job").success
    assert set(listed(platform)) == {"AAPL", "IBM", "MSFT"}
    page.write_text("symbol\nAAPL\n")
    reason = failure(platform.run("refresh_universes"))
    assert reason.startswith(
        "universe page refused: it shrank from 2 constituents to 1 (50 %, and 10 % are bel"
    )
    assert platform.run("symbol_catalog_job").success
    assert listed(platform)["IBM"] == (["both", "page"], True)


def test_what_the_file_lists_itself_is_in_catalog_and_ledger_at_once(platform: Platform, page: Path) -> None:
    assert platform.run("symbol_catalog_job").success
    file = platform.settings.universe
    assert file is not None
    file.write_text(LONG.replace("[MSFT]", "[FB]"))
    later = datetime(2013, 3, 2, 23, tzinfo=UTC)
    after = Platform(platform.settings.model_copy(update={"now": later}), platform.instance)
    assert after.run("symbol_catalog_job").success
    assert listed(platform)["FB"] == (["both", "mine"], True)
    assert listed(platform)["MSFT"] == ([], False)
    events = read_membership(platform.store, "mine").tail(2)
    assert events.select("symbol", "event", "date").rows() == [
        ("MSFT", "left", later.date()), ("FB", "joined", later.date()),
    ]  # fmt: skip


def test_a_short_list_has_nothing_to_refresh(platform: Platform) -> None:
    platform.follow(US=["AAPL"])
    assert platform.run("refresh_universes").success
    assert read_constituents(platform.store, "configured") is None
    assert [info.key for info in platform.store.list("universe")] == []


def test_a_damaged_universe_fails_the_catalog_and_leaves_it_as_it_is(platform: Platform, page: Path) -> None:
    assert platform.run("symbol_catalog_job").success
    before = listed(platform)
    platform.store.put("universes/page.parquet", b"no parquet")
    assert "universes/page.parquet" in failure(platform.run("symbol_catalog_job"))
    skipped = platform.sense("universe_file", None)
    assert not skipped.run_requests
    assert "universes/page.parquet" in skipped.skip_message
    assert listed(platform) == before


def test_a_list_that_cannot_be_used_is_named(platform: Platform) -> None:
    file = platform.settings.universe
    assert file is not None
    file.write_text("universes: 3\n")
    for job in ("symbol_catalog_job", "refresh_universes"):
        assert failure(platform.run(job)).startswith(f"{file}:1: ")


def test_the_refresh_is_on_saturday_mornings_and_somebody_has_to_turn_it_on() -> None:
    defs = build_definitions(Settings())
    schedule = defs.resolve_schedule_def("refresh_universes_weekly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 4 * * 6", "UTC")
    assert schedule.default_status.value == "STOPPED"
    assert schedule.job_name == "refresh_universes"


def test_the_clock_that_a_refresh_records_is_the_platforms(platform: Platform, page: Path) -> None:
    moment = datetime(2013, 2, 1, 4, tzinfo=UTC)
    earlier = Platform(platform.settings.model_copy(update={"now": moment}), platform.instance)
    assert earlier.run("refresh_universes").success
    stored = read_constituents(platform.store, "page")
    assert stored is not None
    assert stored.refreshed_at == moment
    fixed = ClockResource(fixed=(moment + timedelta(hours=2)).isoformat())
    assert platform.sense("universe_file", None, clock=fixed).run_requests


def test_the_catalog_has_the_states_of_listings_and_a_damaged_ledger_does_not_hold_it_up(
    platform: Platform, page: Path
) -> None:
    last = date(2013, 2, 1)
    ended = ListingEvent("IBM", Event.DELISTED, last, "no bar", Confidence.TWO_KINDS)
    append_events(platform.store, "US", [ended], platform.settings.clock())
    assert platform.run("symbol_catalog_job").success
    rows = (
        universe(store=platform.store).select("symbol", "state", "delisted_on", "is_active").collect().rows()
    )
    assert rows == [
        ("AAPL", "active", None, True), ("IBM", "delisted", last, False), ("MSFT", "active", None, True),
    ]  # fmt: skip
    platform.store.put(events_key("US"), b"no parquet")
    told = Told()
    with listening(told):  # pyright: ignore[reportArgumentType]
        assert platform.run("symbol_catalog_job").success
    sentence = told.sentences[0]
    assert sentence.startswith("US: the states of its listings could not be judged: ")
    assert "exchange=US.parquet" in sentence
