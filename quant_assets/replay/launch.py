"""Starting the replay server: in the foreground (`serve`) or as a subprocess (`start`).

Importing this module is cheap: the server's libraries are loaded when one is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from quant_assets.replay.errors import LaunchError

if TYPE_CHECKING:
    from quant_assets.replay.server import ReplayApp

Moment = datetime | date | str


@dataclass(frozen=True)
class GeneratedExchange:
    """A made-up exchange (see `generator.generate`); dates as date or YYYY-MM-DD.

    thin: the share of symbols that hardly trade. events: "ordinary" or "real_life".
    """

    exchange: str = "ASX"
    symbols: int = 40
    seed: int = 0
    start: date | str = "2023-01-03"
    end: date | str = "2024-03-01"
    thin: float = 0.0
    events: str = "ordinary"


@dataclass(frozen=True)
class ReplayConfig:
    """What to serve.

    port: 0 for any free one. now: the clock, an aware datetime or ISO text; a bare date means the end
    of that day UTC; None runs with real time. sampledata: the five US symbols of bokeh_sampledata.
    history_files: (CSV path, "as_traded" or "yahoo") pairs. generated: made-up exchanges.
    faults: faults in force from the start (see `faults.Fault`); faults_file: more, a JSON list.
    spells: which symbol stands for which listing when (see `spells.Spell`); spells_file: more, a JSON list.
    exchanges_file: a YAML file of further exchanges, as for the platform itself (see `venues_file`).
    """

    port: int = 0
    now: Moment | None = None
    sampledata: bool = False
    history_files: Sequence[tuple[str | Path, str]] = ()
    generated: Sequence[GeneratedExchange] = ()
    faults: Sequence[dict[str, Any]] = ()
    faults_file: str | Path | None = None
    exchanges_file: str | Path | None = None
    spells: Sequence[dict[str, Any]] = ()
    spells_file: str | Path | None = None

    def to_json(self) -> str:
        """One line that `from_json` reads back."""
        return json.dumps(asdict(self), default=_plain)

    @classmethod
    def from_json(cls, text: str) -> ReplayConfig:
        """The configuration that `to_json` wrote."""
        raw = json.loads(text)
        raw["generated"] = [GeneratedExchange(**spec) for spec in raw["generated"]]
        raw["history_files"] = [(path, convention) for path, convention in raw["history_files"]]
        return cls(**raw)


def _plain(value: Any) -> str:
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} cannot be part of a replay configuration")


def build(config: ReplayConfig) -> ReplayApp:
    """The application for `config`, not yet listening; ReplayError when something in it is wrong."""
    from quant_assets.replay.errors import ReplayError
    from quant_assets.replay.fault_book import FaultBook
    from quant_assets.replay.history import History
    from quant_assets.replay.server import ReplayApp, parse_faults
    from quant_assets.replay.spells import Spell
    from quant_assets.replay.world import World, parse_moment

    if config.exchanges_file is not None:
        from quant_assets.replay.venues import register
        from quant_assets.replay.venues_file import read_venues

        register(read_venues(Path(config.exchanges_file)))
    parts: list[History] = []
    if config.sampledata:
        from quant_assets.replay.sampledata import sampledata

        parts.append(sampledata())
    for path, convention in config.history_files:
        from quant_assets.replay.csv_files import from_csv

        parts.append(from_csv(path, convention))  # pyright: ignore[reportArgumentType]
    for spec in config.generated:
        from quant_assets.replay.generator import generate

        parts.append(generate(**asdict(spec)))
    if not parts:
        raise ReplayError("nothing to replay: give sample data, a history file or a generated exchange")

    faults = parse_faults(list(config.faults))
    if config.faults_file is not None:
        faults += parse_faults(_json_list(config.faults_file, "faults"))
    spells = [Spell.from_dict(raw) for raw in config.spells]
    if config.spells_file is not None:
        spells += [Spell.from_dict(raw) for raw in _json_list(config.spells_file, "spells")]
    now = None if config.now is None else parse_moment(config.now)
    return ReplayApp(World(History.combine(parts), now, spells), FaultBook(faults))


def _json_list(path: str | Path, what: str) -> Any:
    from quant_assets.replay.errors import ReplayError

    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path}: not a readable JSON list of {what}: {error}") from error


def serve(config: ReplayConfig, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve in the foreground until interrupted; `on_ready(url)` is called once requests are answered.

    Raises ReplayError for a wrong configuration, LaunchError when the port is taken.
    """
    from quant_assets.replay.server import listen, run

    sock = listen(config.port)
    try:
        run(build(config), sock, on_ready)
    finally:
        sock.close()


def start(config: ReplayConfig, timeout: float = 60.0) -> ReplayHandle:
    """Start the server as a subprocess and wait until it answers.

    The subprocess ends with `stop()`, and with this process, however that ends. Raises LaunchError
    with the server's own words when it cannot start, or after `timeout` seconds.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "quant_assets.replay", "--child-of", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answer: list[str] = []
    reader = threading.Thread(target=_first_line, args=(process.stdout, answer), daemon=True)
    reader.start()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(config.to_json() + "\n")
        process.stdin.flush()
    reader.join(timeout)
    try:
        message = json.loads(answer[0]) if answer and answer[0] else {}
    except ValueError:
        message = {"error": f"unexpected output: {answer[0]!r}"}
    if "url" not in message:
        process.kill()
        process.wait()
        reason = message.get("error", "it ended without a word" if answer else f"silent for {timeout:g} s")
        raise LaunchError(f"the replay server did not start: {reason}")
    handle = ReplayHandle(url=message["url"], process=process)
    handle.health()
    return handle


def _first_line(stream: IO[str], into: list[str]) -> None:
    into.append(stream.readline())


@dataclass
class ReplayHandle:
    """A running server and its controls. Methods raise LaunchError when it refuses or is gone."""

    url: str
    process: subprocess.Popen[str] = field(repr=False)

    def health(self) -> dict[str, Any]:
        """{"status": "ok", "symbols": n}"""
        return self._call("GET", "health")

    def clock(self) -> datetime:
        """The server's clock, UTC."""
        return datetime.fromisoformat(self._call("GET", "clock")["now"])

    def set_clock(self, now: Moment | None) -> None:
        """Move the clock: as `ReplayConfig.now`."""
        self._call("PUT", "clock", {"now": now.isoformat() if isinstance(now, date) else now})

    def add_faults(self, *faults: dict[str, Any]) -> None:
        """Put more faults in force (see `faults.Fault`)."""
        self._call("POST", "faults", list(faults))

    def clear_faults(self) -> None:
        """Take all faults out of force."""
        self._call("DELETE", "faults")

    def stats(self) -> dict[str, dict[str, int]]:
        """Counts: requests (by kind), chart_data (by symbol), chart_status (by status), faults (by kind)."""
        return self._call("GET", "stats")

    def log(self) -> list[tuple[float, str]]:
        """The last chart requests since the count began, in order: seconds on the server's clock, and the symbol."""
        return [(moment, symbol) for moment, symbol in self._call("GET", "log")]

    def reset_stats(self) -> None:
        """Count from zero."""
        self._call("DELETE", "stats")

    def catalog(self) -> list[dict[str, Any]]:
        """The listings known by the clock: symbol, name, exchange, yahoo_exchange, currency, listed_on,
        delisted_on (dates as text, None while listed)."""
        return self._call("GET", "catalog")

    def stop(self) -> None:
        """End the server; again is harmless."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/__replay__/{path}",
            method=method,
            data=None if body is None else json.dumps(body, default=_plain).encode(),
        )
        # Never through a proxy: the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError):
                message = json.loads(message)["error"]
            raise LaunchError(f"the replay server refused {method} {path}: {message}") from error
        except OSError as error:
            raise LaunchError(f"the replay server at {self.url} does not answer: {error}") from error


def end_with_parent(parent: int, lifeline: int) -> None:
    """End this process when the pipe `lifeline` (a file descriptor) closes or `parent` is gone.

    Both are watched: a killed parent closes the pipe at once, unless another child inherited it.
    """

    def hold() -> None:
        while os.read(lifeline, 1):
            pass
        os._exit(0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=hold, daemon=True).start()
    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


def run_as_child(parent: int) -> int:
    """What the subprocess of `start` does: configuration on the first line of standard input, the URL or
    the error as one line of JSON on standard output."""
    from quant_assets.replay.errors import ReplayError

    out = sys.stdout

    def report(**words: str) -> None:
        out.write(json.dumps(words) + "\n")
        out.flush()

    config = ReplayConfig.from_json(sys.stdin.readline())
    end_with_parent(parent, sys.stdin.fileno())
    try:
        serve(config, on_ready=lambda url: report(url=url))
    except ReplayError as error:
        report(error=str(error))
        return 1
    return 0


def parse_generated(text: str) -> GeneratedExchange:
    """A made-up exchange from text like ASX:40:2023-01-03:2024-03-01:7:0.2:real_life (exchange, symbols, start,
    end, seed, share of thin symbols, events).

    Parts may be left out from the right, or empty.
    """
    names = ("exchange", "symbols", "start", "end", "seed", "thin", "events")
    parts: Iterable[tuple[str, str]] = zip(names, text.split(":"), strict=False)
    values: dict[str, Any] = {name: value for name, value in parts if value}
    for name in ("symbols", "seed"):
        if name in values:
            try:
                values[name] = int(values[name])
            except ValueError:
                raise LaunchError(
                    f"{text!r}: {name} is not a whole number: write EXCHANGE:SYMBOLS:START:END:SEED"
                ) from None
    if "thin" in values:
        try:
            values["thin"] = float(values["thin"])
        except ValueError:
            raise LaunchError(
                f"{text!r}: {values['thin']!r} is no share of thin symbols: write one like 0.2"
            ) from None
    return GeneratedExchange(**values)
