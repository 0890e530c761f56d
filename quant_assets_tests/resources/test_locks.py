"""`one_at_a_time`: one holder, a waiting that is told of once and costs nothing, and an end with the process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from quant_assets.resources.locks import one_at_a_time

HOLD = """
import sys, time
from pathlib import Path
from quant_assets.resources.locks import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_waits_for_another_thread_without_spinning(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "lock"
    held, waits, steps = threading.Event(), list[str](), list[str]()

    def hold() -> None:
        with one_at_a_time(file, lambda: waits.append("holder")):
            held.set()
            time.sleep(0.7)
            steps.append("released")

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    before = time.thread_time()
    with one_at_a_time(file, lambda: waits.append("second")):
        steps.append("held")
    assert time.thread_time() - before < 0.1
    holder.join()
    assert steps == ["released", "held"]
    assert waits == ["second"]


def test_one_at_a_time_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waits: list[str] = []

    def kill() -> None:
        waits.append("waited")
        holder.kill()

    with one_at_a_time(file, kill):
        pass
    assert waits == ["waited"]
    holder.communicate()
