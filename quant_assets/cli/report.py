"""`quant-assets report`: what the store holds, as pages for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.usage import UsageProblem, load, one_enabled

if TYPE_CHECKING:
    from quant_assets.resources.object_store import ObjectStore
    from quant_assets.resources.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command("report")(report)


def report(
    exchange: Annotated[str | None, typer.Option(help="Only this exchange's page. Default: all pages.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the page (with --exchange its own, else that over all) to this file, - to standard "
                     "output, and nothing to the store."),
    ] = None,
) -> None:  # fmt: skip
    """Makes the report pages anew, one self-contained HTML file each: inventory, coverage by month, freshness, worst
    symbols, what is held and restated, last runs, storage. They lie in the store, and the API serves them."""
    from quant_assets.cli.store import there

    settings = load()
    code = one_enabled(exchange, settings).code if exchange else None
    store = there(settings.store_location)
    made = make(settings, store)
    if code not in made:
        raise UsageProblem(
            f"--exchange {code}: the store has no cell of it; `quant-assets backfill --exchange {code}` asks for some"
        )
    if out is not None:
        if str(out) == "-":
            sys.stdout.write(made[code])
        else:
            out.write_text(made[code], encoding="utf-8")
            print(out)
        return
    from quant_assets.maintenance.report.keeping import keep_pages

    for place in keep_pages(store, {code: made[code]} if code else made).values():
        print(place)


def make(settings: Settings, store: ObjectStore) -> dict[str | None, str]:
    """The pages: by exchange code, and by None that over all. Keeps nothing.

    Raises ObjectDamaged, NewerFormat, StoreUnavailable, HomeUnavailable.
    """
    from datetime import UTC, datetime

    from quant_assets.defs.report_pages import made_pages
    from quant_assets.defs.run_outcomes import RunsKept
    from quant_assets.exchanges import enabled
    from quant_assets.instance import databases_of, open_instance

    exchanges = enabled(settings.exchanges, settings.exchanges_file)
    with open_instance(settings) as instance, databases_of(settings):
        kept = RunsKept(instance, store, settings.exchanges, settings.locks_folder, datetime.now(UTC))
        return made_pages(kept, exchanges, settings.clock())[1]
