"""One replay server a worker, as good as new for every test: the recorded US symbols and ten made-up ASX ones."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from datetime import date
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from filelock import FileLock
from hypothesis import settings

from quant_assets.dev.gcs_emulator import gcs_emulator, make_bucket
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, ReplayHandle, start
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.yahoo import YahooSource
from quant_assets_tests.support import NOW, RECORDED, days_between, listings, quick_settings

# A busy machine makes an example slow, not wrong.
# With CI set, hypothesis draws the same examples every time: more of them tell little more.
settings.register_profile("patient", deadline=None, max_examples=25 if os.environ.get("CI") else 100)
settings.load_profile("patient")

HERE = Path(__file__).parent

LONGEST = tuple(
    f"e2e/test_{name}.py"
    for name in ("daemon", "backfills", "browser", "lies", "kill", "gcs", "simulated_year", "survivorship")
)
"""Files that take minutes, most of them waiting: they begin first, so that all workers end together."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cov-tests",
        metavar="PLACES",
        help="With --cov: the places (a/,b.py,...) whose tests are measured; Dagster takes half as long again",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the rest stays in order."""
    places = {name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        return places.get(item.path.relative_to(HERE).as_posix(), len(places))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Stops the measurement of coverage for a test, with its fixtures, that lies outside of --cov-tests, or draws its
    examples: what is covered has an example by value, and hundreds of drawn ones take twice as long measured."""
    measured = item.config.getoption("cov_tests")
    controller = getattr(item.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    drawn = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    inside = measured is None or item.path.relative_to(HERE).as_posix().startswith(tuple(measured.split(",")))
    if controller is None or (inside and not drawn):
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@pytest.fixture(scope="session", autouse=True)
def _schema_revisions_are_read_once() -> Iterator[None]:
    """Dagster reads its sixty scripts of schema changes for every database that it opens, one of them a run."""
    read = ScriptDirectory.from_config
    by_place: dict[str | None, ScriptDirectory] = {}

    def once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in by_place:
            by_place[place] = read(config)
        return by_place[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", once)
        yield


FIRST, LAST = date(2000, 3, 1), date(2013, 3, 1)
"""The recorded years."""

ASX = GeneratedExchange("ASX", symbols=10, seed=7, start=date(2012, 1, 3), end=date(2013, 3, 1))


@pytest.fixture(scope="session")
def market_server() -> Iterator[ReplayHandle]:
    with start(ReplayConfig(sampledata=True, generated=[ASX], now=NOW)) as handle:
        yield handle


@pytest.fixture
def market(market_server: ReplayHandle) -> ReplayHandle:
    """The server at NOW, without faults, with all counts at zero."""
    market_server.set_clock(NOW)
    market_server.clear_faults()
    market_server.reset_stats()
    return market_server


@pytest.fixture(scope="session")
def thirteen_years(
    market_server: ReplayHandle, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> LocalObjectStore:
    """Every recorded session of US, filled once for all workers. Not to be written to."""
    shared = (
        tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    )
    home = shared / "thirteen-years"
    store = LocalObjectStore(home / "store")
    with FileLock(shared / "thirteen-years.lock"):
        if not (home / "filled").exists():
            _fill_years(home, store, market_server)
            (home / "filled").touch()
    return store


def _fill_years(home: Path, store: LocalObjectStore, server: ReplayHandle) -> None:
    server.set_clock(NOW)
    server.clear_faults()
    settings = quick_settings(home, server.url)
    source = YahooSource(settings)
    fill_cells(
        FillContext(exchange("US"), store, source, settings.clock, FillRules(home / "spill")),
        FillRequest(days_between(FIRST, LAST), listings(*RECORDED)),
    )
    source.close()


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The URL of a Cloud Storage emulator; clients find it only in tests that ask for a `bucket`."""
    with gcs_emulator() as url:
        del os.environ["STORAGE_EMULATOR_HOST"]
        yield url


@pytest.fixture
def bucket(emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a bucket of the test's own, on the emulator to which clients now go."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    name = f"test-{uuid.uuid4().hex[:12]}"
    make_bucket(name)
    return name
