"""What the Dagster runs that fill daily cells have in common: their rules, and what they record of a fill."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import dagster as dg
import orjson
import polars as pl

from quant_assets.catalog.build import followed
from quant_assets.defs.partition_keys import affected_partitions
from quant_assets.defs.progress import listener
from quant_assets.defs.rendering import markdown_table
from quant_assets.defs.run_progress import RunProgress
from quant_assets.exchanges import Exchange
from quant_assets.ingest.context import FillRules, Listeners
from quant_assets.ingest.plan import Plan
from quant_assets.ingest.report import FillReport
from quant_assets.ingest.report_text import as_markdown
from quant_assets.resources.settings import Settings
from quant_assets.resources.source import FetchResult
from quant_assets.resources.turns import FileTurns, Turns, open_turns
from quant_assets.tables.layout import CATALOG
from quant_assets.tables.manifest import Entry

RESULT_TAG = "quant_assets/result"
HELD_TAG = "quant_assets/held"
DIFFERS_TAG = "quant_assets/differs"
"""The tag of a verification: the first values that differ, in words."""
_MOST_NAMED = 20
_UNDER_WAY = "under way "


def rules_of(settings: Settings) -> dict[str, FillRules]:
    """By exchange code: what the settings demand of its fills."""
    turns = open_turns(settings)
    return {
        code: FillRules(
            settings.spill_folder,
            settings.look_back_sessions,
            settings.least_coverage(code),
            settings.answers_folder,
            turns,
        )
        for code in settings.exchanges
    }


def listeners(
    code: str,
    progress: RunProgress,
    cells: Callable[[FillReport, Mapping[date, Entry]], None] = lambda _, __: None,
) -> Listeners:
    """Tells the run's page, and whoever listens in this process, how a fill of an exchange is getting on, and `cells`
    of each batch."""

    def plan(found: Plan) -> None:
        symbols, wanted = len(found.starts()), len(found.wanted)
        progress.planned(symbols, wanted)
        listener().planned(code, symbols, wanted)

    def symbol(result: FetchResult) -> None:
        progress.symbol(result)
        listener().symbol_done()

    def cell(_: date) -> None:
        progress.cell()
        listener().cell_done()

    return Listeners(cells=cells, plan=plan, symbol=symbol, cell=cell)


@contextmanager
def one_fill_at_a_time(log: dg.DagsterLogManager, rules: FillRules, code: str) -> Generator[str]:
    """Waits until no other run or command fills the exchange (of this home, or on any machine that shares its Redis),
    and says so.

    Two fills that overlap would ask for the same symbols twice: whoever comes second plans once the first has
    written, finds its cells, and asks for the rest. Others on the same store are kept from harm by conditional
    puts alone. Answers `fill_turn` as it was when the turn came. Raises Interrupted.
    """

    def on_wait() -> None:
        log.info(f"another run or command fills {code}; this one goes on when it is done")
        listener().waiting(code)

    turns, name = _turns_of(rules), f"fill-{code}"
    with turns.hold(name, on_wait):
        before = turns.note(name)
        if before.startswith(_UNDER_WAY):
            # That fill was killed: what was planned while it ran knows only part of what it has written.
            before = uuid.uuid4().hex
        turns.write_note(name, _UNDER_WAY + uuid.uuid4().hex)
        try:
            yield before
        finally:
            # A full disk has been reported by then, and the next fill plans for itself.
            with suppress(OSError):
                turns.write_note(name, uuid.uuid4().hex)


def fill_turn(turns: Turns, code: str) -> str:
    """A text that is another one whenever a fill of the exchange has begun or ended since."""
    return turns.note(f"fill-{code}")


def _turns_of(rules: FillRules) -> Turns:
    return rules.turns or FileTurns(rules.spill_folder.parent / "locks")


def symbols_of(catalog: pl.DataFrame, exchange: str, only: Sequence[str]) -> pl.DataFrame:
    """The catalog's symbols of an exchange. Raises dagster's Failure when there is none, or `only` names others."""
    symbols = followed(catalog, exchange)
    if symbols.is_empty():
        raise dg.Failure(
            f"the catalog has no symbol of {exchange}: add some to the universe file and materialize {CATALOG}",
            allow_retries=False,
        )
    unknown = sorted(set(only) - set(catalog["symbol"]))
    if unknown:
        raise dg.Failure(
            f"not in the catalog: {', '.join(unknown)} (add them to the universe file and materialize {CATALOG})",
            allow_retries=False,
        )
    return symbols


def report_metadata(reports: Sequence[FillReport]) -> dict[str, dg.MetadataValue[str]]:
    """The reports of a run as its page shows them; none where the run came to none."""
    text = "\n".join(as_markdown(report.facts()) for report in reports)
    return {"report": dg.MetadataValue.md(text)} if text else {}


def worst_result(reports: Sequence[FillReport]) -> str:
    """The result of a run from those of its exchanges: FAILED only where nothing of any is usable."""
    results = {report.result for report in reports}
    if results == {"FAILED"}:
        return "FAILED"
    return "SUCCESS" if results <= {"SUCCESS"} else "PARTIAL"


def run_tags(reports: Sequence[FillReport]) -> dict[str, str]:
    """What concerns a run and none of its cells: its result, requests, cells by state, and who has something held."""
    states = Counter(entry.state.value for report in reports for entry in report.cells.values())
    held = sorted({symbol for report in reports for symbol in report.waiting["symbol"].unique()})
    more = [f"and {len(held) - _MOST_NAMED} more"] if len(held) > _MOST_NAMED else []
    return {
        **({HELD_TAG: ", ".join([*held[:_MOST_NAMED], *more])} if held else {}),
        RESULT_TAG: worst_result(reports),
        "quant_assets/requests": str(sum(report.requests for report in reports)),
        "quant_assets/cells": " ".join(f"{state}={count}" for state, count in sorted(states.items()))
        or "none",
    }


def log_report(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, report: FillReport, exchange: Exchange
) -> None:
    """Writes to the run's log what came of a fill: warnings, restatements and what they affect, counts."""
    for warning in report.warnings:
        context.log.warning(warning)
    if not report.waiting.is_empty():
        context.log.warning(
            f"{report.exchange}: held, and asked about again by the next run (quant-assets quarantine show ID):\n"
            + markdown_table(report.held.drop("decision"))
        )
    if not report.restatements.is_empty():
        affected = ", ".join(affected_partitions(exchange, report.restated_days))
        context.log.warning(
            f"{report.exchange}: {report.restatements.height} restatement(s); affected: {affected}\n"
            + markdown_table(report.restatements.drop("run"))
        )
    context.log.info(orjson.dumps(report.facts(), option=orjson.OPT_INDENT_2).decode())
