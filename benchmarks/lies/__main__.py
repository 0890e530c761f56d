"""Lies told by a source, and what is stored of them: every kind, on a first backfill and on an established store.

    python -m benchmarks.lies --seed 1
    python -m benchmarks.lies --kind split_repeated --case '*at -3*'

Each case is one symbol. An established store is filled honestly, the last fifteen sessions day by day; then for 1, 2
or 5 evenings the replay server lies about the symbol, then it tells the truth again. A first backfill meets the lie
on its first evening. Every evening what is stored is compared with what was traded, and three sessions after the
source is right it must be equal to it. The last line says how that went; exit code 1 unless all is well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lies.cases import BYSTANDER, HONEST, Case, Cases, Choice, make_cases, symbols_of
from benchmarks.lies.command_line import ask_command_line
from benchmarks.lies.honest_markets import Honest, honest_markets
from benchmarks.lies.market import EVENINGS, RIGHT_AGAIN, STARTS
from benchmarks.lies.tell import Played, Store, Telling
from benchmarks.lies.undetectable import HOWS, How
from quant_assets.replay.launch import ReplayConfig, ReplayHandle, start

LIVE, LIVE_QUICK = 15, 4
"""Sessions captured day by day before the first lie."""
MOST_HELD = 1e-4
"""The share of honest symbol-sessions that may be held for more than three sessions."""


def play(
    made: Cases,
    server: ReplayHandle,
    root: Path,
    *,
    live: int,
    hows: Sequence[How] = HOWS,
    loud: bool = False,
) -> Played:
    """Plays all cases, in company and alone, as `hows` say; answers what came of them."""
    played = Played(loud=loud)
    for code in ("US", "LSE"):
        together = made.of(code, alone=False)
        if not together:
            continue
        crowd = [one for one in made.bystanders if one.slot.market.code == code]
        server.clear_faults()
        server.add_faults(*(fault for case in together for fault in case.faults))
        _play(played, made, server, root / code, [*together, *crowd], live, hows)
        alone: dict[str, list[Case]] = defaultdict(list)
        for case in made.of(code, alone=True):
            alone[case.name].append(case)
        for number, cases in enumerate(alone.values()):
            server.clear_faults()
            server.add_faults(*(fault for case in cases for fault in case.faults))
            _play(played, made, server, root / f"{code}-alone-{number}", [*cases, *crowd[:3]], 2, hows)
    server.clear_faults()
    return played


def _play(
    played: Played,
    made: Cases,
    server: ReplayHandle,
    root: Path,
    cases: Sequence[Case],
    live: int,
    hows: Sequence[How],
) -> None:
    """Plays the cases of one market: the established store, and one first backfill per number of evenings."""
    where = cases[0].slot.market
    told = [case for case in cases if case.kind.name != BYSTANDER]
    crowd = [case for case in cases if case.kind.name == BYSTANDER]
    nights = [n for n in EVENINGS if any(case.slot.evenings == n for case in told)]
    played.cases += len(hows) * len(told)
    played.undetectable += sum(bool(case.undetectable(how)) for case in told for how in hows)

    def telling(name: str, how: How, some: Sequence[Case]) -> Telling:
        store = Store(root / name, server, where, symbols_of(some), made.truth, played.seconds)
        return Telling(store, how, some, played)

    if "established" in hows:
        _established(telling("established", "established", cases), nights, live)
    for n in nights if "first" in hows else ():
        some = [*(case for case in told if case.slot.evenings == n), *crowd]
        new, first = telling(f"first-{n}", "first", some), where.telling + STARTS[n]
        new.evening(first, backfill=True)
        for now in range(first + 1, first + n + RIGHT_AGAIN):
            new.evening(now)
        new.honest(first + n + RIGHT_AGAIN - 1)


def _established(old: Telling, nights: Sequence[int], live: int) -> None:
    """A store that is filled honestly until the first of its cases begins, the last `live` sessions day by day."""
    where = old.store.market
    begin = where.telling + STARTS[nights[0]]
    old.store.fill(range(where.begin, begin - live), begin - live - 1)
    for now in range(begin - live, begin):
        old.store.fill([now], now)
    wrong, absent = old.store.judge(begin - 1)
    if wrong.height or absent.height:
        raise SystemExit(f"lies: the store is not right before anybody lies: {wrong}\n{absent}")
    end = max(where.telling + STARTS[n] + n + RIGHT_AGAIN for n in nights)
    for now in range(begin, end):
        old.evening(now)
    old.honest(end - 1)


def main(arguments: list[str] | None = None) -> int:
    """Plays what is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kind", default="*", help="only kinds of this name (a pattern)")
    parser.add_argument(
        "--case", default="*", help="only cases of this name, kind/variant/evenings (a pattern)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few variants a kind, for two evenings")
    parser.add_argument("--variants", type=int, default=2, help="how many a kind when quick (2)")
    parser.add_argument("--how", choices=("first", "established"), help="only stores of this kind")
    parser.add_argument("--say", action="store_true", help="print the warnings and restatements of every run")
    parser.add_argument("--report", type=Path, help="a file that gets every finding")
    parser.add_argument("--keep", type=Path, help="a folder in which the stores are left")
    parser.add_argument(
        "--list", action="store_true", help="name the cases, and which are undetectable, and why"
    )
    asked = parser.parse_args(arguments)
    choice = Choice(asked.kind, asked.case, asked.seed, asked.quick, asked.variants)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lies-") as folder:
        root = asked.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        made = make_cases(choice, root)
        if asked.list:
            _list(made)
            return 0
        if not made.cases:
            print(f"lies: no case fits --kind {asked.kind} --case {asked.case}: --list names them all")
            return 1
        config = ReplayConfig(history_files=[(root / "lies.csv", "as_traded")], now="2024-01-01")
        with start(config) as server:
            live = LIVE_QUICK if asked.quick else LIVE
            played = play(
                made, server, root, live=live, hows=(asked.how,) if asked.how else HOWS, loud=asked.say
            )
            if not asked.quick and asked.how is None and asked.case == "*":
                ask_command_line(played, made, server, root / "command", live=live, seed=asked.seed)
        markets: list[Honest] = []
        if asked.kind in ("*", HONEST) and asked.case == "*":
            markets = list(honest_markets(root / "honest", seed=asked.seed, quick=asked.quick))
    return _conclude(made, played, markets, asked.report, time.monotonic() - started)


def _list(made: Cases) -> None:
    for case in made.cases:
        reasons = [f"{how}: {why}" for how in HOWS if (why := case.undetectable(how))]
        print("\t".join([case.name, case.symbol, *reasons]))


def _conclude(
    made: Cases, played: Played, markets: Sequence[Honest], report: Path | None, seconds: float
) -> int:
    lines = [*table(played), *(str(one) for one in markets)]
    held = played.held_long + sum(one.held for one in markets)
    sessions = played.symbol_sessions + sum(one.sessions for one in markets)
    if report is not None:
        report.write_text("\n".join([*summary(played), "", *lines]) + "\n")
    for line in lines[:60]:
        print(line)
    if len(lines) > 60:
        print(f"… and {len(lines) - 60} more (--report FILE has them all)")
    if played.swept:
        print(f"lies: {len(played.swept)} undetectable case(s) needed a sweep")
    if made.absent:
        print(f"lies: the replay server does not tell {', '.join(made.absent)}")
    spent = " ".join(f"{name}={value:.0f}" for name, value in played.seconds.items())
    print(f"lies: seconds={seconds:.0f} {spent} honest_symbol_sessions={sessions}")
    kinds = len({case.kind.name for case in made.cases} - {HONEST})
    counts = (
        f"kinds={kinds} cases={played.cases} wrong_stored={played.count('wrong')} "
        f"undetectable={played.undetectable} unhealed={played.count('unhealed')} false_holds={held}"
    )
    others = [one for one in played.findings if one.what != "late"]
    for_good = sum(one.for_good + one.wrong for one in markets)
    if not others and not made.absent and not for_good and held <= sessions * MOST_HELD:
        print(f"lies: ok {counts}")
        return 0
    unsaid = sum(played.count(what) for what in ("unnamed", "result", "raised"))
    print(f"lies: FAILED {counts} unsaid={unsaid} held_for_good_or_wrong={for_good}")
    return 1


def table(played: Played) -> list[str]:
    """Every finding in a line, those of one case in one block."""
    rows = sorted(played.findings, key=lambda f: (f.case.kind.name, f.case.name, f.how, f.evening, f.what))
    return [
        f"{one.what:9} {one.how:11} {one.case.name} {one.case.symbol} evening {one.evening}: {one.text}"
        + (f" [{one.count}]" if one.count > 1 else "")
        for one in rows
    ]


def summary(played: Played) -> list[str]:
    """Per kind and way in how many cases are wrong, unnamed and unhealed."""
    found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in played.findings:
        found[one.case.kind.name, one.how][one.what].add(one.case.name)
    return [
        f"{kind:24} {how:11} " + " ".join(f"{what}={len(cases)}" for what, cases in sorted(by.items()))
        for (kind, how), by in sorted(found.items())
    ]


if __name__ == "__main__":
    sys.exit(main())
