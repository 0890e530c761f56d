"""`quant-assets`: the command line.

Exit codes: 0 all cells complete or closed; 2 something usable came and something is missing, or an option or argument
is wrong; 1 nothing usable, or an error; 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets._version import __version__
from quant_assets.cli import (
    alerts,
    audit,
    cache,
    doctor,
    export,
    fetch,
    instance,
    jobs,
    keys,
    metrics,
    quarantine,
    report,
    review,
    runs,
    serve,
    store,
    universes,
    worker,
)
from quant_assets.cli.usage import UsageProblem, load
from quant_assets.errors import QuantAssetsError

if TYPE_CHECKING:
    from quant_assets.dev.demo import DemoResult

FAILED, USAGE, INTERRUPTED = 1, 2, 130

# Of what Typer raises about options only this one is public; its base is the base of all of them.
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Daily stock prices as Dagster assets: as traded, with every hole named.",
    epilog="Settings are read from QUANT_ASSETS_… variables; the README lists them.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"quant-assets {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo() -> None:
    """Fills two exchanges from a replay server, 2012-01 to 2013-03-01, offline, and shows what came of it."""
    from quant_assets.cli.console import console, progress
    from quant_assets.dev.demo import demo_home, run_demo
    from quant_assets.resources.settings import load_settings

    home = load_settings().home
    console.print("Replaying 2012-01-02 … 2013-03-01: five recorded US symbols, forty generated ASX symbols.")
    with progress() as watcher:
        result = run_demo(home, watcher)
    folder = demo_home(home).absolute() / "store"
    _print_demo(result, folder)
    states = " ".join(
        f"{state}={result.states[state]}" for state in ("complete", "partial", "closed", "failed")
    )
    print(f"demo: ok {states} requests={result.requests} writes={result.writes} seconds={result.seconds:.1f}")


@app.command("demo-gcs")
def demo_gcs(
    bucket: Annotated[
        str | None, typer.Option(help="A bucket of the emulator that STORAGE_EMULATOR_HOST names.")
    ] = None,
) -> None:
    """The demo with its tables on a Google Cloud Storage emulator, compared object by object with the local run."""
    import time

    from quant_assets.cli.console import progress
    from quant_assets.dev.demo import run_demo_gcs
    from quant_assets.resources.settings import load_settings

    started = time.monotonic()
    with progress() as watcher:
        compared, requests = run_demo_gcs(load_settings().home, bucket, watcher)
    for key in compared.differing[:20]:
        print(f"differs: {key}")
    word = "failed" if compared.differing else "ok"
    print(
        f"demo-gcs: {word} objects={compared.objects} differing={len(compared.differing)} "
        f"requests={requests} seconds={time.monotonic() - started:.1f}"
    )
    if compared.differing:
        sys.exit(1)


@app.command()
def replay(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")
    ] = 8765,
    today: Annotated[
        str | None,
        typer.Option(
            help="The server's clock: a date (its end, UTC) or an instant. Default: the real clock."
        ),
    ] = None,
    sampledata: Annotated[
        bool | None,
        typer.Option(
            help="Serve the recorded US symbols AAPL, FB, GOOG, IBM, MSFT, 2000 to 2013. "
            "Default: yes, when nothing else is named."
        ),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV with symbol,date,open,high,low,close,volume,dividend,split_ratio; repeatable."
        ),
    ] = None,
    convention: Annotated[
        str, typer.Option(help="What the CSV files hold: as_traded, or yahoo (split-adjusted) values.")
    ] = "as_traded",
    generate: Annotated[
        list[str] | None,
        typer.Option(help="A made-up exchange, CODE:SYMBOLS:START:END[:SEED[:THIN[:EVENTS]]]; repeatable."),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="JSON list of faults; --list-faults and docs/replay.md describe them.")
    ] = None,
    spells: Annotated[
        Path | None,
        typer.Option(help="JSON list of which symbol stands for which company when; see docs/replay.md."),
    ] = None,
    list_faults: Annotated[
        bool, typer.Option("--list-faults", help="Lists the kinds of fault with their fields, and ends.")
    ] = False,
    exchanges_file: Annotated[
        Path | None,
        typer.Option(
            envvar="QUANT_ASSETS_EXCHANGES_FILE", help="YAML file of further exchanges, as for the platform."
        ),
    ] = None,
) -> None:
    """Serves recorded or generated history in Yahoo's protocol on loopback, until interrupted."""
    from quant_assets.cli.console import console
    from quant_assets.replay.errors import ReplayError
    from quant_assets.replay.launch import ReplayConfig, parse_generated, serve

    if list_faults:
        from quant_assets.replay.kinds import listing

        console.print(listing(), soft_wrap=True, markup=False, highlight=False)
        return
    if convention not in ("as_traded", "yahoo"):
        raise UsageProblem(f"--convention {convention!r}: write as_traded or yahoo")

    def ready(url: str) -> None:
        console.print(f"serving on {url}", soft_wrap=True)
        console.print(f"point a pipeline at it: QUANT_ASSETS_SOURCE_URL={url}", soft_wrap=True)

    try:
        config = ReplayConfig(
            port=port,
            now=today,
            sampledata=not (history or generate) if sampledata is None else sampledata,
            history_files=[(file, convention) for file in history or []],
            generated=[parse_generated(text) for text in generate or []],
            faults_file=faults,
            spells_file=spells,
            exchanges_file=exchanges_file,
        )
        serve(config, ready)
    except ReplayError as error:
        # All that it is told stands in its options.
        raise UsageProblem(f"replay: {error}") from error


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web page.")] = 3000,
    demo: Annotated[
        bool, typer.Option("--demo", help="On the demo's data, with its replay server beside it.")
    ] = False,
) -> None:
    """Opens Dagster (web page and daemon) on this store."""
    from quant_assets.cli.dagster_ui import run_ui

    sys.exit(run_ui(load(), port, demo=demo))


for part in (
    fetch, universes, review, quarantine, store, export, serve, keys, jobs, audit, cache, runs, instance, doctor,
    alerts, metrics, report, worker,
):  # fmt: skip
    part.register(app)
audit.record_operations(app)


def main() -> None:
    """Runs the command line; an error of ours, or of the system, is one line on standard error."""
    from quant_assets.cli.console import fail, system_error

    warnings.filterwarnings("ignore", module="dagster")
    try:
        # Typer turns an interrupt into its own silent 130; the words are ours.
        code: object = app(prog_name="quant-assets", standalone_mode=False)
    except _WRONG_USAGE as error:
        text: str = getattr(error, "format_message", error.__str__)()
        if text.startswith("Usage:"):
            # A group of commands without one of them: this is its help.
            print(text, file=sys.stderr)
            sys.exit(USAGE)
        fail(f"{text.rstrip('.')} (--help lists what there is)", USAGE)
    except UsageProblem as error:
        fail(str(error), USAGE)
    except QuantAssetsError as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(system_error(error), FAILED)
    if code == INTERRUPTED:
        fail("interrupted: what was written stays, and the same command goes on from there", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _print_demo(result: DemoResult, store: Path) -> None:
    from rich.table import Table

    from quant_assets.cli.console import console

    table = Table(
        "exchange", "symbols", "complete", "partial", "closed", "failed", "rows", "MB", "quality", "fresh to"
    )
    for row in result.inventory.iter_rows(named=True):
        table.add_row(
            row["exchange"],
            str(row["symbols"]),
            *(str(row[f"cells_{state}"]) for state in ("complete", "partial", "closed", "failed")),
            f"{row['rows']:,}",
            f"{row['bytes'] / 1e6:.1f}",
            f"{result.profiles[row['exchange']]:.1f}",
            str(row["last_complete_session"]),
        )
    console.print(table)
    console.print(f"weekly rows: {result.weekly_rows:,}")
    console.print(
        "A partial cell names its missing symbols: the generated exchange has suspensions, and they show."
    )
    console.print(f"files: {store}", soft_wrap=True)
    console.print("read one with polars:")
    console.print(
        f'  {sys.executable} -c "import polars as pl; '
        f"print(pl.read_parquet('{store}/price_history/exchange=US/year=2012.parquet'))\"",
        soft_wrap=True,
        markup=False,
    )
    console.print("open Dagster on this data: quant-assets ui --demo   (make ui)")
    console.print("charts, cells and the API: quant-assets serve --demo   (make serve)")


if __name__ == "__main__":
    main()
