"""The page of the API in a real browser, over a store in which everything has happened that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from quant_assets.exchanges import enabled
from quant_assets.maintenance.report.figures import read_report
from quant_assets.maintenance.report.keeping import keep_pages, pages
from quant_assets.operations.job_requests import parse_request
from quant_assets.operations.jobs import JobDesk
from quant_assets.operations.keys import new_key
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings
from quant_assets.tables.jobs import End, change_job
from quant_assets_tests.e2e.page_site import (
    DIVIDEND,
    HELD,
    HOLE,
    SPLIT,
    Served,
    fill_site,
    serving,
)
from quant_assets_tests.e2e.stack import ARTIFACTS, find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
PATIENCE = 30_000
SIZES = {"desktop": (1400, 1000), "laptop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def settings(market_server: ReplayHandle, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    market_server.clear_faults()
    made = fill_site(tmp_path_factory.mktemp("home"), market_server)
    market_server.clear_faults()
    return made


@pytest.fixture(scope="module")
def site(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@dataclass
class Watched:
    """A page, with what it complained of and what it asked of other servers."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def keep(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")


def _opened(browser: Browser, url: str, size: str = "desktop", theme: str = "light") -> Watched:
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        base_url=url,
        has_touch=size == "phone",
    )
    page.set_default_timeout(PATIENCE)
    watched = Watched(page)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: watched.complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on(
        "request",
        lambda asked: (
            watched.elsewhere.append(asked.url) if not asked.url.startswith((url, "data:")) else None
        ),
    )
    return watched


def inaccessible(page: Page) -> list[str]:
    """What axe-core finds wrong with a page: the rule, what it says, and the first place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


def _pointed_along(page: Page, part: float = 0.4) -> dict[str, int]:
    """Moves the pointer along the chart, at a part of its height: each explanation, and where it was given."""
    box = page.locator("#chart").bounding_box()
    assert box is not None
    found: dict[str, int] = {}
    for x in range(int(box["x"]) + 4, int(box["x"] + box["width"]) - 50, 6):
        page.mouse.move(x, box["y"] + box["height"] * part)
        told = page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {"
            " const tip = document.getElementById('tip'); done(tip.hidden ? '' : tip.innerText) })))"
        )
        found.setdefault(told, x)
    return found


@pytest.mark.parametrize(
    ("size", "theme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light"), ("phone", "dark")]
)
def test_a_symbol_is_found_looked_at_and_its_events_are_explained(
    browser: Browser, site: Served, size: str, theme: str
) -> None:
    watched = _opened(browser, site.url, size, theme)
    page = watched.page
    page.goto("/")
    expect(page.get_by_role("link", name="US", exact=True)).to_be_visible()
    expect(page.locator("#overview")).to_contain_text("1 gap, 2 sessions in all")
    if size == "phone" and theme == "dark":
        assert inaccessible(page) == []
    watched.keep(f"page-{size}-{theme}-overview")

    # A near miss of the name, by keyboard alone; what a catalog says is text, not HTML.
    page.keyboard.press("/")
    page.keyboard.type("mircosoft")
    expect(page.get_by_role("option")).to_have_count(1)
    expect(page.get_by_role("option")).to_contain_text("Microsoft <b>Corporation</b>")
    page.locator("#search").fill("appl")
    expect(page.get_by_role("option").first).to_contain_text("AAPL")
    page.keyboard.press("Enter")
    expect(page.locator("#symbol-title")).to_contain_text("AAPL Apple Inc.")
    page.get_by_text("All", exact=True).click()
    expect(page.locator(".event-row")).to_have_count(4)

    told = _pointed_along(page)
    for text in (
        "Split 2:1",
        f"No bar: 2 sessions to {HOLE[1]}",
        "volume: 35,037,900 → 12,345",
        "Low 900 in a bar",
    ):
        assert any(text in one for one in told), text
    box = page.locator("#chart").bounding_box()
    assert box is not None
    page.mouse.move(next(x for one, x in told.items() if "Split" in one), box["y"] + 200)
    expect(page.locator("#tip")).to_contain_text("Split 2:1")
    watched.keep(f"page-{size}-{theme}-split")
    # The list below the chart does the same without a pointer.
    page.locator(f".event-row:has(time:text-is('{SPLIT}'))").focus()
    expect(page.locator("#tip")).to_contain_text("a share of before is 2 shares")
    expect(page.locator("#legend")).to_contain_text(SPLIT)
    page.get_by_text("Split", exact=True).click()
    expect(page).to_have_url(f"{site.url}/#/prices/AAPL?adjust=split&range=All")
    expect(page.locator("#status")).to_have_text("AAPL, Split: 80 sessions")
    page.locator("#chart").focus()
    page.keyboard.press("Home")
    expect(page.locator("#readout")).to_contain_text("2005-01-03: open 32.")
    for _ in range(2):
        page.keyboard.press("n")
    expect(page.locator("#readout")).to_contain_text(f"{HOLE[0]}: no bar. No bar: 2 sessions")
    page.get_by_label("Log scale").check()
    watched.keep(f"page-{size}-{theme}-adjusted")
    # Wide and light, narrow and dark: what the other two could show as well.
    if (size, theme) in (("desktop", "light"), ("phone", "dark")):
        assert inaccessible(page) == []

    page.get_by_role("link", name="Cells", exact=True).first.click()
    square = page.locator(f'[data-day="{HOLE[0]}"]')
    square.hover()
    if size == "desktop":
        expect(page.locator("#cell-tip")).to_contain_text("2 of 3 symbols")
        expect(page.locator("#cell-tip")).to_contain_text("missing: AAPL")
    square.click()
    expect(page.locator("#cell")).to_contain_text("Missing (1)")
    watched.keep(f"page-{size}-{theme}-cells")
    link = page.get_by_role("link", name="The cell in Dagster").get_attribute("href")
    assert link == f"http://127.0.0.1:3000/assets/daily_prices?view=partitions&partition={HOLE[0]}%7CUS"

    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert (watched.complaints, watched.elsewhere) == ([], [])
    page.close()


def test_the_colours_can_be_chosen_and_stay(browser: Browser, site: Served) -> None:
    watched = _opened(browser, site.url)
    page = watched.page
    page.goto("/#/prices/MSFT")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Theme")
    for _ in range(2):
        button.click()
    expect(button).to_have_attribute("aria-label", "Theme: dark")
    assert page.evaluate(ground) != light
    page.reload()
    expect(button).to_have_attribute("aria-label", "Theme: dark")
    assert page.evaluate(ground) != light
    expect(page.locator(".event-row").filter(has_text="Dividend 0.08 USD")).to_contain_text(DIVIDEND)
    page.emulate_media(forced_colors="active")
    assert watched.complaints == []
    page.close()


def test_a_job_is_followed_until_it_ends(browser: Browser, site: Served, settings: Settings) -> None:
    store = LocalObjectStore(Path(settings.store_location))
    request = parse_request("backfill", {"exchange": "US", "start": "2005-01-03", "symbols": "AAPL IBM"})
    job, _ = JobDesk(settings, store).request(request, "ci", "api")
    page = _opened(browser, site.url).page
    page.goto("/")
    card = page.get_by_role("region", name="Last jobs")
    expect(card).to_contain_text("US · 2005-01-03 on · AAPL, IBM")
    expect(card).to_contain_text("pending")
    result = {"parts": [{"exchange": "US", "requested": 2, "cells": {"complete": 81, "partial": 2}}]}
    change_job(
        store, job.id, lambda one: replace(one, end=End("partial", "", ["2 rows are missing"], result, []))
    )
    expect(card).to_contain_text("83 / 83 cells")
    expect(card).to_contain_text("2 rows are missing")
    expect(page.get_by_role("region", name="Freshness")).to_contain_text("up to date")
    page.close()


def test_the_way_back_leads_out_of_the_prices_and_the_symbol_stays(browser: Browser, site: Served) -> None:
    page = _opened(browser, site.url).page
    page.goto("/#/prices/msft?adjust=split&range=All")
    expect(page.locator("#symbol-title")).to_contain_text("MSFT Microsoft")
    page.get_by_role("link", name="Overview").first.click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("link", name="Prices", exact=True).first.click()
    expect(page).to_have_url(re.compile(r"#/prices/msft\?adjust=split&range=All$", re.IGNORECASE))
    page.go_back()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.close()


def test_what_goes_wrong_is_said_in_words(browser: Browser, settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as served:
        watched = _opened(browser, served.url)
        page = watched.page
        page.goto("/#/prices/NOSUCH")
        expect(page.get_by_role("alert")).to_contain_text("NOSUCH")
        page.goto("/#/cells/XX")
        expect(page.get_by_role("alert")).to_contain_text("XX is no exchange in use here: US")
        served.stop()
        page.locator("#cells-exchange").evaluate("box => box.dispatchEvent(new Event('change'))")
        expect(page.get_by_role("alert")).to_contain_text("is quant-assets serve still running?")
        page.close()
    with serving(Settings(home=tmp_path)) as empty:
        page = _opened(browser, empty.url).page
        page.goto("/")
        expect(page.get_by_role("heading", name="This store is empty")).to_be_visible()
        expect(page.get_by_text("quant-assets backfill --exchange US")).to_be_visible()
        page.close()


def test_the_api_is_described_without_another_server(browser: Browser, site: Served) -> None:
    watched = _opened(browser, site.url)
    page = watched.page
    page.goto("/docs")
    expect(page.locator(".opblock-summary-path").filter(has_text="/v1/jobs").first).to_be_visible()
    page.locator(".opblock-summary-path").get_by_text("/exchanges", exact=False).first.click()
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".live-responses-table")).to_contain_text("last_session_over")
    assert (watched.complaints, watched.elsewhere) == ([], [])
    page.close()


@pytest.mark.parametrize(("size", "theme"), [("laptop", "light"), ("phone", "dark")])
def test_the_report_pages_are_linked_and_need_nobody(
    browser: Browser, site: Served, settings: Settings, size: str, theme: str
) -> None:
    store = open_store(settings.store_location)
    keep_pages(store, pages(read_report(store, enabled(["US"]), settings.clock())))
    watched = _opened(browser, site.url, size, theme)
    page = watched.page
    page.goto("/")
    with page.expect_popup() as opened:
        page.get_by_role("region", name="Report pages").get_by_role("link", name="All exchanges").click()
    report = opened.value
    assert inaccessible(report) == []
    report.get_by_role("link", name="US").last.click()
    expect(report.get_by_role("heading", name="New York Stock Exchange")).to_be_visible()
    expect(report.get_by_role("region", name="Restatements (1)")).to_contain_text("12345")
    expect(report.get_by_role("region", name="Held (1)")).to_contain_text(HELD)
    # Its style is let in by its policy, and nothing is wider than the screen.
    assert (
        report.locator(".c6").first.evaluate("cell => getComputedStyle(cell).backgroundColor")
        != "rgba(0, 0, 0, 0)"
    )
    assert report.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert inaccessible(report) == []
    if size == "laptop":
        # No column of a table has to be looked for.
        wider = "tables => tables.filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
        assert report.locator(".scroll").evaluate_all(wider) == []
    ARTIFACTS.mkdir(exist_ok=True)
    report.screenshot(path=ARTIFACTS / f"report-{size}-{theme}.png", full_page=True)
    assert (watched.complaints, watched.elsewhere) == ([], [])
    report.close()
    page.close()


def test_a_key_is_asked_for_once_and_kept_in_the_tab(browser: Browser, settings: Settings) -> None:
    text, key = new_key("reader", "read")
    keyed = settings.model_copy(update={"api_keys": key.entry()})
    with serving(keyed, open_reading=False) as served:
        page = _opened(browser, served.url).page
        page.goto("/")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Key").fill("wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("none of this service")
        dialog.get_by_label("Key").fill(text)
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.locator("#overview")).to_contain_text("1 gap, 2 sessions in all")
        # A report page that is fetched with the key is as the one that is navigated to.
        with page.expect_popup() as opened:
            page.get_by_role("region", name="Report pages").get_by_role("link", name="US").click()
        heat = opened.value.locator(".heat .c6").first
        expect(heat).to_be_visible()
        assert heat.evaluate("cell => getComputedStyle(cell).backgroundColor") != "rgba(0, 0, 0, 0)"
        opened.value.close()
        page.reload()
        expect(page.locator("#overview")).to_contain_text("1 gap, 2 sessions in all")
        expect(dialog).to_have_count(0)
        assert page.evaluate("JSON.stringify(localStorage)").find(text) == -1
        page.close()
