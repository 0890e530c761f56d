"""`quant-assets`: the command line. Exit codes: 0 all cells complete, 2 some partial, 1 failed."""

from __future__ import annotations

import sys
import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_assets.cli_store import register

if TYPE_CHECKING:
    from quant_assets.exchanges import Exchange
    from quant_assets.runs import Runner

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Daily stock prices as Dagster assets: as traded, with every hole named.",
    epilog="Settings are read from QUANT_ASSETS_… variables; the README lists them.",
)

ExchangeOption = Annotated[str | None, typer.Option("--exchange", help="Exchange code, e.g. ASX.")]


@app.command()
def demo() -> None:
    """Fills two exchanges from a replay server, 2012-01 to 2013-03-01, offline, and shows what came of it."""
    from quant_assets.console import console, progress
    from quant_assets.demo import demo_home, run_demo
    from resources.settings import load_settings

    home = load_settings().home
    console.print("Replaying 2012-01-02 … 2013-03-01: five recorded US symbols, forty generated ASX symbols.")
    with progress() as watcher:
        result = run_demo(home, watcher)
    store = demo_home(home).absolute() / "store"
    _print_demo(result, store)
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

    from quant_assets.console import progress
    from quant_assets.demo import run_demo_gcs
    from resources.settings import load_settings

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
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes any free one.")] = 8765,
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
        typer.Option(help="A made-up exchange, CODE:SYMBOLS:START:END[:SEED]; repeatable."),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="JSON list of faults (docs/replay.md describes them).")
    ] = None,
) -> None:
    """Serves recorded or generated history in Yahoo's protocol on loopback, until interrupted."""
    from quant_assets.console import console
    from quant_assets.replay.launch import ReplayConfig, parse_generated, serve

    if convention not in ("as_traded", "yahoo"):
        raise UsageProblem(f"--convention {convention!r}: say as_traded or yahoo")
    config = ReplayConfig(
        port=port,
        now=today,
        sampledata=not (history or generate) if sampledata is None else sampledata,
        history_files=[(file, convention) for file in history or []],
        generated=[parse_generated(text) for text in generate or []],
        faults_file=faults,
    )

    def ready(url: str) -> None:
        console.print(f"serving on {url}", soft_wrap=True)
        console.print(f"point a pipeline at it: QUANT_ASSETS_SOURCE_URL={url}", soft_wrap=True)

    serve(config, ready)


@app.command()
def backfill(
    exchange: Annotated[str, typer.Option(help="Exchange code, e.g. ASX.")],
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    end: Annotated[
        str | None, typer.Option(help="Last day, YYYY-MM-DD. Default: the last session over.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, comma-separated.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Ask again for what is there; take the source's values that differ."),
    ] = False,
) -> None:
    """Fills an exchange's cells of a range as one Dagster run, and what is derived from them."""
    from quant_assets.exchanges import exchange as find_exchange

    settings = _settings()
    found = _enabled(find_exchange(exchange, settings.exchanges_file))
    first = _date(start, "--start")
    last = _date(end, "--end") if end else _last_session(found)
    if last < first:
        raise UsageProblem(f"--start {first} is after --end {last}")
    _refuse_future(found, last, "--end")
    if first < settings.start:
        raise UsageProblem(
            f"--start {first} is before the first day of the grid, {settings.start} (QUANT_ASSETS_START sets it)"
        )
    wanted = [symbol.strip().upper() for symbol in (symbols or "").split(",") if symbol.strip()]
    if symbols is not None and not wanted:
        raise UsageProblem(f"--symbols {symbols!r} names no symbol; leave it out to ask for all")
    _fill([(found, _days(found, first, last))], symbols=wanted, force=force)


@app.command("update-daily")
def update_daily(
    exchange: ExchangeOption = None,
    day: Annotated[
        str | None,
        typer.Option("--date", help="The session, YYYY-MM-DD. Default: the last one that is over."),
    ] = None,
) -> None:
    """Fetches one session of an exchange, or of all enabled ones, and refreshes what is derived from it."""
    from quant_assets.exchanges import enabled
    from quant_assets.exchanges import exchange as find_exchange

    settings = _settings()
    if exchange:
        chosen = [_enabled(find_exchange(exchange, settings.exchanges_file))]
    else:
        chosen = enabled(settings.exchanges, settings.exchanges_file)
    work: list[tuple[Exchange, list[date]]] = []
    for one in chosen:
        session = _date(day, "--date") if day else _last_session(one)
        if len(chosen) > 1 and not one.calendar().is_session(session):
            # The others may have traded.
            print(f"{one.code}: no session on {session}")
            continue
        one.calendar().closes_at(session)
        _refuse_future(one, session, "--date")
        work.append((one, [session]))
    _fill(work)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port of the web page.")] = 3000,
    demo: Annotated[
        bool, typer.Option("--demo", help="On the demo's data, with its replay server beside it.")
    ] = False,
) -> None:
    """Opens Dagster (web page and daemon) on this store."""
    from quant_assets.ui import run_ui

    sys.exit(run_ui(_settings(), port, demo=demo))


register(app)


class UsageProblem(ValueError):
    """Something asked for on the command line cannot be done; the message names it and the remedy."""


def main() -> None:
    """Runs the command line; every error we know is one line and exit code 1."""
    from quant_assets.console import fail

    warnings.filterwarnings("ignore", module="dagster")
    try:
        app()
    except KeyboardInterrupt:
        fail("interrupted; what was written stays, and the same command goes on from there")
    except Exception as error:
        # Errors of our own say what to do; of all others the traceback is worth more than the message.
        ours = type(error).__module__.partition(".")[0] in ("quant_assets", "resources")
        if not ours and not isinstance(error, OSError):
            raise
        fail(str(error))


def _settings() -> Any:
    from resources.settings import load_settings

    return load_settings()


def _date(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageProblem(f"{option} {text!r} is no date; write YYYY-MM-DD") from error


def _enabled(exchange: Exchange) -> Exchange:
    settings = _settings()
    if exchange.code not in settings.exchanges:
        raise UsageProblem(
            f"{exchange.code} is not enabled; add it to QUANT_ASSETS_EXCHANGES={','.join(settings.exchanges)}"
        )
    return exchange


def _last_session(exchange: Exchange) -> date:
    last = exchange.calendar().last_session_over(_settings().clock(), exchange.delay)
    if last is None:
        raise UsageProblem(f"{exchange.code} has no session that is over")
    return last


def _refuse_future(exchange: Exchange, day: date, option: str) -> None:
    now = _settings().clock()
    if day > now.astimezone().date() + timedelta(days=1):
        raise UsageProblem(
            f"{option} {day} is in the future; the last session over is {_last_session(exchange)}"
        )
    calendar = exchange.calendar()
    if calendar.is_session(day) and not calendar.is_over(day, now, exchange.delay):
        raise UsageProblem(
            f"{option} {day}: the session of {exchange.code} is not over before "
            f"{calendar.closes_at(day) + exchange.delay:%Y-%m-%d %H:%M} UTC; "
            f"the last session over is {_last_session(exchange)}"
        )


def _days(exchange: Exchange, first: date, last: date) -> list[date]:
    weekdays = {day.weekday() for day in exchange.calendar().sessions(first, last)} | set(range(5))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in days if day.weekday() in weekdays]


def _fill(
    work: list[tuple[Exchange, list[date]]], *, symbols: list[str] | None = None, force: bool = False
) -> None:
    """Runs what is asked, prints what came of it, and exits with 0, 2 or 1."""
    from quant_assets.console import console, errors, progress
    from quant_assets.inventory import worst_holes
    from quant_assets.runs import RunFailed, Runner
    from resources.counters import DATA_REQUESTS, WRITES, counted
    from resources.manifest import Manifest
    from resources.tables import CATALOG, DAILY, object_key, read_table

    settings = _settings()
    problems: list[str] = []
    states: dict[str, int] = {}
    holes: list[tuple[str, str, str, int]] = []
    empty: list[str] = []
    with progress() as watcher, Runner(settings, watcher) as runner:
        runner.catalog()
        known = set(read_table(runner.store, object_key(CATALOG))["symbol"])
        if unknown := sorted(set(symbols or []) - known):
            raise UsageProblem(
                f"--symbols: not in the catalog: {', '.join(unknown)} (correct or add them to the universe file)"
            )
        for exchange, days in work:
            if not days:
                continue
            problems += _fill_one(runner, exchange, days, symbols or [], force)
            entries = Manifest(runner.store, DAILY).between(exchange.code, days[0], days[-1])
            asked = [entries[day.isoformat()] for day in days if day.isoformat() in entries]
            for entry in asked:
                states[entry.state.value] = states.get(entry.state.value, 0) + 1
            holes += worst_holes(asked)
            empty += [f"{e.partition}|{exchange.code}: {e.reason}" for e in asked if e.state == "failed"]
        try:
            runner.inventory()
        except RunFailed as error:
            # After a failure this only says that there is nothing to sum up.
            if not problems:
                problems.append(str(error))
    for symbol, outcome, reason, cells in holes[:20]:
        console.print(
            f"missing: {symbol} in {cells} cell(s): {outcome}: {reason}", markup=False, soft_wrap=True
        )
    if len(holes) > 20:
        console.print(f"missing: and {len(holes) - 20} more; see the cells' metadata in the UI")
    counts = " ".join(
        f"{state}={states.get(state, 0)}" for state in ("complete", "partial", "closed", "failed")
    )
    print(f"{counts} requests={counted(DATA_REQUESTS)} writes={counted(WRITES)}")
    if empty and not problems:
        # Nothing was asked this time: the source has stated it before, on the same day.
        problems.append(
            f"{len(empty)} cell(s) failed: {'; '.join(empty[:5])} (asked again on another day, or with --force)"
        )
    for problem in problems:
        errors.print(f"error: {' '.join(problem.split())}", style="red", markup=False, soft_wrap=True)
    if problems or states.get("failed"):
        sys.exit(1)
    if states.get("partial"):
        sys.exit(2)


def _fill_one(
    runner: Runner, exchange: Exchange, days: list[date], symbols: list[str], force: bool
) -> list[str]:
    from quant_assets.runs import RunFailed

    problems: list[str] = []
    try:
        runner.daily(exchange, days, symbols=symbols, force=force)
    except RunFailed as error:
        problems.append(str(error))
    try:
        # Also after a failure: the cells that did come are good.
        runner.derived(exchange, days[0], days[-1])
    except RunFailed as error:
        if not problems:
            problems.append(str(error))
    return problems


def _print_demo(result: Any, store: Path) -> None:
    from rich.table import Table

    from quant_assets.console import console

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
    console.print("open Dagster on this data: make ui   (or: quant-assets ui --demo)")


if __name__ == "__main__":
    main()
