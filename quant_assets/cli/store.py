"""The commands that care for a store as a whole: what is in it, is it sound, move it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("show-manifest")(show_manifest)
    app.command("verify")(verify)
    app.command("rebuild-manifest")(rebuild)
    app.command("migrate")(migrate)


def show_manifest(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """What the store holds, per exchange: cells by state, rows, bytes, freshness."""
    from quant_assets.cli.console import console
    from quant_assets.exchanges import enabled
    from quant_assets.maintenance.inventory import manifest_summary
    from quant_assets.resources.settings import load_settings

    settings = load_settings()
    store = _open(settings.store_location)
    exchanges = enabled(settings.exchanges, settings.exchanges_file)
    summary = manifest_summary(store, exchanges)
    if as_json:
        print(json.dumps({"store": store.location, "exchanges": summary}, indent=2))
        return
    console.print(f"store: {store.location}", soft_wrap=True)
    console.print(_summary_table(summary))


def verify() -> None:
    """Reads every object against what is recorded of it; names what is damaged, not recorded, or none of ours, and
    exits with 1 if anything is."""
    from quant_assets.maintenance.verify import verify_store
    from quant_assets.resources.settings import load_settings

    store = there(load_settings().store_location)
    with _bar("reading objects") as step:
        result = verify_store(store, step)
    for kind, problems in (
        ("damaged", result.damaged), ("unrecorded", result.unrecorded), ("stray", result.strays),
    ):  # fmt: skip
        for problem in problems.values():
            print(f"{kind}: {problem}")
    print(
        f"verify: {'ok' if result.sound else 'failed'} objects={result.objects} damaged={len(result.damaged)} "
        f"unrecorded={len(result.unrecorded)} stray={len(result.strays)}"
    )
    if not result.sound:
        sys.exit(1)


def rebuild() -> None:
    """Makes the manifest anew: from the objects, the calendars and the record of what was asked for. Nothing else may
    write to the store meanwhile."""
    from quant_assets.exchanges import known
    from quant_assets.maintenance.rebuild import rebuild_manifest
    from quant_assets.resources.settings import load_settings

    settings = load_settings()
    store = there(settings.store_location)
    with _bar("reading footers") as step:
        recorded = rebuild_manifest(
            store, exchanges=known(settings.exchanges_file), now=settings.clock(), on_object=step
        )
    print(f"rebuild-manifest: ok objects={recorded}")


def migrate(
    source: Annotated[
        str, typer.Option("--from", help="Where the tables are: a folder or gs://bucket/prefix.")
    ],
    target: Annotated[str, typer.Option("--to", help="Where they are to go.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report to this JSON file.")] = None,
) -> None:
    """Copies a store to another home and verifies every object; run it again to continue one that was cut off."""
    from quant_assets.maintenance.migrate import migrate_store

    with _bar("moving objects") as step:
        result = migrate_store(
            _open(source), _open(target), dry_run=dry_run, on_object=step, on_plan=step.expect
        )
    if report is not None:
        report.write_text(json.dumps(asdict(result), indent=2), encoding="utf-8")
    for problem in list(result.failed.values())[:20]:
        print(f"failed: {problem}")
    word = "failed" if result.failed else "dry-run" if dry_run else "ok"
    print(
        f"migrate: {word} objects={result.objects} copied={result.copied} already_there={result.already_there} "
        f"verified={result.verified} failed={len(result.failed)} rows={result.rows} bytes={result.bytes}"
    )
    if result.failed:
        sys.exit(1)


class _Step:
    """Advances a progress bar by one when called."""

    def __init__(self, advance: Callable[[], None], expect: Callable[[int], None]) -> None:
        self._advance = advance
        self.expect = expect

    def __call__(self) -> None:
        self._advance()


@contextmanager
def _bar(title: str) -> Generator[_Step]:
    from rich.progress import Progress

    from quant_assets.cli.console import errors

    # Without a terminal there is no bar to redraw, and it would leave an empty line behind.
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield _Step(lambda: progress.advance(task), lambda total: progress.update(task, total=total))


def _open(location: str) -> Any:
    from quant_assets.resources.open_store import open_store

    return open_store(location)


def there(location: str) -> Any:
    """The store, which must hold something: care for a store that is not there would always find it sound."""
    from quant_assets.resources.object_store import StoreUnavailable, is_claimed
    from quant_assets.tables.layout import TOP_LEVEL

    store = _open(location)
    if not is_claimed(store, TOP_LEVEL) and next(iter(store.list("")), None) is None:
        raise StoreUnavailable(
            f"{store.location} holds no tables: is it the store you mean (QUANT_ASSETS_STORE)?"
        )
    return store


def _summary_table(summary: dict[str, dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(
        "exchange",
        "complete",
        "partial",
        "closed",
        "failed",
        "rows",
        "MB",
        "absent",
        "last complete",
        "weeks",
    )
    for code, facts in summary.items():
        cells = facts["cells"]
        table.add_row(
            code,
            *(str(cells[state]) for state in ("complete", "partial", "closed", "failed")),
            f"{facts['rows']:,}",
            f"{facts['bytes'] / 1e6:.1f}",
            str(len(facts["absent"])),
            facts["last_complete"] or "-",
            str(facts["weeks"]),
        )
    return table
