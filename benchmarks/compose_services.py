"""`make compose-test`: the services of the compose file as processes, with its commands and its health checks.

No container engine is needed. In namespaces of their own (as root) the services' names resolve to one loopback, so
that every address and port is the file's, and Debian's PostgreSQL, Redis and Prometheus stand in for their images.
Then a job is asked for over the API and followed to its end: API → store → daemon → code server → PostgreSQL → store,
and Prometheus has scraped it with its key. What is compared, and the seconds, are printed; 1 when something differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

COMPOSE = Path(__file__).parents[1] / "deploy" / "compose"
HOME = Path("/var/lib/quant-assets")
BIN = Path(sys.executable).parent
NOW = datetime(2013, 3, 1, 23, 0, tzinfo=UTC)
INSIDE = "QUANT_ASSETS_COMPOSEINSIDE"
_FIRST, _LAST = "2013-02-01", "2013-02-28"


@dataclass
class Services:
    """What the file says, with the variables filled in, and the processes started of it."""

    folder: Path
    variables: Mapping[str, str]
    files: Sequence[str] = ("compose.yaml",)
    """A later one adds to the ones before, as compose has it."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])
    most: dict[str, float] = field(default_factory=dict[str, float])
    over: threading.Event = field(default_factory=threading.Event)
    said: dict[str, str] = field(default_factory=dict[str, str])
    """What each health check printed last."""

    def __post_init__(self) -> None:
        self.file: dict[str, Any] = {}
        for name in self.files:
            text = (COMPOSE / name).read_text(encoding="utf-8")
            self.file = merged(self.file, yaml.safe_load(filled(text, self.variables)))
        self.services: dict[str, Any] = self.file["services"]

    def start(
        self, name: str, command: Sequence[str], more: Mapping[str, str] | None = None, **how: Any
    ) -> None:
        """Starts a service whose dependencies are healthy already, and waits until its own health check passes."""
        service = self.services[name]
        for other, wanted in _dependencies(service).items():
            assert other in self.running, f"{name} needs {other}, which has not been started"
            if wanted == "service_healthy":
                assert self.healthy(other), f"{name} needs {other}, which is not healthy"
        for config in service.get("configs", []):
            target = Path(config["target"])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(COMPOSE / self.file["configs"][config["source"]]["file"], target)
        environment = {**_environment(service), **(more or {})}
        started = time.monotonic()
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen[bytes](
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=how.pop("cwd", HOME),
                **how,
            )
        if "healthcheck" in service:
            wait_until(
                lambda: self.healthy(name) or self._ended(name), 150, f"{name} is healthy", self._log(name)
            )
        print(
            f"{name:<11} healthy after {time.monotonic() - started:5.1f} s: {' '.join(command[:2])}",
            flush=True,
        )

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        check = self.services[name]["healthcheck"]["test"][1:]
        environment = _environment(self.services[name])
        done = subprocess.run(check, env=environment, capture_output=True, text=True, timeout=60, cwd=HOME)
        self.said[name] = done.stdout[-600:] + done.stderr[-600:]
        return done.returncode == 0

    def watch(self) -> None:
        """Notes, until the services end, the most memory that each held with all it has started."""
        while not self.over.wait(1.0):
            children: dict[int, list[int]] = {}
            resident: dict[int, int] = {}
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    facts = (folder / "stat").read_text().rpartition(")")[2].split()
                    children.setdefault(int(facts[1]), []).append(int(folder.name))
                    # Pages that processes share are counted once, in parts.
                    rollup = (folder / "smaps_rollup").read_text()
                    resident[int(folder.name)] = int(rollup.split("Pss:")[1].split()[0])
            for name, process in list(self.running.items()):
                tree = [process.pid]
                for pid in tree:
                    tree += children.get(pid, [])
                held = sum(resident.get(pid, 0) for pid in tree) / 1024
                self.most[name] = max(self.most.get(name, 0.0), held)

    def stop(self) -> None:
        self.over.set()
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def _ended(self, name: str) -> bool:
        if self.running[name].poll() is not None:
            raise SystemExit(f"{name} ended by itself:\n{self._log(name)()}")
        return False

    def _log(self, name: str) -> Callable[[], str]:
        return lambda: (
            (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]
            + self.said.get(name, "")
        )


def merged(file: Any, over: Any) -> Any:
    """A compose file with another one over it: mappings are merged, what else there is is replaced."""
    if not isinstance(file, dict) or not isinstance(over, dict):
        return over
    return {name: merged(file[name], over[name]) if name in file and name in over else (over | file)[name]
            for name in file | over}  # fmt: skip


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with ${NAME}, ${NAME:-default} and ${NAME:?why} as compose fills them."""

    def value(found: re.Match[str]) -> str:
        name, how, rest = found[1], found[2] or "", found[3] or ""
        if given := variables.get(name, ""):
            return given
        if how == ":?":
            raise SystemExit(f"{name}: {rest}")
        return rest

    return re.sub(r"\$\{(\w+)(:[-?])?([^}]*)\}", value, text)


def _dependencies(service: Mapping[str, Any]) -> dict[str, str]:
    wanted = service.get("depends_on", {})
    if isinstance(wanted, list):
        return dict.fromkeys(wanted, "service_started")
    return {name: rule["condition"] for name, rule in wanted.items()}


def _environment(service: Mapping[str, Any]) -> dict[str, str]:
    """What the image sets, then settings.env, then the service's own; of this process only where Python lies."""
    image = (COMPOSE.parent / "containers" / "Dockerfile").read_text(encoding="utf-8")
    lines = image[image.index("ENV PATH") : image.index("USER ")]
    own = dict(re.findall(r"(\w+)=(\S+)", lines)) | {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": "/tmp"}
    # A checkout that is not the installed one.
    own |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    extra: dict[str, str] = {}
    if "env_file" in service:
        text = Path(os.environ[INSIDE], "settings.env").read_text(encoding="utf-8")
        extra = dict(line.split("=", 1) for line in text.splitlines())
    return own | extra | {name: str(value) for name, value in service.get("environment", {}).items()}


def wait_until(done: Callable[[], bool], seconds: float, what: str, why: Callable[[], str] = str) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"not within {seconds:.0f} s: {what}\n{why()}")
        time.sleep(0.5)


def ask(url: str, key: str = "", body: object = None) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)


def _key(name: str, scope: str, folder: Path) -> tuple[str, str]:
    """A key, and the line that stands for it in QUANT_ASSETS_API_KEYS, as the command prints them."""
    file = folder / f"{name}.keys"
    made = subprocess.run(
        [BIN / "quant-assets", "keys", "create", "--name", name, "--scope", scope, "--file", file],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(row for row in file.read_text(encoding="utf-8").splitlines() if row.startswith(f"{name}:"))
    return made.stdout.split()[-1] if made.stdout.split() else "", line


def postgres(services: Services) -> None:
    """Debian's PostgreSQL in place of the image: the user, password and database are those of the file."""
    given = services.services["postgres"]["environment"]
    bin_ = max(Path("/usr/lib/postgresql").glob("*/bin"))
    data = services.folder / "postgres"
    # Where the image and its health check have the socket, too.
    sockets = Path("/run/postgresql")
    for folder in (data, sockets):
        folder.mkdir()
        shutil.chown(folder, "postgres")
    password = services.folder / "password"
    password.write_text(given["POSTGRES_PASSWORD"], encoding="utf-8")
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    subprocess.run(
        [*as_postgres, bin_ / "initdb", "-D", data, "-U", given["POSTGRES_USER"], "-A", "scram-sha-256",
         f"--pwfile={password}", "-E", "UTF8", "--no-sync"], check=True, capture_output=True, cwd="/tmp",
    )  # fmt: skip
    command = [*as_postgres, str(bin_ / "postgres"), "-D", str(data), "-k", str(sockets), "-h", "*", "-F"]
    services.start("postgres", command, cwd="/tmp")
    environment = {"PGPASSWORD": given["POSTGRES_PASSWORD"], "PATH": "/usr/bin"}
    address = ["-h", "postgres", "-U", given["POSTGRES_USER"]]
    subprocess.run(["createdb", *address, given["POSTGRES_DB"]], env=environment, check=True)


def main() -> int:
    """The whole of it; answers the exit code."""
    if INSIDE not in os.environ:
        return in_namespaces("benchmarks.compose_services")
    folder = Path(os.environ[INSIDE])
    from quant_assets.dev.demo import write_universe
    from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

    read, reading = _key("metrics", "read", folder)
    operate, operating = _key("me", "operate", folder)
    variables = {
        **{
            name: secrets.token_hex(12)
            for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD")
        },
        "QUANT_ASSETS_API_KEYS": f"{reading},{operating}",
        "QUANT_ASSETS_EXCHANGES": "ASX",
    }
    services = Services(folder, variables)
    Path("/run/secrets").mkdir(parents=True, exist_ok=True)
    Path("/run/secrets/metrics_key").write_text(read, encoding="utf-8")
    market = GeneratedExchange("ASX", symbols=8, seed=7, start=date(2012, 1, 2), end=date(2013, 3, 1))
    started = time.monotonic()
    with start(ReplayConfig(now=NOW, generated=[market])) as source:
        write_universe(source, HOME / "universe.yaml")
        (folder / "settings.env").write_text(
            f"QUANT_ASSETS_SOURCE_URL={source.url}\nQUANT_ASSETS_REQUESTS_PER_SECOND=0\nQUANT_ASSETS_START=2013-01-02\n"
            f"QUANT_ASSETS_NOW={NOW:%Y-%m-%dT%H:%M:%SZ}\nQUANT_ASSETS_UNIVERSE={HOME}/universe.yaml\n",
            encoding="utf-8",
        )
        threading.Thread(target=services.watch, daemon=True).start()
        try:
            postgres(services)
            services.start("redis", services.services["redis"]["command"])
            for name in ("code", "webserver", "daemon", "api"):
                services.start(name, services.services[name]["command"])
            services.start("prometheus", _prometheus(services))
            wrong = _work(operate)
            time.sleep(1.5)
            print(
                "most memory held, MB:",
                ", ".join(f"{name} {held:.0f}" for name, held in services.most.items()),
            )
        finally:
            services.stop()
    print(f"compose: {'ok' if not wrong else 'NOT ok'} seconds={time.monotonic() - started:.0f}")
    for line in wrong:
        print(f"  {line}")
    return 1 if wrong else 0


def _prometheus(services: Services) -> list[str]:
    data = services.folder / "prometheus"
    given = [part for part in services.services["prometheus"]["command"] if "tsdb.path" not in part]
    return ["prometheus", *given, f"--storage.tsdb.path={data}"]


def _work(key: str) -> list[str]:
    """Asks for a month over the API, waits for it, reads it, and looks whether every part knows of it."""
    wrong: list[str] = []
    asked = {"kind": "backfill", "exchange": "ASX", "start": _FIRST, "end": _LAST}
    job = ask("http://api:8000/v1/jobs", key, asked)
    state: dict[str, Any] = {}

    def over() -> bool:
        state.update(ask(f"http://api:8000/v1/jobs/{job['id']}", key))
        return state["status"] in ("completed", "partial", "failed", "cancelled")

    wait_until(over, 300, "the job has ended", lambda: json.dumps(state))
    print(f"job {job['id']}: {state['status']}")
    if state["status"] not in ("completed", "partial"):
        wrong.append(f"the job: {json.dumps(state)[:1500]}")
    table = ask(f"http://api:8000/v1/prices?start={_FIRST}&end={_LAST}&format=json&orient=records", key)
    rows = table["data"]
    print(f"prices over the API: {len(rows)} rows")
    if len(rows) < 100:
        wrong.append("the API does not have the month's prices")
    answer = ask(
        "http://webserver:3000/graphql",
        body={"query": "{ runsOrError { ... on Runs { results { status } } } }"},
    )
    runs = [run["status"] for run in answer["data"]["runsOrError"]["results"]]
    print(f"runs in PostgreSQL, as the webserver has them: {runs}")
    if "SUCCESS" not in runs:
        wrong.append("no run has succeeded")
    ready = ask("http://api:8000/readyz")
    print(f"/readyz: {ready['status']} cache={ready['cache']['state']} dagster={ready['dagster']['state']}")
    if ready["status"] != "ok":
        wrong.append(f"/readyz: {ready}")
    queries = dashboard_queries()
    # A rate takes two scrapes, and what was asked for just now is in the next one.
    until = time.monotonic() + 90
    while (empty := [query for query in queries if not _samples(query)]) and time.monotonic() < until:
        time.sleep(2)
    wrong += [f"the dashboard's query has no data: {query}" for query in empty]
    rules = ask("http://prometheus:9090/api/v1/rules")["data"]["groups"]
    states = {rule["name"]: rule["state"] for group in rules for rule in group["rules"]}
    print(f"dashboards: {len(queries)} queries, {len(empty)} without data; alerts: {states}")
    wrong += [f"{name} is {state}" for name, state in states.items() if state != "inactive"]
    return wrong


def dashboard_queries() -> list[str]:
    """What the panels of all dashboards ask Prometheus."""
    files = sorted((COMPOSE.parent / "monitoring").glob("dashboard*.json"))
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]


def _samples(query: str) -> list[Any]:
    """What Prometheus answers to a query now."""
    return ask(f"http://prometheus:9090/api/v1/query?query={quote(query)}")["data"]["result"]


def in_namespaces(module: str, files: Sequence[str] = ("compose.yaml",)) -> int:
    """Starts this program again where all of the file's names are this machine, and its folders are our own."""
    missing = [
        tool
        for tool in ("redis-server", "prometheus", "unshare", "setpriv", "ip", "pg_isready")
        if not shutil.which(tool)
    ]
    if os.geteuid() != 0 or missing or not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        lacking = ", ".join(missing) or "root, or PostgreSQL's server"
        print(
            f"compose-test needs root and Debian's postgresql, redis-server and prometheus; here is no {lacking}"
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="compose-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        texts = [(COMPOSE / file).read_text(encoding="utf-8") for file in files]
        services = {service for text in texts for service in yaml.safe_load(text)["services"]}
        for part in ("etc", "etc-work", "lib", "run"):
            (folder / part).mkdir()
        (folder / "etc" / "hosts").write_text(f"127.0.0.1 localhost {' '.join(services)}\n", encoding="utf-8")
        script = f"""
            mount --make-rprivate /
            mount -t overlay overlay -o lowerdir=/etc,upperdir={name}/etc,workdir={name}/etc-work /etc
            mount --bind {name}/lib /var/lib
            mount --bind {name}/run /run
            mkdir -p /var/lib/quant-assets/dagster
            ip link set lo up
            exec "$@"
        """
        command = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-euc",
            script,
        ]
        again = [sys.executable, "-m", module, *sys.argv[1:]]
        return subprocess.run([*command, "sh", *again], env={**os.environ, INSIDE: name}).returncode


if __name__ == "__main__":
    raise SystemExit(main())
