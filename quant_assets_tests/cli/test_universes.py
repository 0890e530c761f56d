"""Refreshing universes and stating their past on the command line, over local files and a loopback web server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant_assets.cli.app import app
from quant_assets.cli.usage import UsageProblem
from quant_assets.errors import QuantAssetsError
from quant_assets.reader import universe
from quant_assets.resources.open_store import open_store
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, append_events
from quant_assets.tables.membership import MembershipUnknown
from quant_assets_tests.support import tree

Command = Callable[..., Result]
TEN = [f"S{n}" for n in range(10)]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server over the folder `web`."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "web"))  # pyright: ignore[reportArgumentType]

        def log_message(self, format: str, *args: object) -> None:
            pass

    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def command(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a home of its own, at a moment."""
    (tmp_path / "universes.yaml").write_text(
        "universes:\n"
        f"  - {{name: page, exchange: US, source: {{kind: csv, path: {web}/page.csv}}}}\n"
        "  - {name: mine, exchange: US, phase: 2, source: {kind: csv, path: mine.csv, "
        "columns: {symbol: symbol, name: name}}}\n"
        "  - {name: both, exchange: US, phase: 2, source: {kind: union, of: [page, mine]}}\n"
        "  - {name: off, exchange: US, enabled: false, source: {kind: static, symbols: [OFF]}}\n"
        "  - {name: au, exchange: ASX, enabled: false, source: {kind: static, symbols: [BHP.AX]}}\n"
    )
    write(tmp_path / "web" / "page.csv", *TEN)
    (tmp_path / "mine.csv").write_text("symbol,name\nIBM,\nS0,\n")

    def run(*arguments: str, now: str = "2013-03-15T23:00:00Z", **settings: str) -> Result:
        wanted = {
            "HOME": str(tmp_path / "home"),
            "EXCHANGES": "US",
            "UNIVERSE": str(tmp_path / "universes.yaml"),
            "ATTEMPTS": "1",
            "RETRY_WAIT_SECONDS": "0",
            "NOW": now,
            **settings,
        }
        for name, value in wanted.items():
            monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return run


def write(file: Path, *symbols: str) -> None:
    file.write_text("".join(f"{one}\n" for one in ("symbol", *symbols)))


def members(tmp_path: Path, name: str, day: str) -> list[str]:
    return universe(name, on=day, store=tmp_path / "home" / "store").collect()["symbol"].to_list()


def test_a_refresh_prints_what_differs_and_stores_it(command: Command, tmp_path: Path, web: str) -> None:
    dry = command("refresh-universe", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.splitlines() == [
        f"page: new: 10 constituents from {web}/page.csv",
        f"mine: new: 2 constituents from {tmp_path}/mine.csv",
        "both: new: 11 constituents from union of page, mine",
        "refresh-universe: dry-run new=3 changed=0 unchanged=0 refused=0 failed=0 skipped=0",
    ]
    assert tree(tmp_path / "home") == {}
    done = command("refresh-universe")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:3] == dry.stdout.splitlines()[:3]
    assert done.stdout.splitlines()[3] == (
        "refresh-universe: ok new=3 changed=0 unchanged=0 refused=0 failed=0 skipped=0"
    )
    write(tmp_path / "web" / "page.csv", *TEN[1:], "AAPL")
    later = command("refresh-universe", now="2013-03-22T23:00:00Z")
    assert later.exit_code == 0
    assert later.stdout.splitlines() == [
        f"page: changed: 10 constituents from {web}/page.csv",
        "  joined: AAPL",
        "  left: S0",
        f"mine: unchanged: 2 constituents from {tmp_path}/mine.csv",
        "both: changed: 12 constituents from union of page, mine",
        "  joined: AAPL",
        "refresh-universe: ok new=0 changed=2 unchanged=1 refused=0 failed=0 skipped=0",
    ]
    assert members(tmp_path, "page", "2013-03-21") == sorted(TEN)
    assert members(tmp_path, "page", "2013-03-22") == sorted([*TEN[1:], "AAPL"])


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_a_source_that_shrank_is_shown_and_changes_nothing(
    command: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert command("refresh-universe").exit_code == 0
    before = tree(tmp_path / "home")
    write(tmp_path / "web" / "page.csv", *TEN[:6])
    done = command("refresh-universe", *options, now="2013-03-15T23:30:00Z")
    assert done.exit_code == 2, done.output
    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "  it shrank from 10 constituents to 6 (40 %, and 10 % are believed): nothing is changed; look at its "
        "source, and if this is right say QUANT_ASSETS_UNIVERSE_SHRINK=40 for one call",
        "  left: S6, S7, S8, S9",
    ]
    assert lines[4:6] == ["both: skipped: from union of page, mine", "  it needs page"]
    word = "dry-run" if options else "incomplete"
    assert lines[-1] == f"refresh-universe: {word} new=0 changed=0 unchanged=1 refused=1 failed=0 skipped=1"
    assert tree(tmp_path / "home") == before
    believed = command("refresh-universe", *options, UNIVERSE_SHRINK="40")
    assert believed.exit_code == 0
    assert (tree(tmp_path / "home") == before) is bool(options)


def test_json_tells_all_of_it(command: Command, tmp_path: Path, web: str) -> None:
    assert command("refresh-universe").exit_code == 0
    write(tmp_path / "web" / "page.csv", *TEN[:9], *(f"T{n}" for n in range(40)))
    (tmp_path / "mine.csv").write_text("symbol,name\nIBM,Big Blue\n")
    done = command("refresh-universe", "--json", "--phase", "2", now="2013-03-22T23:00:00Z")
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["dry_run"] is False
    assert [(one["universe"], one["status"]) for one in told["universes"]] == [
        ("mine", "refused"), ("both", "skipped"),
    ]  # fmt: skip
    assert told["universes"][0] | {"reason": ""} == {
        "universe": "mine", "exchange": "US", "phase": 2, "source": f"{tmp_path}/mine.csv", "status": "refused",
        "reason": "", "before": 2, "found": 1, "joined": [], "left": ["S0"], "changed": {"IBM": ["name"]},
    }  # fmt: skip
    (one,) = json.loads(command("refresh-universe", "--json", "--universe", "page").stdout)["universes"]
    assert (one["before"], one["found"], len(one["joined"]), one["left"]) == (10, 49, 40, ["S9"])
    shown = command("refresh-universe", "--universe", "page", "--dry-run", UNIVERSE_SHRINK="100")
    assert "  joined:" not in shown.stdout


def test_a_long_list_is_cut_on_the_screen(command: Command, tmp_path: Path) -> None:
    assert command("refresh-universe", "--universe", "page").exit_code == 0
    write(tmp_path / "web" / "page.csv", *TEN, *(f"T{n:02}" for n in range(21)))
    shown = command("refresh-universe", "--universe", "page", "--dry-run")
    assert "T18, T19 and 1 more (--json lists them)" in shown.stdout


def test_one_that_fails_leaves_the_others_running(command: Command, tmp_path: Path, web: str) -> None:
    (tmp_path / "web" / "page.csv").unlink()
    done = command("refresh-universe")
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert lines[0] == f"page: failed: from {web}/page.csv"
    assert f"{web}/page.csv" in lines[1]
    assert (
        lines[-1] == "refresh-universe: incomplete new=1 changed=0 unchanged=0 refused=0 failed=1 skipped=1"
    )
    assert members(tmp_path, "mine", "2013-03-15") == ["IBM", "S0"]


def test_phases_and_names_choose(command: Command) -> None:
    def chosen(*options: str) -> list[str]:
        done = command("refresh-universe", "--dry-run", "--json", *options)
        assert done.exit_code == 0, done.output
        return [one["universe"] for one in json.loads(done.stdout)["universes"]]

    assert chosen() == ["page", "mine", "both"]
    assert chosen("--phase", "1") == ["page"]
    assert chosen("--universe", "mine,page") == ["page", "mine"]
    # Of what it is made of, what was never refreshed comes along.
    assert chosen("--universe", "both") == chosen("--phase", "2") == ["page", "mine", "both"]
    assert command("refresh-universe", "--universe", "page").exit_code == 0
    assert chosen("--universe", "both") == ["mine", "both"]
    assert chosen("--universe", "both,mine", "--phase", "2") == ["mine", "both"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--universe", "pages"),
            "--universe pages: the universe file has no such universe (did you mean page?)",
        ),
        (
            ("--universe", "x"),
            "--universe x: the universe file has no such universe (there are both, mine, page)",
        ),
        (("--universe", "off"), "--universe off: it is not enabled; say enabled: true in the universe file"),
        (("--universe", " , "), "--universe ' , ' names no universe; leave it out to take all"),
        (("--phase", "3"), "--phase 3: no universe asked for is of that phase; the phases are 1, 2"),
        (("--universe", "page", "--phase", "2"), "--phase 2: no universe asked for is of that phase"),
    ],
)
def test_what_cannot_be_chosen_is_refused(command: Command, options: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        command("refresh-universe", *options)
    assert str(refused.value).startswith(told)


def test_a_short_list_has_nothing_to_refresh(command: Command, tmp_path: Path) -> None:
    (tmp_path / "universes.yaml").write_text("US: [AAPL]\n")
    done = command("refresh-universe")
    assert (done.exit_code, done.stdout) == (
        0, "refresh-universe: ok new=0 changed=0 unchanged=0 refused=0 failed=0 skipped=0\n",
    )  # fmt: skip
    with pytest.raises(UsageProblem, match="has no enabled universe; docs/catalog"):
        command("refresh-universe", "--phase", "1")


def test_errors_outside_of_the_sources_are_errors(command: Command, tmp_path: Path) -> None:
    with pytest.raises(QuantAssetsError, match=r"universes\.yaml"):
        command("refresh-universe", EXCHANGES="ASX")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "cat.jpg").write_bytes(b"meow")
    for options in ((), ("--dry-run",)):
        with pytest.raises(QuantAssetsError, match="another project's objects"):
            command("refresh-universe", *options, STORE=str(theirs))
    assert tree(theirs) == {"cat.jpg": tree(theirs)["cat.jpg"]}


# --- what was before


PAST = "symbol,joined,left\nOLD,1996-01-02,1999-06-01\nIBM,1996-01-02,\n"


def test_the_past_is_stated_and_answered(command: Command, tmp_path: Path) -> None:
    assert command("refresh-universe", "--universe", "page").exit_code == 0
    file = tmp_path / "past.csv"
    file.write_text(PAST + "GE,2013-03-15,\n")
    done = command("catalog", "import-membership", "--universe", "page", str(file))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "page: 3 stretches of 3 symbols, from 1996-01-02 through 2013-03-14, stated in past.csv (sha256 "
    )
    assert lines[1:] == [
        "1 date from 2013-03-15 on: refreshes alone answer for these days",
        "import-membership: ok recorded",
    ]
    assert members(tmp_path, "page", "1999-05-31") == ["IBM", "OLD"]
    assert members(tmp_path, "page", "2013-03-14") == ["IBM"]
    assert members(tmp_path, "page", "2013-03-15") == sorted(TEN)
    with pytest.raises(MembershipUnknown, match="the earliest date that can be vouched for is 1996-01-02"):
        members(tmp_path, "page", "1996-01-01")
    again = command("catalog", "import-membership", "--universe", "page", str(file))
    assert again.stdout.splitlines()[-1] == "import-membership: ok nothing new"


def test_the_past_of_a_universe_that_was_never_refreshed_is_stated_through_today(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(PAST)
    import_ = ("catalog", "import-membership", "--universe", "off", str(file))
    assert "from 1996-01-02 through 2013-03-15, stated" in command(*import_).stdout
    days = command(*import_, "--from", "1998-01-02", "--through", "2001-12-31")
    assert "from 1998-01-02 through 2001-12-31, stated" in days.stdout
    assert members(tmp_path, "off", "2013-03-15") == ["IBM"]
    # One of an exchange that is not in use.
    file.write_text("symbol,joined,left\nBHP.AX,1996-01-02,\n")
    assert command("catalog", "import-membership", "--universe", "au", str(file)).exit_code == 0
    assert members(tmp_path, "au", "2013-03-15") == ["BHP.AX"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--universe", "nope", "past.csv"),
            "--universe nope: the universe file has page, mine, both, off, au",
        ),
        (("--universe", "page", "none.csv"), "none.csv: cannot be read"),
        (("--universe", "page", "bad.csv"), "bad.csv:2: BHP.AX is no symbol of US"),
        (("--universe", "page", "past.csv", "--from", "soon"), "--from 'soon' is no date"),
        (
            ("--universe", "page", "past.csv", "--through", "1995-12-29"),
            "past.csv: it begins on 1996-01-02, after",
        ),
    ],
)
def test_what_cannot_be_stated_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "past.csv").write_text(PAST)
    (tmp_path / "bad.csv").write_text("symbol,joined,left\nBHP.AX,2001-01-02,\n")
    with pytest.raises(QuantAssetsError) as refused:
        command("catalog", "import-membership", *arguments)
    assert str(refused.value).startswith(told)
    assert not (tmp_path / "home" / "store" / "universe_events").exists()


def test_the_past_of_lists_that_are_no_universe_cannot_be_stated(command: Command, tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text(PAST)
    (tmp_path / "universes.yaml").write_text("US: [AAPL]\nASX: [BHP.AX]\n")
    with pytest.raises(QuantAssetsError, match="lists symbols of exchanges, and names no universe; "):
        command(
            *("catalog", "import-membership", "--universe", "configured", str(tmp_path / "past.csv")),
            EXCHANGES="US,ASX",
        )
    assert not (tmp_path / "home" / "store").exists()


# --- listings


def test_what_was_learned_of_listings_is_printed(command: Command, tmp_path: Path) -> None:
    assert command("catalog", "listings").output == "nothing has been learned of listings yet\n"
    store = open_store(str(tmp_path / "home" / "store"))
    day, moment = date(2013, 3, 1), datetime(2013, 3, 15, 22, tzinfo=UTC)
    words = "no bar in 20 session(s)"
    events = [
        ListingEvent("S1", Event.SUSPENDED, day, words, Confidence.ONE_KIND),
        ListingEvent("S2", Event.DELISTED, day, words, Confidence.TWO_KINDS),
    ]
    append_events(store, "US", events, moment)
    lines = command("catalog", "listings").output.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["US", "S1", "suspended", "2013-03-01"], ["US", "S2", "delisted", "2013-03-01"],
    ]  # fmt: skip
    (row,) = json.loads(command("catalog", "listings", "--exchange", "US", "--json").output)[1:]
    assert row == {
        "exchange": "US", "symbol": "S2", "event": "delisted", "date": "2013-03-01", "evidence": words,
        "confidence": "two_kinds", "known_at": "2013-03-15 22:00:00+00:00",
    }  # fmt: skip
