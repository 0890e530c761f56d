"""Options for one call: a trial store beside the home's own, and how many requests are under way at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.cli.this_call import LocalOption, StoreOption, WorkersOption
from quant_assets.cli.usage import UsageProblem, load
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.settings import Settings

BACKFILL = ("backfill", "--exchange", "US", "--start", "2013-02-14", "--end", "2013-02-15")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANT_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("QUANT_ASSETS_STORE", raising=False)
    return tmp_path / "home"


def settings_of(*options: str) -> Settings:
    """What a command that was given these options loads."""
    made: list[Settings] = []
    one = typer.Typer()

    @one.command()
    def _(
        store: StoreOption = None, use_local: LocalOption = False, max_workers: WorkersOption = None
    ) -> None:
        made.append(load())
        assert load() == made[0]

    done = CliRunner().invoke(one, list(options), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return made[0]


def test_a_trial_store_has_dagster_records_and_files_under_way_of_its_own(home: Path, tmp_path: Path) -> None:
    own, trial = settings_of(), settings_of("--store", f"{tmp_path}/x/../there/")
    assert trial.store_location == str(tmp_path / "there")
    assert trial.dagster_home.parent.parent == trial.spill_folder.parent.parent.parent == home / "trial-runs"
    assert (own.dagster_home, own.spill_folder) == (home / "dagster", home / "cache" / "spill")
    # The source sees one client: the pace is kept in the home.
    assert trial.home == own.home
    another = settings_of("--store", str(tmp_path / "another"))
    assert another.dagster_home != trial.dagster_home
    assert settings_of("--store", str(tmp_path / "there")).dagster_home == trial.dagster_home


def test_use_local_is_a_folder_of_the_home(home: Path) -> None:
    assert settings_of("--use-local") == settings_of("--store", str(home / "trial"))


def test_the_home_s_own_store_is_no_trial(home: Path) -> None:
    assert settings_of("--store", str(home / "store")) == settings_of()


def test_max_workers_are_those_of_the_call_and_no_longer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ASSETS_CONCURRENCY", "3")
    assert settings_of("--max-workers", "64") == settings_of().model_copy(update={"concurrency": 64})
    assert load().concurrency == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--store", " "), "--store names no store; write a folder or gs://bucket/prefix"),
        (("--store", "s3://there"), "--store 's3://there': no such kind of store (name a folder, or gs"),
        (("--store", "gs://"), "--store 'gs://' names no bucket (write gs://bucket/prefix)"),
        (("--store", "~nobody-here/x"), "--store '~nobody-here/x': it is no folder's name"),
        (("--store", "{home}/../file"), "/file: it is no folder; name one, or gs://bucket/prefix"),
        (("--store", "{home}"), "it cannot share its place with {home}/store; name another folder"),
        (("--store", "{home}/store/trial"), "it cannot share its place with {home}/store; name another"),
        (("--store", "{home}/dagster"), "it cannot share its place with {home}/dagster; name another"),
        (("--store", "{home}/../other"), "holds another project's objects (e.g. a.txt): point --store at"),
        (
            ("--store", "x", "--use-local"),
            "--store names a store and --use-local is another one; leave one out",
        ),
    ],
)
@pytest.mark.parametrize("command", [BACKFILL, ("update-daily",), ("sweep",)], ids=lambda command: command[0])
def test_what_is_no_trial_store_is_refused(
    home: Path, command: tuple[str, ...], options: tuple[str, ...], told: str
) -> None:
    (home.parent / "file").touch()
    (home.parent / "other").mkdir()
    (home.parent / "other" / "a.txt").touch()
    with pytest.raises(UsageProblem) as refused:
        CliRunner().invoke(
            app, [*command, *(one.format(home=home) for one in options)], catch_exceptions=False
        )
    assert told.format(home=home) in str(refused.value)
    assert not home.exists()


@pytest.mark.parametrize("workers", ["0", "65", "many"])
@pytest.mark.parametrize("command", [BACKFILL, ("update-daily",), ("sweep",)], ids=lambda command: command[0])
def test_max_workers_that_cannot_be_are_refused(home: Path, command: tuple[str, ...], workers: str) -> None:
    done = CliRunner().invoke(app, [*command, "--max-workers", workers])
    assert done.exit_code == 2
    assert "--max-workers" in done.output
    assert not home.exists()


def test_a_trial_run_leaves_store_and_dagster_of_the_home_as_they_are(
    home: Path, market: ReplayHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "universe.yaml").write_text("US: [AAPL, IBM]\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in {
        "EXCHANGES": "US", "UNIVERSE": str(tmp_path / "universe.yaml"), "SOURCE_URL": market.url,
        "REQUESTS_PER_SECOND": "0", "START": "2013-01-02", "NOW": "2013-02-19T23:00:00Z",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)

    def run(*arguments: str) -> Result:
        market.reset_stats()
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    assert run(*BACKFILL).exit_code == 0
    before = files(home, lambda top: top != "cache")
    trial = run(*BACKFILL, "--use-local", "--max-workers", "2")
    assert trial.exit_code == 0, trial.output
    # Nothing of the home's own store was believed to be there already.
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1}
    after = files(home, lambda top: top != "cache")
    assert {
        path: data for path, data in after.items() if path.parts[0] not in ("trial", "trial-runs")
    } == before
    assert {path.parts[0] for path in after} == {"dagster", "store", "trial", "trial-runs"}
    cell = Path("daily_prices/exchange=US/date=2013-02-15.parquet")
    assert Path("trial") / cell in after
    assert Path("store") / cell in after


def files(home: Path, wanted: Callable[[str], bool]) -> dict[Path, bytes]:
    """What a home holds, by path: of the folders that are wanted."""
    paths = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return {path: (home / path).read_bytes() for path in paths if wanted(path.parts[0])}
