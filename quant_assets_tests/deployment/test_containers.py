"""The Dockerfile and the compose file say nothing that the product does not know, and give away no right.

That the image builds, runs the demo and that the services work together is shown by `make image-test` and
`make compose-test`, which take minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config

from quant_assets.instance import instance_file
from quant_assets.resources.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if "quant-assets" in service["image"]}


def commands() -> list[tuple[str, list[str]]]:
    found = [(f"{name} command", service["command"]) for name, service in OURS.items()]
    return found + [(f"{name} health", service["healthcheck"]["test"][1:]) for name, service in OURS.items()]


def test_all_roles_are_there() -> None:
    assert set(SERVICES) == {
        "postgres", "redis", "code", "webserver", "daemon", "api", "prometheus", "grafana",
    }  # fmt: skip
    assert set(OURS) == {"code", "webserver", "daemon", "api"}


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_can_change_nothing_but_its_home(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["home:/var/lib/quant-assets"]
    assert service["mem_limit"]


@pytest.mark.parametrize(
    ("what", "command"), commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_image_has_the_command(what: str, command: list[str]) -> None:
    assert command[0] == "python3" or shutil.which(command[0], path=str(Path(sys.executable).parent)), what


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_ports_are_open_to_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert name in OURS or re.search(r":v?\d+\.\d+", service["image"]), "a release, no moving tag"
    assert all("ADDRESS:-127.0.0.1}:" in port for port in service.get("ports", []))


def test_every_setting_of_ours_is_one_that_the_product_knows() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"DAGSTER_POSTGRES_URL"}
    for service in OURS.values():
        assert set(service["environment"]) <= known


def test_no_secret_has_a_default_and_the_example_names_every_one() -> None:
    text = "".join((COMPOSE / name).read_text(encoding="utf-8") for name in ("compose.yaml", "workers.yaml"))
    required = set(re.findall(r"\$\{(\w+):\?", text)) | {"METRICS_KEY"}
    assert required == {
        "POSTGRES_PASSWORD", "REDIS_PASSWORD", "QUEUE_PASSWORD", "GRAFANA_PASSWORD", "QUANT_ASSETS_API_KEYS",
        "METRICS_KEY",
    }  # fmt: skip
    assert not re.search(r"(PASSWORD|KEYS?):-[^}]", text)
    example = (COMPOSE / "example.env").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == required


def test_the_files_that_it_mounts_are_there() -> None:
    whole = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    for config in whole["configs"].values():
        assert yaml.safe_load((COMPOSE / config["file"]).read_text(encoding="utf-8"))
    used = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert used == set(whole["configs"])


def test_dagster_takes_the_instance_file_of_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://dagster:secret@127.0.0.1:1/dagster")
    (tmp_path / "dagster.yaml").write_text((COMPOSE / "dagster.yaml").read_text(encoding="utf-8"))
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    # As it stands but for the database, which is not there.
    place = tmp_path / "apart"
    place.mkdir()
    text = (COMPOSE / "dagster.yaml").read_text(encoding="utf-8")
    (place / "dagster.yaml").write_text(text[: text.index("storage:")] + text[text.index("# The runs'") :])
    with DagsterInstance.from_config(str(place)) as instance:
        assert not instance.telemetry_enabled
        queue = instance.get_concurrency_config().run_queue_config
        assert queue
        assert queue.max_concurrent_runs == 2


def test_workers_know_what_the_others_know_and_dagster_takes_their_instance_file(tmp_path: Path) -> None:
    whole = yaml.safe_load((COMPOSE / "workers.yaml").read_text(encoding="utf-8"))
    services, shared = whole["services"], whole["x-shared"]
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"DAGSTER_POSTGRES_URL"}
    assert shared.keys() <= known
    for name in ("code", "webserver", "daemon", "api"):
        assert services[name]["environment"] == shared
    for name in ("worker-1", "worker-2"):
        assert services[name]["environment"].keys() == shared.keys() | {
            "QUANT_ASSETS_STORE", "QUANT_ASSETS_EXCHANGES", "DAGSTER_POSTGRES_URL",
        }  # fmt: skip
        assert services[name]["command"] == ["quant-assets", "worker", "--name", name]
        assert services[name]["user"] == OURS["code"]["user"]
        assert services[name]["read_only"]
    # Runs, turns and marks are kept; a cache forgets.
    command = " ".join(services["queue"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
    # What the home's own file says of workers, the mounted one says.
    mounted = (COMPOSE / whole["configs"]["dagster"]["file"]).read_text(encoding="utf-8")
    written = instance_file(postgres=True, workers=2)
    parts = (
        "run_coordinator",
        "run_launcher",
        "run_monitoring",
        "run_retries",
        "concurrency",
        "telemetry",
        "nux",
    )
    assert {part: yaml.safe_load(mounted)[part] for part in parts} == {
        part: yaml.safe_load(written)[part] for part in parts
    }


def test_the_image_runs_as_nobody_with_what_compose_expects() -> None:
    text = (DEPLOY / "containers" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert text.index("USER 10001") > text.rindex("\nRUN ")
    home = "/var/lib/quant-assets"
    assert f"QUANT_ASSETS_HOME={home} " in text
    assert f"DAGSTER_HOME={home}/dagster " in text, "where quant_assets.instance looks for it"
    assert "HEALTHCHECK " in text
    base = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", text, re.MULTILINE)
    assert base, "a release of the base image"
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+", base[1])


@pytest.mark.parametrize("script", ["containers/build.sh", "containers/run.sh"])
def test_scripts_are_for_any_shell_and_name_what_is_missing(script: str, tmp_path: Path) -> None:
    done = subprocess.run(["sh", str(DEPLOY / script)], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "where" in done.stderr
    assert subprocess.run(["sh", "-n", str(DEPLOY / script)], timeout=20).returncode == 0
