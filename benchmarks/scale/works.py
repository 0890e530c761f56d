"""All rows of the table."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.scale.commands import COMMANDS
from benchmarks.scale.derived import DERIVED
from benchmarks.scale.fills import FILLS
from benchmarks.scale.reads import READS
from benchmarks.scale.work import Work

_EVERYWHERE = ("one_symbol", "one_symbol_split", "gaps", "size")
_ALL = [*FILLS, *DERIVED, *READS, *COMMANDS]

SUSPENDED: dict[str, Work] = {
    f"{work.name}_suspended": replace(work, name=f"{work.name}_suspended")
    for work in _ALL
    if work.name in _EVERYWHERE
}
"""Works that are measured again on a store in which symbols are suspended every day."""

WORKS: dict[str, Work] = {work.name: work for work in _ALL} | SUSPENDED
