"""Jobs asked of the API on the real daemon: every word of a job's status, and what must never happen to one.

    make jobs-on-daemon         an exchange of 40 symbols over fourteen months, on a replay server

Wanted: an id in less than a second while a backfill runs; the same key twice is one job; of a cancelled job the
source is asked nothing more; an API that was killed forgets none.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from quant_assets.local_runs import Runner
from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start
from quant_assets.resources.settings import Settings
from quant_assets_tests.e2e.api import ApiProcess
from quant_assets_tests.e2e.daemon import running_daemon, wait_until

FIRST, NOW = date(2012, 1, 2), datetime(2013, 3, 1, 23, tzinfo=UTC)
WORDS = {"pending", "downloading_data", "running", "completed", "partial", "failed", "cancelled"}


def main() -> int:
    """Runs it; 1 where something is not as wanted."""
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listed = GeneratedExchange("ASX", symbols=40, seed=7, start=FIRST, end=NOW.date())
        source = stack.enter_context(start(ReplayConfig(now=NOW, sampledata=True, generated=[listed])))
        made_up = (e for e in source.catalog() if e["exchange"] == "ASX" and not e["delisted_on"])
        symbols = sorted(entry["symbol"] for entry in made_up)
        universe = home / "universe.yaml"
        universe.write_text(yaml.safe_dump({"ASX": symbols, "US": ["AAPL", "IBM", "MSFT"]}))
        settings = Settings(
            home=home, exchanges=("ASX", "US"), universe=universe, start=FIRST, source_url=source.url,
            requests_per_second=0, concurrency=2, attempts=1, now=NOW, valuations=False,
        )  # fmt: skip
        with Runner(settings) as runner:
            runner.catalog()
        api = ApiProcess(settings)
        stack.callback(api.kill)
        api.begin()
        seen: set[str] = set()

        def wanted(holds: bool, what: str) -> None:
            print(f"  {'ok' if holds else 'NOT SO'}: {what}", flush=True)
            if not holds:
                problems.append(what)

        def followed(job: str, expected: str) -> dict[str, Any]:
            words, state = api.follow(job)
            seen.update(words)
            facts = {name: state[name] for name in ("note", "warnings", "progress") if state[name]}
            print(f"{job} {state['kind']}: {' → '.join(words)} {facts}", flush=True)
            wanted(words[-1] == expected, f"it ended {expected}")
            return state

        def backfill(year: int, month: int, **more: Any) -> dict[str, Any]:
            days = {"start": f"{year}-{month:02d}-02", "end": f"{year}-{month + 1:02d}-28"}
            return {"kind": "backfill", "exchange": "ASX", **days, **more}

        slow = {"kind": "slow", "times": "persistent"}
        source.add_faults(*(slow | {"symbol": symbol, "seconds": 6} for symbol in ("AAPL", "IBM", "MSFT")))
        long = backfill(2012, 3) | {"exchange": "US", "end": "2012-12-31"}
        job, took = api.ask(long, "tonight")
        print(f"before any daemon: {api.state(job)['status']}, {api.state(job)['note']}")
        seen.add(api.state(job)["status"])
        stack.enter_context(running_daemon(settings, "jobs-daemon.log"))
        wait_until(lambda: api.state(job)["status"] == "downloading_data", pause=0.3)
        took = max(api.ask(backfill(2012, 1), f"meanwhile {n}")[1] for n in range(3))
        wanted(took < 1, f"an id in {took * 1000:.0f} ms while a backfill runs")
        wanted(api.ask(long, "tonight")[0] == job, "the same key twice is one job")
        others = [one["id"] for one in api.call("GET", "/v1/jobs?status=pending")["jobs"]]
        wanted(len(others) == 3, f"{len(others)} others are pending")
        for one in others:
            state = api.call("DELETE", f"/v1/jobs/{one}")
            print(f"{one} cancelled while pending: {state['status']}")
        followed(job, "completed")
        asked = source.stats()["chart_data"]
        wanted(set(asked.values()) == {1}, "each symbol was asked once")

        source.clear_faults()
        source.add_faults(slow | {"seconds": 0.5})
        source.reset_stats()
        job, _ = api.ask(backfill(2012, 1))
        wait_until(lambda: api.state(job)["progress"]["symbols_done"] > 2, pause=0.2)
        began = time.monotonic()
        api.call("DELETE", f"/v1/jobs/{job}")
        told, at_cancel = time.monotonic() - began, sum(source.stats()["chart_data"].values())
        followed(job, "cancelled")
        ended = sum(source.stats()["chart_data"].values())
        print(f"cancelled: answered after {told:.1f} s, over after {time.monotonic() - began:.1f} s")
        time.sleep(5)
        later = sum(source.stats()["chart_data"].values())
        wanted(
            later == ended < len(symbols) and ended <= at_cancel + 3 * settings.concurrency,
            f"asked {at_cancel} of {len(symbols)} symbols when cancelling was answered, {ended} when the job had "
            f"ended, {later} 5 s later",
        )

        source.clear_faults()
        source.add_faults({"kind": "server_error_500_json", "symbol": symbols[0], "times": "persistent"})
        job, _ = api.ask(backfill(2012, 5))
        followed(job, "partial")
        source.add_faults({"kind": "server_error_500_json", "times": "persistent"})
        job, _ = api.ask(backfill(2013, 1))
        followed(job, "failed")

        before = {one["id"]: one["status"] for one in api.call("GET", "/v1/jobs?limit=500")["jobs"]}
        api.kill()
        api.begin()
        after = {one["id"]: one["status"] for one in api.call("GET", "/v1/jobs?limit=500")["jobs"]}
        wanted(before == after and len(after) >= 7, f"an API that was killed knows all {len(after)} jobs")
        wanted(seen == WORDS, f"every word was reached: {', '.join(sorted(seen))}")
    print("jobs: " + ("ok" if not problems else f"{len(problems)} problem(s): {'; '.join(problems)}"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
