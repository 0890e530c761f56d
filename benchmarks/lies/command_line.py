"""What `quant-assets update-daily` says of a lie: its exit code, and the symbols that it names."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.lies.cases import HONEST, Case, Cases, symbols_of
from benchmarks.lies.market import RIGHT_AGAIN
from benchmarks.lies.tell import Finding, Played, Store, named_in
from quant_assets.replay.launch import ReplayHandle

_CASES = 12
"""Fewer than the command line lists by name."""
_PARTIAL = 2


def ask_command_line(
    played: Played, made: Cases, server: ReplayHandle, root: Path, *, live: int, seed: int
) -> None:
    """Lets the command fill the first evening of some lies told once, and the last one on which all must be right."""
    once = [one for one in made.of("US", alone=False) if one.slot.evenings == 1 and one.kind.name != HONEST]
    kinds = {one.kind.name: one for one in random.Random(seed).sample(once, len(once))}
    cases = list(kinds.values())[:_CASES]
    if not cases:
        return
    where, begin = cases[0].slot.market, cases[0].slot.first
    server.clear_faults()
    server.add_faults(*(fault for case in cases for fault in case.faults))
    store = Store(
        root, server, where, symbols_of([*cases, *made.bystanders[:20]]), made.truth, defaultdict(float)
    )
    store.fill(range(where.begin, begin - live), begin - live - 1)
    for now in range(begin - live, begin):
        store.fill([now], now)

    code, text = _update(store, begin)
    wrong, absent = store.judge(begin)
    held = store.held(absent, begin)

    def find(what: str, case: Case, evening: int, words: str) -> None:
        played.findings.append(Finding(what, case, "command", evening, words))

    for case in cases:
        if case.symbol in set(wrong["symbol"]) and not case.undetectable("established"):
            find("wrong", case, 0, "stored by the command")
        if case.symbol in held and case.symbol not in named_in(text):
            find("unnamed", case, 0, f"held, and not in what the command says: {_short(text)}")
        if case.symbol in held and code != _PARTIAL:
            find("result", case, 0, f"held, and the command ends with {code}: {_short(text)}")
    for now in range(begin + 1, begin + RIGHT_AGAIN):
        store.fill([now], now)
    code, text = _update(store, begin + RIGHT_AGAIN)
    if code != 0:
        find(
            "result", cases[0], RIGHT_AGAIN, f"all is right, and the command ends with {code}: {_short(text)}"
        )


def _update(store: Store, now: int) -> tuple[int, str]:
    """`update-daily` on an evening: its exit code, and all it says."""
    moment = store.market.evening(now)
    store.server.set_clock(moment)
    universe = store.home / "universe.yaml"
    code = store.market.code
    universe.write_text(yaml.safe_dump({code: [{"symbol": one, "name": one} for one in store.symbols]}))
    settings = {
        "home": store.home, "exchanges": code, "universe": universe, "source_url": store.server.url,
        "start": store.market.day(store.market.begin).isoformat(), "requests_per_second": 0, "attempts": 3,
        "retry_wait_seconds": 0.01, "min_coverage": 0, "now": moment.isoformat(),
    }  # fmt: skip
    given = {f"QUANT_ASSETS_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-P", "-m", "quant_assets.cli", "update-daily", "--exchange", code]
    ran = subprocess.run(
        command,
        env={**os.environ, **given, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def _short(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-400:]
