"""The wheel and the sdist, built and installed for real: whole, and no neighbour of anybody's package `resources`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.cfg", "setup.py", "README.md", "LICENSE", "quant_assets", "resources")

pytestmark = pytest.mark.slow


def _checkout(folder: Path) -> Path:
    """A copy of what a clone holds, since a build leaves its traces in the tree."""
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=skipped)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def _build(source: Path, into: Path, *which: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *which, "--outdir", str(into), str(source)],
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, `clone/` with the wheel of a clone and `sdist/` with the wheel of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    source = tmp_path_factory.mktemp("checkout")
    _checkout(source)
    for which, into in (("--sdist", folder), ("--wheel", folder / "clone")):
        done = _build(source, into, which)
        assert done.returncode == 0, done.stdout + done.stderr
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(_only(folder, "*.tar.gz")) as sdist:
        sdist.extractall(unpacked, filter="data")
    done = _build(_only(unpacked, "*"), folder / "sdist", "--wheel")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _package_files() -> Iterator[str]:
    for folder, _, files in os.walk(ROOT / "quant_assets", followlinks=True):
        if "__pycache__" not in folder:
            yield from (str((Path(folder) / file).relative_to(ROOT)) for file in files)


@pytest.mark.parametrize("origin", ["clone", "sdist"])
def test_the_wheel_holds_the_whole_package_and_nothing_beside_it(built: Path, origin: str) -> None:
    names = _names(_only(built / origin, "*.whl"))
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == set(_package_files())
    assert {
        "quant_assets/exchanges.yaml",
        "quant_assets/py.typed",
        "quant_assets/resources/object_store.py",
    } <= names


def test_a_checkout_without_the_link_is_refused_in_one_line(tmp_path: Path) -> None:
    """As git leaves it where it may make no links: a text file that holds the link's target."""
    source = tmp_path / "checkout"
    source.mkdir()
    link = _checkout(source) / "quant_assets" / "resources"
    link.unlink()
    link.write_text("../resources")
    done = _build(source, tmp_path / "out", "--wheel")
    assert done.returncode != 0
    assert "error: quant_assets/resources is no link to ../resources in this checkout" in (
        done.stdout + done.stderr
    )


PROJECT = {
    "resources/__init__.py": "from resources.object_store import BUCKET\n",
    "resources/object_store.py": "BUCKET = 'of the project'\n",
    "shop/__init__.py": "",
    "shop/definitions.py": """
import dagster as dg
import resources
import resources.object_store
from quant_assets.definitions import build_definitions
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import load_settings

assert resources.BUCKET == "of the project" and not hasattr(resources.object_store, "ObjectStore")

@dg.asset(deps=["daily_prices"])
def signals() -> None: ...

defs = dg.Definitions.merge(build_definitions(load_settings()), dg.Definitions(assets=[signals]))
""",
}
"""A project that has a top-level package `resources`, with a module that is called as one of ours."""


@pytest.fixture(scope="module")
def project(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The project's folder, and the programs of an environment in which the wheel is installed.

    The dependencies are those of the environment that runs the tests.
    """
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    programs = environment / "bin"
    # A .pth file adds that folder, and not what its own .pth files would add: this source tree.
    dependencies = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (site,) = environment.glob("lib/python*/site-packages")
    wheel = _only(built / "sdist", "*.whl")
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run([*map(str, pip)], check=True, timeout=180, env=_clean())
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder, programs


def _clean() -> dict[str, str]:
    drop = ("PYTHONPATH", "DAGSTER_HOME", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if k not in drop and not k.startswith("QUANT_ASSETS_")}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _run(project: tuple[Path, Path], *command: str) -> str:
    folder, programs = project
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env=_clean(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_installed_package_runs_beside_a_project_that_has_resources_of_its_own(
    project: tuple[Path, Path],
) -> None:
    # `-m` puts the project's folder first on the path, which is where the clash was.
    where = _run(project, "python", "-c", "import quant_assets.resources as ours; print(ours.__file__)")
    assert where.startswith(str(project[1].parent))
    assert "update-daily" in _run(project, "quant-assets", "--help")
    told = _run(project, "python", "-m", "dagster", "definitions", "validate", "-m", "shop.definitions")
    assert "Validation successful" in told
