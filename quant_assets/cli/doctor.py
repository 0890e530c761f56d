"""`quant-assets doctor`: whether all is there that a deployment needs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from quant_assets.cli.usage import load


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("doctor")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Looks at all that runs need: home, store, Dagster, source, clock, calendars, universe, cache, keys,
    alerts, limits.

    Exit code 0: all is well; 2: something deserves a look; 1: something does not work. Each says what to do.
    """
    from quant_assets.doctor import examine

    findings = examine(load())
    counts = Counter(finding.state for finding in findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            remedy = f" ({finding.remedy})" if finding.remedy else ""
            print(f"{finding.state:8} {finding.part:10} {finding.detail}{remedy}")
        word = "failed" if counts["failed"] else "warning" if counts["warning"] else "ok"
        print(f"doctor: {word} ok={counts['ok']} warnings={counts['warning']} failed={counts['failed']}")
    sys.exit(1 if counts["failed"] else 2 if counts["warning"] else 0)
