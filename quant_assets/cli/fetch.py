"""The commands that fetch: backfill a range, heal what is missing, update a day, sweep."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from quant_assets.cli.selection import Selection, select
from quant_assets.cli.this_call import LocalOption, StoreOption, WorkersOption
from quant_assets.cli.usage import (
    PhaseOption,
    UniverseOption,
    UsageProblem,
    chosen,
    load,
    one_enabled,
    read_date,
)

if TYPE_CHECKING:
    import polars as pl

    from quant_assets.exchanges import Exchange
    from quant_assets.ingest.plan import Mode
    from quant_assets.local_runs import RunFailed, Runner

ExchangeOption = Annotated[str | None, typer.Option("--exchange", help="Exchange code, e.g. ASX.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("backfill")(backfill)
    app.command("update-daily")(update_daily)
    app.command("sweep")(sweep)


def backfill(
    exchange: Annotated[
        str | None, typer.Option(help="Exchange code, e.g. ASX. With --missing all by default.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="First day, YYYY-MM-DD. With --missing the first one ever asked for by default."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day, YYYY-MM-DD. Default: the last session over.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these symbols, comma-separated.")] = None,
    universe: UniverseOption = None,
    phase: PhaseOption = None,
    mode: Annotated[
        str,
        typer.Option(
            help="incremental: ask for what is missing. force: ask again for what is there, too; what differs is "
            "recorded as a restatement and taken. verify: say what differs, change nothing (exit code 2 if any)."
        ),
    ] = "incremental",
    force: Annotated[bool, typer.Option("--force", help="Short for --mode force.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Heals what `gaps` lists: days never asked for, and holes.")
    ] = False,
    store: StoreOption = None,
    use_local: LocalOption = False,
    max_workers: WorkersOption = None,
) -> None:
    """Fills an exchange's cells of a range as one Dagster run, and what is derived from them."""
    from quant_assets.ingest.plan import Mode

    settings = load()
    if mode not in tuple(Mode):
        raise UsageProblem(f"--mode {mode!r}: write {', '.join(Mode)}")
    asked_mode = Mode.FORCE if force else Mode(mode)
    wanted = select(settings, symbols, universe, phase)
    if missing:
        if asked_mode is not Mode.INCREMENTAL:
            raise UsageProblem("--missing asks only for what is missing; leave --mode and --force out")
        _heal(exchange, start, end, wanted)
        return
    if exchange is None or start is None:
        raise UsageProblem("give --exchange and --start, or --missing to heal what is missing anywhere")
    (found,) = wanted.exchanges([one_enabled(exchange, settings)])
    first = read_date(start, "--start")
    last = read_date(end, "--end") if end else _last_session(found)
    if last < first:
        until = f"--end {last}" if end else f"the last session of {found.code} that is over, {last}"
        raise UsageProblem(f"--start {first} is after {until}")
    _refuse_future(found, last, "--end")
    _refuse_before_grid(first, "--start")
    if asked_mode is Mode.VERIFY:
        _verify(found, first, last, wanted)
    else:
        _fill([(found, _days(first, last))], wanted, mode=asked_mode)


def update_daily(
    exchange: ExchangeOption = None,
    day: Annotated[
        str | None,
        typer.Option("--date", help="The session, YYYY-MM-DD. Default: the last one that is over."),
    ] = None,
    universe: UniverseOption = None,
    phase: PhaseOption = None,
    store: StoreOption = None,
    use_local: LocalOption = False,
    max_workers: WorkersOption = None,
) -> None:
    """Fetches one session of an exchange, or of all enabled ones, and refreshes what is derived from it.

    In this order: catalog, prices, valuations (of the last session over alone: a snapshot is of now), weekly bars
    (when the week is over), history, profiles, report pages. One that fails leaves the others running; a line each
    says what came.
    """
    from quant_assets.cli.console import progress
    from quant_assets.cli.daily_update import DailyUpdate
    from quant_assets.local_runs import Runner

    settings = load()
    wanted = select(settings, None, universe, phase)
    exchanges = wanted.exchanges(chosen(exchange, settings))
    work: list[tuple[Exchange, date]] = []
    for one in exchanges:
        session = read_date(day, "--date") if day else _last_session(one)
        _refuse_before_grid(session, "--date")
        if len(exchanges) > 1 and not one.calendar().is_session(session):
            # The others may have traded.
            print(f"{one.code}: no session on {session}")
            continue
        _refuse_no_session(one, session)
        _refuse_future(one, session, "--date")
        work.append((one, session))
    with progress() as watcher, Runner(settings, watcher) as runner:
        code = DailyUpdate(runner, wanted).run(work)
    sys.exit(code)


def _refuse_before_grid(day: date, option: str) -> None:
    if day < (start := load().start):
        raise UsageProblem(
            f"{option} {day} is before the first day of the grid, {start} (QUANT_ASSETS_START sets it)"
        )


def _last_session(exchange: Exchange) -> date:
    last = exchange.calendar().last_session_over(load().clock(), exchange.delay)
    if last is None:
        raise UsageProblem(f"{exchange.code} has no session that is over")
    return last


def _refuse_no_session(exchange: Exchange, day: date) -> None:
    from quant_assets.market.calendars import CalendarError

    try:
        exchange.calendar().closes_at(day)
    except CalendarError as error:
        raise UsageProblem(f"--date: {error}") from error


def _refuse_future(exchange: Exchange, day: date, option: str) -> None:
    now = load().clock()
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


def _days(first: date, last: date) -> list[date]:
    """The days from first to last that have a cell: those on which an enabled exchange can have a session."""
    from quant_assets.exchanges import enabled
    from quant_assets.market.weeks import weekday

    settings = load()
    weekdays = frozenset[int]().union(
        *(one.session_weekdays() for one in enabled(settings.exchanges, settings.exchanges_file))
    )
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in days if weekday(day) in weekdays]


def sweep(
    exchange: ExchangeOption = None,
    universe: UniverseOption = None,
    phase: PhaseOption = None,
    store: StoreOption = None,
    use_local: LocalOption = False,
    max_workers: WorkersOption = None,
) -> None:
    """Compares the whole history of today's slice of symbols with the source; restatements are recorded and taken."""
    from quant_assets.cli.console import progress
    from quant_assets.local_runs import Runner
    from quant_assets.resources.counters import DATA_REQUESTS, WRITES, counted

    settings = load()
    wanted = select(settings, None, universe, phase)
    exchanges = wanted.exchanges(chosen(exchange, settings))
    with progress() as watcher, Runner(settings, watcher) as runner:
        runner.catalog()
        restated = 0
        selected = wanted.in_catalog(runner.store, [one.code for one in exchanges])
        for one in exchanges:
            runner.sweep(one, selected)
            restated += runner.restated(one.code)
            changed = runner.first_changed(one.code)
            if changed is not None:
                runner.derived(one, changed, _last_session(one))
        runner.inventory()
    print(f"sweep: ok restatements={restated} requests={counted(DATA_REQUESTS)} writes={counted(WRITES)}")


def _heal(exchange: str | None, start: str | None, end: str | None, wanted: Selection) -> None:
    """Fills everything between the first and the last day of each exchange that is missing and worth asking about."""
    from quant_assets.maintenance.inventory import first_day
    from quant_assets.resources.open_store import open_store

    settings = load()
    store = open_store(settings.store_location)
    work: list[tuple[Exchange, list[date]]] = []
    for one in wanted.exchanges(chosen(exchange, settings)):
        first = read_date(start, "--start") if start else first_day(store, one.code)
        if first is not None:
            last = read_date(end, "--end") if end else _last_session(one)
            work.append((one, _days(first, last)))
    if not work:
        raise UsageProblem(
            f"{store.location} holds no cell yet, and nothing was asked for, so nothing can be missing: backfill a "
            "range first"
        )
    _fill(work, wanted)


def _verify(exchange: Exchange, first: date, last: date, wanted: Selection) -> None:
    """Compares a range with the source, prints what differs, and exits with 2 if anything does."""
    from quant_assets.cli.console import console, progress
    from quant_assets.local_runs import Runner
    from quant_assets.resources.counters import DATA_REQUESTS, counted

    with progress() as watcher, Runner(load(), watcher) as runner:
        # What does not stand in the catalog is for the run to say.
        symbols = wanted.in_catalog(runner.store, [exchange.code]) if wanted.universes else wanted.symbols
        differs = runner.verify(exchange, first, last, symbols)
    for symbol, day, name, old, new, kind in watcher.differences:
        console.print(
            f"differs: {symbol} {day} {name}: {old} -> {new} ({kind})", markup=False, soft_wrap=True
        )
    print(f"verify: {'differs' if differs else 'ok'} requests={counted(DATA_REQUESTS)} writes=0")
    if differs:
        sys.exit(2)


def _fill(
    work: list[tuple[Exchange, list[date]]],
    wanted: Selection,
    *,
    mode: Mode | None = None,
) -> None:
    """Runs what is asked, prints what came of it, and exits with 0, 2 or 1."""
    import polars as pl

    from quant_assets.cli.console import progress
    from quant_assets.cli.outcome import told
    from quant_assets.local_runs import RunFailed, Runner
    from quant_assets.tables.layout import DAILY
    from quant_assets.tables.manifest import Entry, Manifest
    from quant_assets.tables.quarantine import claims

    settings = load()
    problems: list[RunFailed] = []
    asked: list[tuple[str, Entry]] = []
    held: list[pl.DataFrame] = []
    restated = 0
    with progress() as watcher, Runner(settings, watcher) as runner:
        runner.catalog()
        codes = [exchange.code for exchange, _ in work]
        symbols = wanted.in_catalog(runner.store, codes)
        for exchange, days in work:
            if not days:
                continue
            problems += _fill_one(runner, exchange, days, symbols, mode)
            restated += runner.restated(exchange.code)
            entries = Manifest(runner.store, DAILY).between(exchange.code, days[0], days[-1])
            asked += [(exchange.code, entries[d.isoformat()]) for d in days if d.isoformat() in entries]
            asked_for = symbols or runner.symbols(exchange.code)
            held.append(claims(runner.store, exchange.code).filter(pl.col("symbol").is_in(asked_for)))
        try:
            runner.inventory()
        except RunFailed as error:
            # After a failure, or where all that came is held, this only says that there is nothing to sum up.
            if not problems and all(waiting.is_empty() for waiting in held):
                problems.append(error)
    sys.exit(told(asked, problems, held, {}, restated))


def _fill_one(
    runner: Runner, exchange: Exchange, days: list[date], symbols: list[str], mode: Mode | None
) -> list[RunFailed]:
    from quant_assets.ingest.plan import Mode
    from quant_assets.local_runs import RunFailed

    problems: list[RunFailed] = []
    try:
        runner.daily(exchange, days, symbols=symbols, mode=mode or Mode.INCREMENTAL)
    except RunFailed as error:
        problems.append(error)
    try:
        # Also after a failure: the cells that did come are good. And what was restated may lie before the range.
        changed = runner.first_changed(exchange.code)
        runner.derived(exchange, min(days[0], changed or days[0]), days[-1])
    except RunFailed as error:
        if not problems:
            problems.append(error)
    return problems
