"""The state of listings by value, and what must hold whatever the cells name as missing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.catalog.listing_state import Hole, Kind, Listings, Session, judge, kind_of
from quant_assets.tables.listing_events import STATE_AFTER, Event, ListingEvent, Standing, State

FIRST = date(2024, 1, 1)
OTHERS = [f"S{n}" for n in range(9)]
EVERY = ["X", *OTHERS]
NOBODY = Listings({}, {})


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def hole(kind: Kind, told: date, again: date | None = None) -> Hole:
    return Hole(kind, told, again or told)


def session(number: int, holes: Mapping[str, Hole | Kind], symbols: Iterable[str] = EVERY) -> Session:
    """Of one day; a kind alone was told on that day."""
    expected = frozenset(symbols)
    found = {s: one if isinstance(one, Hole) else hole(one, day(number)) for s, one in holes.items()}
    return Session(day(number), len(expected - found.keys()), found, expected.__contains__)


def market(*kinds: Kind | None, symbol: str = "X") -> list[Session]:
    """A session for each kind: what is said of one symbol (None: it has a bar), while all others trade."""
    return [session(n, {} if kind is None else {symbol: kind}) for n, kind in enumerate(kinds)]


def told(events: Sequence[ListingEvent]) -> list[tuple[str, str, date, str]]:
    return [(one.symbol, one.event.value, one.date, one.confidence.value) for one in events]


def after(events: Sequence[ListingEvent], standing: Mapping[str, Standing]) -> dict[str, Standing]:
    """The standings once the events are on record."""
    found = dict(standing)
    for one in events:
        last = one.date if one.event is Event.DELISTED else found.get(one.symbol, Standing()).last_session
        again = one.date if one.event is Event.REACTIVATED else None
        found[one.symbol] = Standing(STATE_AFTER[one.event], one.date, last, again)
    return found


def lived(sessions: Sequence[Session], listings: Listings = NOBODY, every: int = 1) -> list[ListingEvent]:
    """The events of a life that is judged on the evening of each day, or of every so many."""
    events: list[ListingEvent] = []
    for count in range(1, len(sessions) + 1, every):
        new = judge(sessions[:count], listings, sessions[count - 1].day)
        events += new
        listings = replace(listings, standing=after(new, listings.standing))
    return events


NF, NO, NB = Kind.NOT_FOUND, Kind.NOTHING, Kind.NO_BAR
LEFT = Listings({}, {"X": day(1)}, {"X": day(99)})


@pytest.mark.parametrize(
    ("kinds", "listings", "expected"),
    [
        ([None] * 9, NOBODY, []),
        ([None, NF, NF], NOBODY, []),
        ([None, NF, NF, NF], NOBODY, [("X", "suspect", day(1), "one_kind")]),
        ([None, NO, NF, NO], NOBODY, [("X", "suspect", day(1), "one_kind")]),
        ([None, NF, NF, NB], NOBODY, []),
        ([None, *[NB] * 4], NOBODY, []),
        ([None, *[NB] * 5], NOBODY, [("X", "suspended", day(1), "one_kind")]),
        ([None, *[NB] * 59], NOBODY, [("X", "suspended", day(1), "one_kind")]),
        # In a list that nobody keeps it takes twenty sessions; one that has left its lists takes five.
        ([None, *[NF] * 19], NOBODY, [("X", "suspect", day(1), "one_kind")]),
        ([None, None, *[NF] * 20], NOBODY, [("X", "delisted", day(1), "one_kind")]),
        ([None, None, *[NB] * 11, *[NF] * 9], NOBODY, [("X", "suspect", day(2), "one_kind")]),
        ([None, None, *[NB] * 10, *[NF] * 10], NOBODY, [("X", "delisted", day(1), "one_kind")]),
        ([None, None, *[NF] * 19, NB], NOBODY, []),
        ([None, None, *[NB] * 4], LEFT, []),
        ([None, None, *[NB] * 5], LEFT, [("X", "delisted", day(1), "two_kinds")]),
        ([None, None, NF, NO, NB, NF, NF], LEFT, [("X", "delisted", day(1), "two_kinds")]),
        # What has no answer is neither evidence nor a bar; a bar in doubt is a bar.
        ([None, None, *[NF, Kind.UNKNOWN] * 3], NOBODY, [("X", "suspect", day(2), "one_kind")]),
        ([None, *[NF] * 30, Kind.TRADES], NOBODY, []),
        ([None, *[Kind.UNKNOWN] * 40], LEFT, []),
        ([None, *[Kind.NOT_ASKED] * 40], LEFT, []),
        # Without any bar there is no last trading day.
        ([NF] * 40, NOBODY, [("X", "suspect", day(0), "one_kind")]),
        ([NF] * 40, replace(LEFT, last_bar=lambda _: day(-400)), [("X", "delisted", day(-400), "two_kinds")]),
        ([None, *[NF] * 40], Listings({}, {}, stated=frozenset({"X"})), []),
    ],
)  # fmt: skip
def test_what_is_due(
    kinds: list[Kind | None], listings: Listings, expected: list[tuple[str, str, date, str]]
) -> None:
    assert told(judge(market(*kinds), listings, day(len(kinds)))) == expected


def test_one_answer_is_one_statement_however_many_sessions_it_is_about() -> None:
    def at_once(on: date, again: date | None = None) -> list[Session]:
        return [session(n, {"X": hole(NF, on, again)} if n else {}) for n in range(50)]

    for listings in (NOBODY, LEFT):
        assert judge(at_once(day(50)), listings, day(50)) == []
        assert judge(at_once(day(50), day(51)), listings, day(51)) == []
    third = [*at_once(day(50), day(51)), session(52, {"X": NF})]
    assert told(judge(third, LEFT, day(52))) == [("X", "delisted", day(0), "two_kinds")]
    # Not found in fifty sessions, but told on three days.
    assert told(judge(third, NOBODY, day(52))) == [("X", "suspect", day(1), "one_kind")]


def test_what_is_said_while_the_exchange_is_down_is_no_statement_about_earlier_sessions_either() -> None:
    # A symbol that is new in a list is asked for sessions in which the others traded, on days without an answer.
    earlier = [session(n, {"X": hole(NF, day(8), day(10))} if n else {}) for n in range(8)]
    down = [session(n, dict.fromkeys(EVERY, NF)) for n in (8, 9, 10)]
    for listings in (NOBODY, LEFT):
        assert judge([*earlier, *down], listings, day(10)) == []
        assert judge([*earlier, *down, session(11, {"X": NF})], listings, day(11)) == []
    up = [session(n, {"X": NF}) for n in (11, 12, 13)]
    assert told(judge([*earlier, *down, *up], NOBODY, day(13))) == [("X", "suspect", day(1), "one_kind")]


def test_a_life_from_its_last_bar_to_the_day_it_comes_back() -> None:
    life = market(None, *[NF] * 20, None, None)
    assert told(lived(life[:21])) == [
        ("X", "suspect", day(1), "one_kind"),
        ("X", "delisted", day(0), "one_kind"),
    ]
    # Nothing more is said of it: only its lists, or the bars that a sweep finds, bring it back.
    gone = Listings({"X": Standing(State.DELISTED, day(0), day(0))}, {})
    assert judge(life, gone, day(23)) == []
    back = replace(gone, returned=frozenset({"X", "S1"}))
    assert told(judge(life, back, day(23))) == [("X", "reactivated", day(23), "seen")]
    assert judge(life, replace(back, stated=frozenset({"X"})), day(23)) == []
    # From then on it is judged anew, and its last day is the one that is known.
    again = Listings({"X": Standing(State.ACTIVE, day(21), day(0), day(21))}, {"X": day(22)})
    silent = market(None, *[NF] * 24)
    assert told(judge(silent, again, day(25))) == [("X", "suspect", day(21), "one_kind")]
    assert told(judge(market(None, *[NF] * 25), again, day(26))) == [("X", "delisted", day(0), "two_kinds")]


def test_a_symbol_resumes_with_its_first_bar_and_what_is_known_is_no_news() -> None:
    suspended = Listings({"X": Standing(State.SUSPENDED, day(1))}, {})
    assert judge(market(None, *[NB] * 9), suspended, day(10)) == []
    # The range that is asked for holds no bar of it any more.
    assert judge(market(None, *[NB] * 5, *[NO] * 9), suspended, day(10)) == []
    assert told(judge(market(None, *[NB] * 5, NF, NF, NF), suspended, day(10))) == [
        ("X", "suspect", day(1), "one_kind")
    ]
    assert told(judge(market(None, *[NB] * 5, None, NB), suspended, day(8))) == [
        ("X", "resumed", day(6), "seen")
    ]
    suspect = Listings({"X": Standing(State.SUSPECT, day(1))}, {})
    assert told(judge(market(None, *[NF] * 5, Kind.TRADES), suspect, day(7))) == [
        ("X", "resumed", day(6), "seen")
    ]
    # The bar that was missing first came late.
    assert told(judge(market(None, None, NF), suspect, day(3))) == [("X", "resumed", day(1), "seen")]
    assert told(judge(market(None, *[NF] * 5, *[NB] * 5), suspect, day(7))) == [
        ("X", "suspended", day(1), "one_kind")
    ]


def test_of_a_symbol_that_left_later_cells_are_not_asked() -> None:
    """To know for whom a cell was filled may cost a read."""

    def expects(symbol: str) -> bool:
        raise AssertionError(symbol)

    later = [replace(session(n, {}), expects=expects) for n in range(6, 20)]
    left = Listings({}, {"X": day(1)}, {"X": day(5)})
    assert told(judge([*market(None, *[NB] * 5), *later], left, day(20))) == [
        ("X", "delisted", day(0), "two_kinds")
    ]


@pytest.mark.parametrize("kind", [NF, NO, NB, Kind.UNKNOWN])
@pytest.mark.parametrize("standing_out", [0, 1, 4])
def test_an_exchange_that_is_down_moves_nobody_however_long(kind: Kind, standing_out: int) -> None:
    """A few of its symbols may be served all the while."""
    down = [session(n, dict.fromkeys(EVERY[standing_out:], kind)) for n in range(1, 59)]
    everybody = Listings({}, dict.fromkeys(EVERY, day(0)))
    for listings in (NOBODY, everybody):
        assert lived([session(0, {}), *down], listings) == []


def test_an_outage_does_not_hide_who_ends_in_it_and_does_not_end_the_others() -> None:
    down = {n: dict.fromkeys(EVERY, NF) for n in (3, 4, 5)}
    sessions = [session(n, down.get(n, {"X": NF} if n else {})) for n in range(12)]
    assert told(judge(sessions, replace(LEFT, left=dict.fromkeys(EVERY, day(11))), day(12))) == [
        ("X", "delisted", day(0), "two_kinds")
    ]


def test_the_dead_do_not_keep_the_next_from_being_found() -> None:
    """Five of ten never had a bar, two are known to be suspended; the next one is found all the same."""
    never, known = OTHERS[:3], OTHERS[3:5]
    listings = Listings({s: Standing(State.SUSPENDED, day(0)) for s in known}, {"X": day(1)})
    lacking = dict.fromkeys([*never, *known], NB)
    sessions = [session(n, lacking | ({"X": NB} if n else {})) for n in range(6)]
    assert ("X", "delisted", day(0), "two_kinds") in told(judge(sessions, listings, day(6)))


def thin(share: float, days: int, down: range = range(0)) -> list[Session]:
    """A market of a hundred: a share has no bar on any day; X ends on the fifth. A third is down at times."""
    chance = random.Random(7)
    names = [f"T{n}" for n in range(100)]
    found: list[Session] = []
    for n in range(days):
        lacking = {s: NB for s in names if chance.random() < share or (n in down and s < "T4")}
        found.append(session(n, lacking | ({"X": NB} if n > 5 else {}), [*names, "X"]))
    return found


def test_a_thin_market_is_measured_by_what_is_usual_in_it() -> None:
    left = Listings({}, {"X": day(8), "T1": day(8)})
    ended = [("X", "delisted", day(5), "two_kinds")]
    assert told(judge(thin(0.2, 40), left, day(40))) == ended
    # What is usual is not known after a few days, and an outage is not usual.
    assert judge(thin(0.2, 15), left, day(15)) == []
    assert judge(thin(0.2, 38, range(9, 37)), left, day(38)) == []
    assert told(judge(thin(0.2, 60, range(9, 37)), left, day(60))) == ended


def test_who_never_traded_tells_nothing_of_the_market() -> None:
    new = frozenset(f"NEW{n}" for n in range(30))
    lacking = dict.fromkeys(new, NF)
    sessions = [session(n, lacking | ({"X": NB} if n else {}), [*EVERY, *new]) for n in range(6)]
    ended = ("X", "delisted", day(0), "two_kinds")
    assert ended not in told(judge(sessions, replace(LEFT, left={"X": day(1)}), day(6)))
    assert ended in told(judge(sessions, replace(LEFT, never_traded=new), day(6)))


@given(st.integers(0, 2**32), st.sampled_from([Kind.UNKNOWN, NF]))
def test_random_failures_delist_nobody(seed: int, kind: Kind) -> None:
    """One question in twenty fails, whatever it is taken for; and the day after it is answered, or fails as well."""
    chance = random.Random(seed)
    names = [f"S{n}" for n in range(30)]
    sessions = [session(n, {s: kind for s in names if chance.random() < 0.05}, names) for n in range(60)]
    listings = Listings({}, dict.fromkeys(names, day(3)), dict.fromkeys(names, day(99)))
    assert not [one for one in lived(sessions, listings, 4) if one.event is Event.DELISTED]


KINDS = st.sampled_from([None, None, NF, NO, NB, Kind.UNKNOWN, Kind.TRADES, Kind.NOT_ASKED])


@given(st.lists(KINDS, max_size=45), st.booleans())
def test_states_follow_each_other_and_what_is_judged_twice_says_nothing_new(
    kinds: list[Kind | None], left: bool
) -> None:
    sessions = market(*kinds)
    listings = replace(NOBODY, left={"X": day(0)}, expected_through={"X": day(99)}) if left else NOBODY
    state = State.ACTIVE
    for count in range(1, len(sessions) + 1):
        events = judge(sessions[:count], listings, day(count))
        standing = after(events, listings.standing)
        for one in events:
            assert STATE_AFTER[one.event] is not state
            if one.event is Event.DELISTED:
                without = [s for s in sessions[:count] if s.day > one.date and "X" in s.holes]
                assert len(without) >= 5
                assert not {s.holes["X"].kind for s in without} & {Kind.TRADES}
                assert any(s.day == one.date for s in sessions)
            state = STATE_AFTER[one.event]
        listings = replace(listings, standing=standing)
        assert judge(sessions[:count], listings, day(count)) == []


@given(st.lists(st.lists(KINDS, min_size=8, max_size=8), min_size=3, max_size=4))
def test_the_order_in_which_symbols_are_named_does_not_matter(lives: list[list[Kind | None]]) -> None:
    def world(order: int) -> list[Session]:
        named = [(f"Y{n}", life) for n, life in enumerate(lives)][::order]
        return [
            session(n, {s: kind for s, life in named if (kind := life[n])}, [*EVERY, "Y0", "Y1", "Y2", "Y3"])
            for n in range(8)
        ]

    assert judge(world(1), NOBODY, day(8)) == judge(world(-1), NOBODY, day(8))


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("no_bar", NB), ("suspended", NB), ("not_found", NF), ("no_data", NO), ("held", Kind.TRADES),
        ("refused", Kind.TRADES), ("rejected", Kind.TRADES), ("failed", Kind.UNKNOWN), ("rate_limited", Kind.UNKNOWN),
        ("not_asked", Kind.NOT_ASKED), ("something new", Kind.UNKNOWN),
    ],
)  # fmt: skip
def test_what_outcomes_say(outcome: str, kind: Kind) -> None:
    assert kind_of(outcome) is kind
