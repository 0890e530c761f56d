"""What a price source is: symbols in, one result a symbol out, with its outcome told apart and its facts kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, Literal, Protocol

import polars as pl

from quant_assets.errors import QuantAssetsError

SERVED_SCHEMA = pl.Schema(
    {
        "date": pl.Date(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "adj_close": pl.Float64(),
        "volume": pl.Int64(),
    }
)
"""Bars as a source serves them. `adj_close` is the close adjusted by the source for the dividends it knows of, null
where it gives none; nothing else is null."""
SPLITS_SCHEMA = pl.Schema({"date": pl.Date(), "ratio": pl.Float64()})
DIVIDENDS_SCHEMA = pl.Schema(
    {"date": pl.Date(), "amount": pl.Float64(), "kind": pl.String(), "currency": pl.String()}
)
"""One row an event as served, several on one date left apart. `kind` is "dividend" or "capital_gain"; `currency` is
null where it is the listing's own."""

ActionKind = Literal["split", "dividend", "capital_gain"]


class Outcome(StrEnum):
    """What became of one symbol's request."""

    OK = "ok"
    NO_DATA = "no_data"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """One symbol and the first session wanted; the answer always reaches through now."""

    symbol: str
    start: date
    zone: str
    """IANA zone of the exchange: the zone of the sessions' dates, checked against the answer's."""
    close: time | None = None
    """The exchange's latest usual local close: a bar stamped hours after it is not of that day."""
    sessions: Sequence[date] = ()
    """The exchange's sessions in order, from `start` through today. With none no day is known to be closed."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What an answer says of the listing today; each None where it says nothing that can be read.

    `price` is the last trade, `price_at` its moment (UTC); `low_52_weeks` and `high_52_weeks` the range of the past
    year. In the listing's currency, split-adjusted to now. `name` is the company's, `instrument` what the source
    calls its kind ("EQUITY", "ETF", …).
    """

    price: float | None = None
    price_at: datetime | None = None
    low_52_weeks: float | None = None
    high_52_weeks: float | None = None
    name: str | None = None
    instrument: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadableEvent:
    """An event that the source lists in a form nobody can use: its ex-date where that much can be read, and its
    ratio or amount (or the whole event) as served."""

    date: date | None
    kind: ActionKind
    text: str

    def __str__(self) -> str:
        kind = self.kind.replace("_", " ")
        return f"a {kind} that cannot be read ({self.date or 'without a date'}: {self.text})"


@dataclass(frozen=True, slots=True)
class FetchResult:
    """One symbol's answer.

    `bars` (SERVED_SCHEMA), `splits` and `dividends` are split-adjusted to now, as the source serves them; bars
    have one row a date. `dropped` names the dates whose bar the source gave in a form nobody can use (null values,
    two different bars for one session), with the reason; `unreadable` are the events in such a form. `shifted` are
    the sessions whose bar was stamped on the evening before and has been put on its session. `notes` say what
    else was settled in reading. `currency` is None where the answer names none. `reason` says what went
    wrong when the outcome is not OK. `facts` are the raw facts for reports: status, attempts, seconds.
    """

    symbol: str
    outcome: Outcome
    reason: str = ""
    bars: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SERVED_SCHEMA))
    splits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SPLITS_SCHEMA))
    dividends: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DIVIDENDS_SCHEMA))
    dropped: dict[date, str] = field(default_factory=dict[date, str])
    currency: str | None = None
    first_trade: date | None = None
    meta: Meta = Meta()
    unreadable: list[UnreadableEvent] = field(default_factory=list[UnreadableEvent])
    shifted: list[date] = field(default_factory=list[date])
    notes: list[str] = field(default_factory=list[str])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


class PriceSource(Protocol):
    """A place that daily histories come from. A second one needs nothing but this."""

    @property
    def name(self) -> str:
        """What cells record as their source, e.g. "yahoo"."""
        ...

    @property
    def data_requests(self) -> int:
        """How many data requests have been sent so far (set-up requests such as cookies not counted)."""
        ...

    def history(self, requests: Sequence[HistoryRequest]) -> Iterator[FetchResult]:
        """Each symbol's history from its start through now, in the order the answers come; one result a request.

        Never raises for a symbol: what went wrong is its outcome. Raises SourceUnavailable when the source as a
        whole cannot be reached.
        """
        ...


class SourceUnavailable(QuantAssetsError):
    """The source as a whole does not answer; the message names its address and the remedy."""
