"""Opens Dagster's web page and daemon on a store, for the demo with its replay server beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from quant_assets.cli.console import console
from quant_assets.resources.settings import Settings


def run_ui(settings: Settings, port: int, *, demo: bool) -> int:
    """Runs `dagster dev` until interrupted; answers its exit code. Raises LaunchError, OSError."""
    from quant_assets.local_runs import prepare_instance

    with contextlib.ExitStack() as stack:
        if demo:
            from quant_assets.dev.demo import REPLAY, demo_settings, write_universe
            from quant_assets.replay.launch import start

            server = stack.enter_context(start(REPLAY))
            settings = demo_settings(settings.home, server.url)
            assert settings.universe is not None
            write_universe(server, settings.universe)
            console.print(f"replay server on {server.url}, today is 2013-03-01", soft_wrap=True)
        environment = {
            **os.environ,
            **_environment(settings),
            "DAGSTER_HOME": str(prepare_instance(settings)),
        }
        # With neither named, a broken workspace.yaml would go unnoticed.
        where = (
            ["-w", "workspace.yaml"]
            if Path("workspace.yaml").exists()
            else ["-m", "quant_assets.definitions"]
        )
        console.print(
            f"Dagster opens on http://127.0.0.1:{port} (half a minute; Ctrl-C ends it)", soft_wrap=True
        )
        command = [sys.executable, "-m", "dagster", "dev", *where, "-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, env=environment)
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has sent the interrupt to Dagster as well; it needs a moment to stop its children.
            return process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    from quant_assets.dev.demo import as_environment

    return {**as_environment(settings), "PYTHONWARNINGS": "ignore"}
