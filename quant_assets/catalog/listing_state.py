"""The state of listings: active, suspended, suspect, delisted, and back, from what the daily cells name as missing.

A wrong delisting loses prices, a late one costs a hole a session. So the rules are slow; none rests on one answer:

- A session counts for a symbol only when the market traded by the bars of the *others* (`_Others`): at least 90 % of
  those that are active and have had a bar lately have one, or all but two, or as many as usual in a thin market. So
  an exchange that is down moves nobody, however long, and whatever it says; of a list of three one may end. Symbols
  whose state is known are not among the others, nor are those that never traded: a few dead ones do not keep the
  next from being found.
- "No bar", "no data" and "not found" are evidence. A failure, a rate limit and a question not asked are neither
  evidence nor a bar. A bar that is held or refused is a bar: the symbol trades.
- One answer, however many sessions it is about, is one statement: every rule asks for answers of several days (UTC),
  on which the market traded if they have a session.
  A backfill of ten years over a symbol that is gone moves nothing.
- Delisted takes evidence of two kinds: the symbol has left all of its lists, and no bar came while the others had
  theirs (`LEFT_SESSIONS`). "Not found" and "no bar" come from one mouth, so by themselves they take four times as
  long (`NOT_FOUND_SESSIONS`), for lists that nobody keeps. What the source still knows, and has no new bars of, is
  suspended, and may be for years.
- A symbol of which no bar is known has no last trading day, and is suspect at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from quant_assets.market.coverage import (
    HELD,
    NO_BAR,
    NO_DATA,
    NOT_ASKED,
    NOT_FOUND,
    REFUSED,
    REJECTED,
    SUSPENDED,
)
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, Standing, State

SUSPECT_SESSIONS = 3
"""Counted sessions without a bar, on which the source had nothing of the symbol."""
SUSPENDED_SESSIONS = 5
"""Counted sessions without a bar of a symbol that the source knows."""
LEFT_SESSIONS = 5
"""Counted sessions without a bar of a symbol that has left all of its lists."""
NOT_FOUND_SESSIONS = 20
"""Counted sessions without a bar of a symbol that still is in a list, `NOT_FOUND_ON` of them told as not found."""
NOT_FOUND_ON = 10
ANSWER_DAYS = 3
"""Different days on which the source must have said so, at the least."""
WINDOW = 60
"""Sessions that are looked at."""

_RECENT = 5
"""A symbol that is in a list is looked at when one of so many last sessions has no bar of it."""
_SPARED = 2
"""So many of the others may be without a bar, however few they are."""
_SHARE = 0.1
"""Or so many of them; or in a thin market, where that is little,"""
_MORE_THAN_USUAL = 1.5
"""so many times the share that is without one in its better sessions: a quarter of those in the window has less."""


_ENOUGH = 20
"""Sessions that it takes to know what is usual."""


class Kind(StrEnum):
    """What a hole says of its symbol."""

    NOT_FOUND = "not_found"
    NOTHING = "nothing"
    """The source has no data in the range."""
    NO_BAR = "no_bar"
    """The source knows it, and has no bar of the session."""
    TRADES = "trades"
    """There is a bar, which is in doubt."""
    UNKNOWN = "unknown"
    """The source did not say anything."""
    NOT_ASKED = "not_asked"


_KINDS = {
    NOT_FOUND: Kind.NOT_FOUND, NO_DATA: Kind.NOTHING, NO_BAR: Kind.NO_BAR, SUSPENDED: Kind.NO_BAR,
    HELD: Kind.TRADES, REFUSED: Kind.TRADES, REJECTED: Kind.TRADES, NOT_ASKED: Kind.NOT_ASKED,
}  # fmt: skip
_EVIDENCE = frozenset({Kind.NOT_FOUND, Kind.NOTHING, Kind.NO_BAR})
_LACKING = _EVIDENCE | {Kind.UNKNOWN}


def kind_of(outcome: str) -> Kind:
    """What an outcome of a cell's hole says of the symbol."""
    return _KINDS.get(outcome, Kind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Hole:
    """A symbol without a bar in a session, and the first and the last day (UTC) on which that was said."""

    kind: Kind
    first_told: date
    last_told: date


@dataclass(frozen=True, slots=True)
class Session:
    """One session of an exchange, as its cell knows it."""

    day: date
    received: int
    """How many symbols have a bar."""
    holes: Mapping[str, Hole]
    expects: Callable[[str], bool]
    """Whether the cell was filled for a symbol. Asked only where it matters: answering may cost a read."""


@dataclass(frozen=True, slots=True)
class Listings:
    """What else is known of the symbols of an exchange."""

    standing: Mapping[str, Standing]
    """Where the ledger leaves them; others are active."""
    left: Mapping[str, date]
    """Those that are in no list any more, and the last day they were in one."""
    expected_through: Mapping[str, date] = field(default_factory=dict[str, date])
    """The last day on which those are asked for."""
    never_traded: frozenset[str] = frozenset()
    """Those of which nobody knows a first trade."""
    stated: frozenset[str] = frozenset()
    """Those whose last trading day a person states: nothing is judged of them."""
    returned: frozenset[str] = frozenset()
    """Those that had left all lists, and are in one again."""
    last_bar: Callable[[str], date | None] = lambda _: None
    """The last session with a bar of a symbol that has none in the window."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """The end of a symbol's sessions: those without a bar, latest first, and the last one with one."""

    without: Sequence[Session]
    last_bar: date | None


def judge(sessions: Sequence[Session], listings: Listings, today: date) -> list[ListingEvent]:
    """The events that are due by now, in order of the symbols; none where every state is as the ledger has it.

    `sessions`: those that have a cell, in order, the last `WINDOW` of them.
    """
    sessions = sessions[-WINDOW:]
    walks = {symbol: _walk(symbol, sessions, listings) for symbol in _candidates(sessions, listings)}
    silent = {symbol for symbol, walk in walks.items() if walk.last_bar is None}
    others = {session.day: _others(session, listings, silent) for session in sessions}
    most = max(_SHARE, _MORE_THAN_USUAL * _usual(others.values()))
    events = [
        _returned(symbol, listings.standing[symbol], today)
        for symbol in listings.returned
        if symbol not in listings.stated
        and symbol in listings.standing
        and listings.standing[symbol].state is State.DELISTED
    ]
    for symbol, walk in walks.items():
        down = {one.day for one in sessions if not others[one.day].traded(symbol, most)}
        events += _due(symbol, walk, down, sessions, listings)
    return sorted(events, key=lambda one: one.symbol)


def _candidates(sessions: Sequence[Session], listings: Listings) -> set[str]:
    """Whose state may change: who lacks a bar of late, who left and lacks some, and who is suspended or suspect."""
    found = {
        symbol
        for position, session in enumerate(reversed(sessions))
        for symbol, hole in session.holes.items()
        if hole.kind in _EVIDENCE and (position < _RECENT or symbol in listings.left)
    }
    found |= {
        symbol
        for symbol, standing in listings.standing.items()
        if standing.state in (State.SUSPENDED, State.SUSPECT)
    }
    gone = {symbol for symbol, one in listings.standing.items() if one.state is State.DELISTED}
    return found - gone - listings.stated


def _walk(symbol: str, sessions: Sequence[Session], listings: Listings) -> _Walk:
    standing = listings.standing.get(symbol, Standing())
    through = listings.expected_through.get(symbol, date.max)
    without: list[Session] = []
    for session in reversed(sessions):
        if session.day > through:
            continue
        if standing.reactivated and session.day < standing.reactivated:
            # What led to the delisting that was taken back is no evidence for the next one.
            break
        hole = session.holes.get(symbol)
        if hole is None:
            if session.expects(symbol):
                return _Walk(without, session.day)
        elif hole.kind is Kind.TRADES:
            return _Walk(without, session.day)
        elif hole.kind in _EVIDENCE:
            without.append(session)
    return _Walk(without, standing.last_session)


@dataclass(frozen=True, slots=True)
class _Others:
    """What a session's cell has of the symbols that are active."""

    received: int
    lacking: frozenset[str]
    """Those without a bar, of whom one was to be expected."""
    silent: frozenset[str]
    """Those without a bar of whom none is known."""

    def traded(self, symbol: str, most: float) -> bool:
        """Whether the market traded, by the bars of all the others; `most`: the share that may lack theirs."""
        lacking = len(self.lacking - {symbol})
        every = lacking + len(self.silent - {symbol})
        if self.received < max(1, every):
            return False
        return lacking <= max(_SPARED, most * (self.received + lacking))

    @property
    def share(self) -> float:
        """The share without a bar."""
        return len(self.lacking) / max(1, self.received + len(self.lacking))


def _usual(sessions: Iterable[_Others]) -> float:
    """The share that is without a bar in the better sessions: an outage would have to last for most of the window to
    look usual."""
    shares = sorted(session.share for session in sessions)
    return shares[len(shares) // 4] if len(shares) >= _ENOUGH else 0.0


def _others(session: Session, listings: Listings, silent: set[str]) -> _Others:
    trades = sum(hole.kind is Kind.TRADES for hole in session.holes.values())
    active = {
        symbol
        for symbol, hole in session.holes.items()
        if hole.kind in _LACKING and not _known(listings.standing.get(symbol), session.day)
    } - listings.never_traded
    return _Others(session.received + trades, frozenset(active - silent), frozenset(active & silent))


def _known(standing: Standing | None, day: date) -> bool:
    """Whether the ledger explains why there is no bar on a day."""
    if standing is None or standing.state is State.ACTIVE or standing.since is None:
        return False
    return standing.since <= day


def _due(
    symbol: str, walk: _Walk, down: set[date], sessions: Sequence[Session], listings: Listings
) -> Iterable[ListingEvent]:
    standing = listings.standing.get(symbol, Standing())
    since = standing.since if standing.state in (State.SUSPENDED, State.SUSPECT) else None
    if since is not None and walk.last_bar is not None and walk.last_bar >= since:
        yield from _resumed(symbol, since, sessions)
        return
    if not walk.without:
        return
    holes = [session.holes[symbol] for session in walk.without if session.day not in down]
    # What is said on a day without the others' bars is said of everything, earlier sessions as well.
    days = {day for hole in holes for day in (hole.first_told, hole.last_told)} - down
    if len(days) < ANSWER_DAYS:
        return
    first, last = walk.without[-1].day, walk.without[0].day
    not_found = sum(hole.kind is Kind.NOT_FOUND for hole in holes)
    words = (
        f"no bar in {len(holes)} session(s) from {first} to {last} in which others traded, "
        f"not found by the source in {not_found} of them"
    )
    if (left := listings.left.get(symbol)) is not None and len(holes) >= LEFT_SESSIONS:
        # Without a bar there is no last trading day: then it goes on, as what the source says of it.
        if (day := walk.last_bar or listings.last_bar(symbol)) is not None:
            words = f"in none of its lists since {left}, and {words}"
            yield ListingEvent(symbol, Event.DELISTED, day, words, Confidence.TWO_KINDS)
            return
    elif (
        len(holes) >= NOT_FOUND_SESSIONS
        and min(not_found, len(days)) >= NOT_FOUND_ON
        and holes[0].kind is Kind.NOT_FOUND
        and (day := walk.last_bar or listings.last_bar(symbol)) is not None
    ):
        yield ListingEvent(symbol, Event.DELISTED, day, words, Confidence.ONE_KIND)
        return
    yield from _doubted(symbol, standing, first, holes, words)


def _doubted(
    symbol: str, standing: Standing, first: date, holes: Sequence[Hole], words: str
) -> Iterable[ListingEvent]:
    """Suspended or suspect, by what the source says of late (`holes`, latest first)."""
    of_late = [hole.kind for hole in holes[:SUSPENDED_SESSIONS]]
    nothing = [kind is not Kind.NO_BAR for kind in of_late[:SUSPECT_SESSIONS]]
    not_found = Kind.NOT_FOUND in of_late[:SUSPECT_SESSIONS]
    if len(nothing) == SUSPECT_SESSIONS and all(nothing):
        # After some weeks of a suspension the range that is asked for holds no bar any more: that is no news.
        if standing.state is State.ACTIVE or (standing.state is State.SUSPENDED and not_found):
            yield ListingEvent(symbol, Event.SUSPECT, first, words, Confidence.ONE_KIND)
    elif (
        standing.state is not State.SUSPENDED
        and len(of_late) == SUSPENDED_SESSIONS
        and all(kind is Kind.NO_BAR for kind in of_late)
    ):
        yield ListingEvent(symbol, Event.SUSPENDED, first, words, Confidence.ONE_KIND)


def _resumed(symbol: str, since: date, sessions: Sequence[Session]) -> Iterable[ListingEvent]:
    """That it trades again, from its first bar since on."""
    for session in sessions:
        if session.day < since:
            continue
        hole = session.holes.get(symbol)
        if session.expects(symbol) if hole is None else hole.kind is Kind.TRADES:
            words = f"it has a bar again on {session.day}"
            yield ListingEvent(symbol, Event.RESUMED, session.day, words, Confidence.SEEN)
            return


def _returned(symbol: str, standing: Standing, today: date) -> ListingEvent:
    """A delisted symbol that is in a list again is asked for again, from the next session on."""
    day = today
    if standing.since is not None and standing.since >= today:
        day = standing.since + timedelta(days=1)
    words = "in one of its lists again, after it had left all of them"
    return ListingEvent(symbol, Event.REACTIVATED, day, words, Confidence.SEEN)
