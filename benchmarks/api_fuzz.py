"""Thousands of questions to the API, made from its OpenAPI document with keys and without: `make api-fuzz`.

Prints one line a caller and one of all; exits with 1 where an answer is a 5xx, is not as the document says, or a
request that changes something was let through without a key.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fastapi import FastAPI

from quant_assets.api.app import create_app
from quant_assets.operations.keys import Scope, new_key
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.settings import Settings
from quant_assets_tests.api.desk import FIRST, NOW, fill_desk
from quant_assets_tests.api.fuzzing import Fuzzed, fuzz

_SCOPES: tuple[Scope | None, ...] = (None, "read", "operate", "admin")
_MOST_SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        apps = _apps(Path(folder))
        app, _ = apps[None]
        operations = sum(len(methods) for methods in app.openapi()["paths"].values())
        share = -(-asked.cases // len(apps))
        all_of_them = Fuzzed()
        for number, (scope, (app, key)) in enumerate(apps.items()):
            found = Fuzzed()
            # Some operations take few different requests: those that are lacking come from the next seeds.
            for again in itertools.count():
                if found.cases >= share:
                    break
                examples = -(-(share - found.cases) // (operations * 2))
                found += fuzz(app, examples, key=key, number=(asked.seed * 100 + number) * 100 + again)
            _tell(scope or "no key", found, time.perf_counter() - began)
            for wrong in [*found.opened, *found.failures][:_MOST_SHOWN]:
                print(f"  {wrong}", flush=True)
            all_of_them += found
    _tell("all", all_of_them, time.perf_counter() - began)
    if all_of_them.failures or all_of_them.opened or any(s >= 500 for s in all_of_them.statuses):
        sys.exit(1)


def _apps(home: Path) -> dict[Scope | None, tuple[FastAPI, str | None]]:
    """By the scope of the caller's key an application and the key, all on one store."""
    store = LocalObjectStore(home / "store")
    fill_desk(store)
    found: dict[Scope | None, tuple[FastAPI, str | None]] = {}
    for scope in _SCOPES:
        text, key = new_key(scope or "nobody", scope or "read")
        settings = Settings(
            home=home, store=store.location, now=NOW, start=FIRST, api_keys=key.entry(), api_rate=0,
            api_operating_rate=0, api_timeout_seconds=120,
        )  # fmt: skip
        found[scope] = create_app(settings), text if scope else None
    return found


def _tell(name: str, found: Fuzzed, seconds: float) -> None:
    statuses: Counter[int] = found.statuses
    print(
        f"api-fuzz {name}: cases={found.cases} 5xx={sum(n for s, n in statuses.items() if s >= 500)} "
        f"violations={len(found.failures)} open={len(found.opened)} "
        f"statuses={','.join(f'{s}:{n}' for s, n in sorted(statuses.items()))} seconds={seconds:.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
