"""The report of a run over one exchange as Markdown: made of the facts that are kept, so of any kept report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MOST_LINES = 20


def as_markdown(facts: Mapping[str, Any]) -> str:
    """A report (the JSON values of `FillReport.facts`, with `run` and `started` where known) as Markdown.

    What came (symbols by outcome, cells by state), what is missing, held or restated, requests and phases, and what
    to do next; of long lists the first 20. Facts that an earlier version did not keep are left out.
    """
    lines = [f"## {facts['exchange']}: {facts['result']}", ""]
    if "run" in facts:
        lines += [
            f"Run `{facts['run']}`, started {_second(facts.get('started', ''))}, mode {facts.get('mode', '')}.",
            "",
        ]
    if facts.get("error"):
        lines += [f"**Broken off**: {facts['error']}", ""]
    outcomes = {"ok": facts.get("succeeded", 0), **facts.get("failed", {})}
    skipped = f", nothing missing of {facts['skipped']}" if facts.get("skipped") else ""
    lines += [
        "| | |",
        "|---|---|",
        f"| symbols asked | {facts.get('requested', 0)} ({_counts(outcomes)}){skipped} |",
        f"| requests | {facts.get('requests', 0)} |",
        f"| cells | {_counts(facts.get('cells', {}))}; {facts.get('cells_written', 0)} written |",
        f"| rows missing | {_counts(facts.get('missing', {}))} |",
        f"| restatements | {_counts(facts.get('restatements', {}))} |",
        f"| held | {len(facts.get('held', ()))} ({facts.get('quarantined', 0)} new) |",
        f"| seconds | {_counts(facts.get('seconds', {}))} |",
        "",
    ]
    lines += _section("What to do next", facts.get("next", ()))
    lines += _section("Warnings", facts.get("warnings", ()))
    lines += _section("Held", (_held(item) for item in facts.get("held", ())))
    not_verified = facts.get("not_verified", {})
    lines += _section("Not asked again", (f"{symbol}: {why}" for symbol, why in not_verified.items()))
    return "\n".join(lines).rstrip() + "\n"


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items() if value) or "none"


def _second(moment: str) -> str:
    """A moment (ISO 8601) without the parts of its second."""
    return re.sub(r"\.\d+", "", str(moment))


def _section(title: str, entries: Iterable[str]) -> Sequence[str]:
    found = [" ".join(str(entry).split()) for entry in entries]
    if not found:
        return []
    more = [f"- … and {len(found) - _MOST_LINES} more"] if len(found) > _MOST_LINES else []
    return [f"**{title}**", "", *(f"- {entry}" for entry in found[:_MOST_LINES]), *more, ""]


def _held(item: Mapping[str, Any]) -> str:
    days = item["first"] if item["first"] == item["last"] else f"{item['first']}..{item['last']}"
    return f"{item['symbol']} {days}: {item['rule']} (`quant-assets quarantine show {item['item']}`)"
