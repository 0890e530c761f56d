"""A refresh: what it finds is planned first; what cannot be believed changes nothing, and the others go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quant_assets.catalog.configured import CatalogError, ConfiguredSymbol
from quant_assets.catalog.refresh import (
    Planned,
    apply_refresh,
    frame_of,
    plan_refresh,
    refreshable,
    source_in_words,
    symbols_of,
)
from quant_assets.catalog.universe import Universe
from quant_assets.catalog.universes_file import read_universes
from quant_assets.exchanges import enabled
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets.tables.layout import membership_key, universe_key
from quant_assets.tables.membership import members_on, read_membership
from quant_assets.tables.universes import (
    CONSTITUENTS_SCHEMA,
    StoredUniverse,
    put_constituents,
    read_constituents,
)
from quant_assets_tests.support import tree

NOW = datetime(2024, 3, 15, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
US = enabled(["US"])
PAGE = "{name: page, exchange: US, source: {kind: csv, path: page.csv}}"
TEN = [f"S{n}" for n in range(10)]


class Desk:
    """A universe file, what each source gives, and a store."""

    def __init__(self, folder: Path, *universes: str) -> None:
        file = folder / "universes.yaml"
        file.write_text("universes:\n" + "".join(f"  - {line}\n" for line in universes))
        self.universes = read_universes(file, US)
        self.store: ObjectStore = LocalObjectStore(folder / "store")
        self.given: dict[str, Sequence[ConfiguredSymbol | str] | CatalogError] = {}
        self.others: dict[str, dict[str, list[str]]] = {}
        self.asked: list[str] = []

    def find(
        self, universe: Universe, others: Mapping[str, Sequence[ConfiguredSymbol]]
    ) -> Sequence[ConfiguredSymbol]:
        self.asked.append(universe.name)
        self.others[universe.name] = {name: [one.symbol for one in some] for name, some in others.items()}
        given = self.given[universe.name]
        if isinstance(given, CatalogError):
            raise given
        return [ConfiguredSymbol(symbol=one) if isinstance(one, str) else one for one in given]

    def plan(self, *wanted: str, shrink: float = 10.0) -> list[Planned]:
        self.asked = []
        chosen = wanted or [one.name for one in self.universes if one.enabled]
        return plan_refresh(
            self.universes, chosen, lambda name: read_constituents(self.store, name), self.find, shrink
        )

    def refresh(self, *wanted: str, now: datetime = NOW, shrink: float = 10.0) -> list[Planned]:
        return apply_refresh(self.store, self.plan(*wanted, shrink=shrink), now)

    def symbols(self, universe: str) -> list[str] | None:
        stored = read_constituents(self.store, universe)
        return None if stored is None else stored.constituents["symbol"].to_list()


def statuses(planned: Sequence[Planned]) -> dict[str, str]:
    return {one.universe.name: one.status.value for one in planned}


def test_a_first_refresh_stores_what_the_source_gives_and_a_second_finds_it_unchanged(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE)
    apple = ConfiguredSymbol(
        symbol="AAPL", name="Apple", sector="Tech", isin="US0378331005", listed_on=date(1980, 12, 12)
    )
    desk.given["page"] = ["IBM", apple]
    (one,) = desk.plan()
    assert (one.status, one.before, one.joined, one.left, one.changed) == (
        "new", None, ("AAPL", "IBM"), (), {},
    )  # fmt: skip
    assert (one.done, one.reason, one.looked_before) == (True, "", None)
    assert tree(tmp_path / "store") == {}
    assert desk.refresh() == [one]
    stored = read_constituents(desk.store, "page")
    assert stored is not None
    assert stored.constituents.schema == CONSTITUENTS_SCHEMA
    assert stored.constituents.rows() == [
        ("AAPL", "Apple", "equity", "Tech", None, None, "US0378331005", date(1980, 12, 12), None),
        ("IBM", None, "equity", None, None, None, None, None, None),
    ]
    path = str(tmp_path / "page.csv")
    assert (stored.exchange, stored.source, stored.refreshed_at) == ("US", path, NOW)
    assert symbols_of(stored.constituents) == [apple, ConfiguredSymbol(symbol="IBM")]
    before = tree(tmp_path / "store")
    (again,) = desk.refresh()
    assert (again.status, again.before, again.joined, again.left) == ("unchanged", 2, (), ())
    assert again.looked_before == NOW.date()
    assert tree(tmp_path / "store") == before


def test_who_joined_who_left_and_what_else_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE)
    desk.given["page"] = [*TEN, ConfiguredSymbol(symbol="FB", name="Facebook", sector="Tech")]
    desk.refresh()
    desk.given["page"] = [*TEN[:9], "AAPL", ConfiguredSymbol(symbol="FB", name="Meta", currency="USD")]
    (one,) = desk.refresh(now=NOW + WEEK)
    assert (one.status, one.before, one.joined, one.left) == ("changed", 11, ("AAPL",), ("S9",))
    assert one.changed == {"FB": ("name", "sector", "currency")}
    assert desk.symbols("page") == sorted([*TEN[:9], "AAPL", "FB"])
    ledger = read_membership(desk.store, "page")
    assert ledger.tail(2).select("symbol", "event", "date").rows() == [
        ("S9", "left", date(2024, 3, 22)), ("AAPL", "joined", date(2024, 3, 22)),
    ]  # fmt: skip
    path = tmp_path / "page.csv"
    assert ledger["evidence"].to_list()[-1] == f"new in {path} on 2024-03-22 (looked at before on 2024-03-15)"
    # What is said of a symbol alone is no event.
    desk.given["page"] = [*TEN[:9], "AAPL", "FB"]
    (one,) = desk.refresh(now=NOW + 2 * WEEK)
    assert (one.status, list(one.changed)) == ("changed", ["FB"])
    assert read_membership(desk.store, "page").equals(ledger)
    assert desk.plan()[0].status == "unchanged"


@pytest.mark.parametrize(
    ("after", "shrink", "status"),
    [
        (TEN[:9], 10.0, "changed"),
        (TEN[:8], 10.0, "refused"),
        (TEN[:8], 20.0, "changed"),
        (TEN[:9], 0.0, "refused"),
        (TEN, 0.0, "unchanged"),
        ([], 99.9, "refused"),
        ([], 100.0, "changed"),
        # As many as before, and others: up to one half they are believed.
        ([*TEN[:5], *"ABCDE"], 10.0, "changed"),
        ([*TEN[:4], *"ABCDEF"], 10.0, "refused"),
        ([*TEN[:4], *"ABCDEF"], 60.0, "changed"),
        ([*TEN[:4], *"ABCDEF"], 59.0, "refused"),
        ([*TEN[:8], "A"], 10.0, "changed"),
        ([*TEN, *"ABCDEFGHIJKLMNOPQRST"], 10.0, "changed"),
    ],
)
def test_a_source_that_lost_more_than_is_believed_changes_nothing(
    tmp_path: Path, after: list[str], shrink: float, status: str
) -> None:
    desk = Desk(tmp_path, PAGE)
    desk.given["page"] = TEN
    desk.refresh()
    before = tree(tmp_path / "store")
    desk.given["page"] = after
    (one,) = desk.refresh(now=NOW + WEEK, shrink=shrink)
    assert one.status == status
    assert one.done is (status != "refused")
    # What differs is shown all the same.
    assert (one.joined, one.left) == (
        tuple(sorted(set(after) - set(TEN))),
        tuple(sorted({*TEN} - set(after))),
    )
    if status == "refused":
        assert tree(tmp_path / "store") == before
    else:
        assert desk.symbols("page") == sorted(after)


def test_a_refusal_says_what_was_seen_and_how_to_believe_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE)
    desk.given["page"] = [f"T{n}" for n in range(30)]
    desk.refresh()
    desk.given["page"] = [f"T{n}" for n in range(26)]
    assert desk.plan()[0].reason == (
        "it shrank from 30 constituents to 26 (13.3 %, and 10 % are believed): nothing is changed; look at its "
        "source, and if this is right say QUANT_ASSETS_UNIVERSE_SHRINK=14 for one call"
    )
    assert desk.plan(shrink=14)[0].done
    desk.given["page"] = [f"U{n}" for n in range(30)]
    assert desk.plan(shrink=12.5)[0].reason.startswith(
        "30 of its 30 constituents left at once (100 %, and 12.5 % are believed): "
    )


def test_what_somebody_lists_himself_is_believed_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "{name: mine, exchange: US, source: {kind: static, symbols: [A, B]}}")
    desk.given["mine"] = TEN
    desk.refresh()
    desk.given["mine"] = ["S0"]
    (one,) = desk.refresh(now=NOW + WEEK)
    assert (one.status, desk.symbols("mine")) == ("changed", ["S0"])


def test_one_that_fails_leaves_the_others_running_but_for_those_that_need_it(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        PAGE,
        "{name: mine, exchange: US, source: {kind: csv, path: mine.csv}}",
        "{name: both, exchange: US, source: {kind: union, of: [page, mine]}}",
        "{name: rest, exchange: US, source: {kind: minus, of: both, without: [mine]}}",
        "{name: late, exchange: US, depends_on: [page], source: {kind: csv, path: late.csv}}",
        "{name: last, exchange: US, source: {kind: csv, path: last.csv}}",
    )
    desk.given = {
        "page": CatalogError("page: the table moved"), "mine": ["IBM"], "late": ["A"], "last": ["B"],
        "both": [], "rest": [],
    }  # fmt: skip
    done = desk.refresh()
    assert statuses(done) == {
        "page": "failed", "mine": "new", "both": "skipped", "rest": "skipped", "late": "skipped",
        "last": "new",
    }  # fmt: skip
    assert [one.reason for one in done] == [
        "page: the table moved", "", "it needs page", "it needs both", "it needs page", "",
    ]  # fmt: skip
    assert desk.asked == ["page", "mine", "last"]
    assert [desk.symbols(name) for name in ("page", "mine", "both", "last")] == [None, ["IBM"], None, ["B"]]
    # One that is refused is as one that failed.
    desk.given = {"page": TEN, "mine": ["IBM"], "late": ["A"], "last": ["B"], "both": TEN, "rest": TEN}
    assert set(statuses(desk.refresh(now=NOW + WEEK)).values()) == {"new", "unchanged"}
    desk.given["page"] = TEN[:5]
    done = desk.refresh(now=NOW + 2 * WEEK)
    assert [one.status for one in done if one.universe.name in ("page", "both")] == ["refused", "skipped"]


def test_what_is_made_of_others_is_given_what_was_found_of_them(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        "{name: both, exchange: US, source: {kind: union, of: [page, off]}}",
        PAGE,
        "{name: off, exchange: US, enabled: false, source: {kind: csv, path: off.csv}}",
        "{name: other, exchange: US, source: {kind: csv, path: other.csv}}",
    )
    desk.given = {"page": ["A"], "off": ["B"], "both": ["A", "B"], "other": ["C"]}
    # Asked for alone it takes along what was never refreshed.
    assert statuses(desk.refresh("both")) == {"page": "new", "off": "new", "both": "new"}
    assert desk.others["both"] == {"page": ["A"], "off": ["B"]}
    # Then what is stored of the others; nobody else refreshes one that is not enabled.
    desk.given["page"] = ["A", "Z"]
    assert statuses(desk.refresh("both", now=NOW + WEEK)) == {"off": "unchanged", "both": "unchanged"}
    assert desk.others["both"] == {"page": ["A"], "off": ["B"]}
    assert statuses(desk.refresh(now=NOW + 2 * WEEK)) == {
        "page": "changed", "off": "unchanged", "both": "unchanged", "other": "new",
    }  # fmt: skip
    assert desk.others["both"] == {"page": ["A", "Z"], "off": ["B"]}
    assert statuses(desk.plan("page")) == {"page": "unchanged"}


def test_a_union_takes_nothing_that_a_universe_had_on_the_exchange_before(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE, "{name: both, exchange: US, source: {kind: union, of: [page]}}")
    australian = frame_of([ConfiguredSymbol(symbol="BHP.AX")])
    put_constituents(desk.store, "page", StoredUniverse(australian, "ASX", "page.csv", NOW))
    desk.given = {"page": ["A"], "both": ["A"]}
    # All of it left at once, which is doubted of a universe that stays where it was.
    assert statuses(desk.refresh("both", now=NOW + WEEK)) == {"page": "changed", "both": "new"}
    assert desk.others["both"] == {"page": ["A"]}
    assert statuses(desk.plan()) == {"page": "unchanged", "both": "unchanged"}


def test_a_damaged_object_fails_its_universe_and_no_other(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        PAGE,
        "{name: mine, exchange: US, source: {kind: csv, path: mine.csv}}",
        "{name: both, exchange: US, source: {kind: union, of: [page, mine]}}",
    )
    desk.given = {"page": ["A"], "mine": ["B"], "both": ["A", "B"]}
    desk.store.put(universe_key("page"), b"no parquet")
    done = desk.refresh()
    assert statuses(done) == {"page": "failed", "mine": "new", "both": "skipped"}
    assert "universes/page.parquet" in done[0].reason
    # As a part of another one it is named as well.
    assert statuses(desk.refresh("both")) == {"both": "failed"}
    desk.store.delete(universe_key("page"))
    desk.store.put(membership_key("page"), b"no parquet")
    done = desk.refresh()
    assert statuses(done) == {"page": "failed", "mine": "unchanged", "both": "new"}
    assert "universe_events/page.parquet" in done[0].reason
    assert (done[0].done, desk.symbols("page")) == (False, None)


def test_an_older_look_changes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE)
    desk.given["page"] = ["A"]
    planned = desk.plan()
    desk.given["page"] = ["B"]
    desk.refresh(now=NOW + timedelta(seconds=1))
    before = tree(tmp_path / "store")
    (told,) = apply_refresh(desk.store, planned, NOW)
    assert tree(tmp_path / "store") == before
    assert (told.status, told.done) == ("refused", False)
    assert told.reason == (
        "it was refreshed at 2024-03-15 04:00:01 UTC, after this look at 2024-03-15 04:00:00 UTC, with another list, "
        "which stays: refresh it again (where QUANT_ASSETS_NOW holds the clock, at a later moment)"
    )
    # Two looks that found the same are both right, and so is one that found nothing new.
    assert statuses(desk.refresh(now=NOW)) == {"page": "unchanged"}
    assert statuses(apply_refresh(desk.store, [replace(planned[0], found=desk.plan()[0].found)], NOW)) == {
        "page": "new"
    }


def test_a_process_that_ended_between_ledger_and_constituents_leaves_nothing_double(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PAGE)
    desk.given["page"] = TEN
    desk.refresh()
    old = desk.store.get(universe_key("page")).data
    desk.given["page"] = [*TEN, "NEW"]
    desk.refresh(now=NOW + WEEK)
    ledger = read_membership(desk.store, "page")
    desk.store.put(universe_key("page"), old)
    (one,) = desk.refresh(now=NOW + WEEK + timedelta(hours=1))
    assert one.joined == ("NEW",)
    assert read_membership(desk.store, "page").equals(ledger)
    assert members_on(ledger, "page", NOW.date() + WEEK)["symbol"].to_list() == sorted([*TEN, "NEW"])
    assert desk.symbols("page") == sorted([*TEN, "NEW"])


def test_the_short_form_has_nothing_to_refresh(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    file.write_text("US: [AAPL]\n")
    assert refreshable(read_universes(file, US)) == []
    desk = Desk(tmp_path, PAGE, "{name: mine, exchange: US, source: {kind: static, symbols: [A]}}")
    assert refreshable(desk.universes) == desk.universes


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{kind: static, symbols: [A]}", "the universe file"),
        ("{kind: csv, path: /data/a.csv}", "/data/a.csv"),
        ("{kind: excel, path: gs://bucket/a.xlsx}", "gs://bucket/a.xlsx"),
        (
            "{kind: csv, path: 'https://you:secret@host.test:8080/a.csv?key=secret'}",
            "https://host.test:8080/a.csv",
        ),
        ("{kind: html_table, url: 'https://host.test/wiki/List#here'}", "https://host.test/wiki/List"),
        ("{kind: index, index: S&P 500}", "index S&P 500"),
        ("{kind: screener}", "Yahoo's screener"),
        ("{kind: union, of: [a, b]}", "union of a, b"),
        ("{kind: minus, of: a, without: [b, c]}", "a without b, c"),
    ],
)
def test_a_source_is_named_without_what_may_be_a_secret(source: str, words: str) -> None:
    import yaml

    parsed: dict[str, Any] = yaml.safe_load(source)
    universe = Universe.model_validate({"name": "u", "exchange": "US", "source": parsed})
    assert source_in_words(universe) == words


def test_symbols_are_stored_sorted_and_nothing_said_is_null() -> None:
    frame = frame_of([ConfiguredSymbol(symbol="B", name=""), ConfiguredSymbol(symbol="A", asset_type="etf")])
    assert frame.select("symbol", "name", "asset_type").rows() == [("A", None, "etf"), ("B", None, "equity")]
    assert frame_of([]).schema == CONSTITUENTS_SCHEMA
    stored = StoredUniverse(frame, "US", "x", NOW)
    assert [one.name for one in symbols_of(stored.constituents)] == ["", ""]
