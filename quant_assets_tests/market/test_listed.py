"""`Listed` beside `listed`, which asks polars anew for each session."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.market.coverage import listed
from quant_assets.market.listed import Listed

MONDAY = date(2013, 2, 11)
DAYS = [MONDAY + timedelta(days=n) for n in range(-3, 8)]
bound = st.none() | st.integers(-2, 5).map(lambda n: MONDAY + timedelta(days=n))


@given(
    st.lists(st.tuples(st.sampled_from("ABCDEFG"), bound, bound), max_size=8),
    st.lists(st.sampled_from(DAYS), unique=True).map(sorted),
)
def test_listed_says_of_every_session_who_is_listed(
    rows: list[tuple[str, date | None, date | None]], sessions: list[date]
) -> None:
    schema = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}
    listings = pl.DataFrame(rows, schema=schema, orient="row")
    known = Listed(listings)
    for day in DAYS:
        assert known.at(day) == listed(listings, day)
    assert known.ever(sessions) == {symbol for day in sessions for symbol in listed(listings, day)}
