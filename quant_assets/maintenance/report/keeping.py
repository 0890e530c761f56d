"""Makes the report pages and keeps them in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quant_assets.maintenance.report.figures import StoreReport
from quant_assets.maintenance.report.page import page_of, page_of_all
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import report_page_key


def pages(report: StoreReport, runs: Sequence[Mapping[str, Any]] = ()) -> dict[str | None, str]:
    """By exchange code the page of each, and by None the page over all.

    `runs`: the last ones, as `RunOutcome.facts` tells them.
    """
    made: dict[str | None, str] = {None: page_of_all(report, runs)}
    return made | {one.code: page_of(report, one.code, runs) for one in report.exchanges}


def keep_pages(store: ObjectStore, made: Mapping[str | None, str]) -> dict[str | None, str]:
    """Puts the pages into the store; answers where each lies. Raises StoreUnavailable."""
    for code, text in made.items():
        store.put(report_page_key(code), text.encode())
    return {code: store.uri(report_page_key(code)) for code in made}
