"""Dagster's own web page over our assets, in a real browser: a cell is asked for, made, and looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from quant_assets_tests.e2e.stack import ARTIFACTS, fill, find_chromium, graphql, processes_of, running_ui

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DAY, LAST_FILLED = "2013-03-01", date(2013, 2, 28)
ASSETS = {
    "symbol_catalog": "catalog",
    "symbol_valuations": "catalog",
    "daily_prices": "prices",
    "price_history": "prices",
    "weekly_prices": "prices",
    "symbol_profiles": "profiles",
    "exchange_profiles": "profiles",
}
"""Our assets and their groups."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
PATIENCE = 60_000
"""Milliseconds in which a page has to show what is expected of it."""


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


@pytest.fixture(scope="module")
def ui(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running UI, on a home where two weeks of both exchanges are filled."""
    home = tmp_path_factory.mktemp("home")
    for exchange in ("ASX", "US"):
        fill(home, exchange, date(2013, 2, 18), LAST_FILLED)
    with running_ui(home, ARTIFACTS / "dagster.log") as url:
        yield url
    assert processes_of(home) == []


@pytest.fixture
def page(ui: str, chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000}, base_url=ui)
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page
        browser.close()


def test_the_graph_shows_our_assets(page: Page) -> None:
    groups = ",".join(f"global@global:{group}" for group in sorted(set(ASSETS.values())))
    page.goto(f"/asset-groups?expanded={groups}")
    for asset in ASSETS:
        expect(page.locator("foreignObject").filter(has_text=asset).first).to_be_visible()
    _keep(page, "graph")


def test_a_cell_is_materialized_from_its_page(page: Page, ui: str) -> None:
    page.goto(f"/assets/daily_prices?view=partitions&partition={DAY}%7CUS")
    expect(page.get_by_text("No metadata entries")).to_be_visible()
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    expect(dialog.get_by_placeholder("ex: 2012-01-02")).to_have_value(DAY)
    expect(_text(dialog, "US")).to_be_visible()
    _keep(page, "materialize")
    dialog.get_by_role("button", name="Launch 1 run").click()

    run = _wait_for_run(ui)
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert (tags["quant_assets/result"], tags["quant_assets/cells"]) == ("SUCCESS", "complete=1")
    assert int(tags["quant_assets/requests"]) >= 5
    page.goto(f"/assets/daily_prices?view=partitions&partition={DAY}%7CUS")
    expect(_text(page, "Materialized")).to_be_visible()
    for name in ("rows", "expected_symbols", "received_symbols"):
        expect(_metadata(page, f"{name} (US)")).to_contain_text("5")
    expect(_metadata(page, "state")).to_contain_text("complete")
    expect(_metadata(page, "object")).to_contain_text(f"daily_prices/exchange=US/date={DAY}.parquet")
    _keep(page, "cell")


def test_the_page_of_a_table_says_what_it_is(page: Page) -> None:
    page.goto("/assets/daily_prices?view=overview")
    for text in ("quant-assets", "Row count", "prices"):
        expect(_text(page, text)).to_be_visible()
    expect(page.get_by_text("One row per symbol and session.").first).to_be_visible()
    # The column schema, with types and units.
    for text in ("split_ratio", "fetched_at", "Datetime(us, UTC)"):
        expect(_text(page, text)).to_be_visible()
    expect(page.get_by_text("New shares per old share").first).to_be_visible()
    expect(page.get_by_text("/store/daily_prices").first).to_be_visible()
    expect(page.get_by_text("daily_prices.py").first).to_be_visible()
    _keep(page, "overview", whole=True)


def test_no_plot_mixes_two_exchanges(page: Page) -> None:
    page.goto("/assets/daily_prices?view=overview")
    _text(page, "Plots").click()
    for name in ("rows", "expected_symbols", "received_symbols", "bytes"):
        for exchange in ("ASX", "US"):
            expect(_text(page, f"{name} ({exchange})")).to_be_visible()
    for name in ("rows", "requests", "seconds"):
        expect(page.get_by_text(name, exact=True)).to_have_count(0)
    _keep(page, "plots", whole=True)


def test_profiles_show_tables_and_pictures(page: Page) -> None:
    page.goto("/assets/symbol_profiles?view=partitions&partition=US")
    table = _metadata(page, "lowest_quality").locator("table")
    expect(table.locator("tbody tr")).to_have_count(5)
    _keep(page, "profiles")
    for name, pictures in (("coverage_by_month", 1), ("split_adjusted_prices_and_volume", 3)):
        _metadata(page, name).get_by_text("Show Markdown").click()
        images = page.get_by_role("dialog").locator("img[src^='data:image/svg+xml']")
        expect(images).to_have_count(pictures)
        # An image that the browser or the page refuses has no size.
        for width in images.evaluate_all("all => all.map(image => image.naturalWidth)"):
            assert width > 100
        _keep(page, name)
        page.get_by_role("button", name="Close").click()


def test_schedules_and_sensors_can_be_switched_on(page: Page, ui: str) -> None:
    page.goto("/automation")
    for name in ("daily_prices_asx_after_close", "derived_tables", "new_symbols"):
        expect(_text(page, name)).to_be_visible()
    row = page.locator("[class*=ListItem_listItem]").filter(has_text="daily_prices_us_after_close")
    row.locator("label[class*=formatSwitch]").click()
    _wait_until(lambda: _schedules(ui)["daily_prices_us_after_close"] == "RUNNING")
    assert _schedules(ui)["daily_prices_asx_after_close"] == "STOPPED"
    _keep(page, "automation")


def _text(within: Page | Locator, text: str) -> Locator:
    """Where a text stands; Dagster measures some texts in a hidden copy."""
    return within.get_by_text(text, exact=True).filter(visible=True).first


def _metadata(page: Page, name: str) -> Locator:
    """The value beside a metadata entry's name."""
    return page.locator("tr").filter(has=page.get_by_text(name, exact=True)).locator("td").nth(1)


def _wait_for_run(ui: str) -> dict[str, Any]:
    """The run launched from the page, once it is over."""
    query = """{ runsOrError(limit: 20) { ... on Runs { results { status jobName tags { key value } } } } }"""
    seen: list[dict[str, Any]] = []

    def over() -> bool:
        # What rests on the cell may be under way by then.
        seen[:] = [
            run
            for run in graphql(ui, query)["runsOrError"]["results"]
            if {"key": "dagster/partition", "value": f"{DAY}|US"} in run["tags"]
        ]
        return bool(seen) and seen[0]["status"] in ("SUCCESS", "FAILURE")

    _wait_until(over)
    return seen[0]


def _schedules(ui: str) -> dict[str, str]:
    query = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
        schedules { name scheduleState { status } } } } } }"""
    nodes = graphql(ui, query)["repositoriesOrError"]["nodes"]
    return {s["name"]: s["scheduleState"]["status"] for node in nodes for s in node["schedules"]}


def _wait_until(happened: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"did not happen within {seconds:g} s"
        time.sleep(0.5)


def _keep(page: Page, name: str, *, whole: bool = False) -> None:
    """Keeps a picture of the page once it has stopped moving; `whole`: in a window as high as a long page."""
    size = page.viewport_size
    if whole and size:
        page.set_viewport_size({"width": size["width"], "height": 2400})
    page.wait_for_timeout(700)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
    if size:
        page.set_viewport_size(size)
