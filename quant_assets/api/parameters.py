"""The parameters that routes share, and what they mean."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from quant_assets.api.encoding import Orient
from quant_assets.api.negotiation import Format
from quant_assets.api.problems import Problem
from quant_assets.market.corporate_actions import Adjust, Reinvest
from quant_assets.market.oddities import Envelope

MOST_ROWS = 100_000
ROWS = 10_000
"""Rows of a page where nothing is said."""

_SYMBOLS = "Yahoo's symbols, with commas or spaces between; lower case will do. Nothing: all."


def _iso_day(value: object) -> object:
    # pydantic takes a number for seconds since 1970: 20130301 would be a day in August of that year.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("write YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_iso_day)]


def _names_some(value: str) -> str:
    if not parts_of(value):
        raise ValueError("names no symbol; leave it out for all")
    return value


Symbols = Annotated[str, AfterValidator(_names_some)]
"""A list of symbols. An empty one is refused: a script whose variable is not set means neither all nor none."""


class Shaping(BaseModel):
    """How an answer looks, and what of it."""

    model_config = ConfigDict(extra="forbid")

    columns: str | None = Field(
        None, description="The columns wanted, with commas between. Nothing: all.", max_length=2_000
    )
    format: Format | None = Field(
        None, description="Nothing: as the header Accept says; JSON where it says nothing."
    )
    orient: Orient = Field("records", description="JSON only: an object a row, or a list a column.")
    limit: int = Field(ROWS, ge=1, le=MOST_ROWS, description="JSON only: the most rows of a page.")
    cursor: str | None = Field(
        None, description="JSON only: `next` of the page before; all else as it was.", max_length=500
    )
    snapshot: str | None = Field(
        None,
        description="The id of an earlier answer to the same question (X-Snapshot-Id): the same again, or 409.",
        max_length=200,
    )

    def wanted_columns(self) -> list[str] | None:
        """The columns asked for, each once; None: all."""
        return None if self.columns is None else parts_of(self.columns)


class Ranged(Shaping):
    """A range of days, both of them in it."""

    start: Day | None = Field(None, description="The first day, YYYY-MM-DD.", examples=["2012-01-03"])
    end: Day | None = Field(None, description="The last day, YYYY-MM-DD.", examples=["2012-03-30"])

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start={self.start} is after end={self.end}: exchange them")
        return self


class Choosing(Shaping):
    """Which symbols: some, those of a universe, those of an exchange, or all."""

    symbols: Symbols | None = Field(None, description=_SYMBOLS, examples=["AAPL,IBM"])
    universe: str | None = Field(None, description="Those that are in this universe now.", max_length=200)
    exchange: str | None = Field(None, description="Those of this exchange, by its code.", max_length=20)

    def names(self) -> list[str] | None:
        """The symbols as they are written; None: all."""
        return None if self.symbols is None else parts_of(self.symbols)


class OfSymbols(Choosing, Ranged):
    """Which symbols, and which days."""


class OfPrices(OfSymbols):
    """What `quant_assets.prices` takes."""

    adjust: Adjust = Field(
        "none",
        description="As traded; on today's share basis (split); with dividends, too (total_return).",
        examples=["split"],
    )
    reinvest: Reinvest = Field("prev_close", description="total_return: at which close a dividend counts.")
    envelope: Envelope = Field(
        "as_served", description="High and low as the source gives them, or widened around open and close."
    )
    by: Literal["symbol", "company"] = Field(
        "symbol", description="company: through all symbols that a symbol's company had."
    )
    as_of: str | None = Field(
        None,
        description="What was known at this moment: ISO 8601 with its zone, or a day (its end, UTC).",
        examples=["2013-03-02"],
        max_length=40,
    )

    def moment(self) -> datetime | None:
        """`as_of` in UTC. Raises Problem 422."""
        if self.as_of is None:
            return None
        try:
            if len(self.as_of) == len("2013-03-01"):
                return datetime.combine(date.fromisoformat(self.as_of), time.max, UTC)
            found = datetime.fromisoformat(self.as_of)
            if found.tzinfo is not None:
                return found.astimezone(UTC)
            why = "has no time zone: add one, e.g. Z (in an address, + is written %2B)"
        except (ValueError, OverflowError):
            why = "is no moment: write 2013-03-01 or 2013-03-01T23:00:00Z"
        raise Problem(422, "The request cannot be used", f"as_of={self.as_of!r} {why}")


def parts_of(text: str) -> list[str]:
    """The parts of a list in a text, with commas or white space between, each once."""
    return list(dict.fromkeys(part for part in re.split(r"[,\s]+", text) if part))


_NOT_OF_THE_QUESTION = ("format", "orient", "limit", "cursor")


def canonical(asked: Shaping) -> dict[str, str]:
    """What is asked for, in one spelling: without defaults, lists in order, and without how the answer looks."""
    values = asked.model_dump(mode="json", exclude_defaults=True)
    found: dict[str, str] = {}
    for name, value in values.items():
        if name == "symbols":
            value = ",".join(sorted(parts_of(value.upper())))
        elif name == "columns":
            value = ",".join(parts_of(value))
        if name not in _NOT_OF_THE_QUESTION:
            found[name] = str(value)
    return found
