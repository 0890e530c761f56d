"""What the simulated exchange is said to be, and what the replay server makes of it, are the same on every day."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from benchmarks.simulated_listings.__main__ import make_shape
from benchmarks.simulated_listings.drawing import draw_world
from benchmarks.simulated_listings.world import INDEX, LISTED
from quant_assets.catalog.configured import is_isin
from quant_assets.replay.spells import Spell
from quant_assets.replay.world import World


def test_the_server_knows_who_is_listed() -> None:
    drawn = draw_world(1, make_shape(2, 10))
    served = World(drawn.history(), spells=[Spell.from_dict(raw) for raw in drawn.spells()])
    ends = [(since, symbol) for one in drawn.companies.values() for since, symbol in one.symbols]
    assert len(ends) > len({symbol for _, symbol in ends}), "no symbol is of two companies"
    for at in range(0, len(drawn.sessions), 40):
        served.set_now(datetime.combine(drawn.sessions[at], time(18), ZoneInfo("America/New_York")))
        trading = [one for one in drawn.companies.values() if one.first <= at <= one.last]
        found = {symbol for symbol in served.symbols if served.listing(symbol) is not None}
        gone = {
            one.symbol(at)
            for one in drawn.companies.values()
            if one.last < at and one.forgotten is not None and at < one.forgotten
        }
        assert found == {one.symbol(at) for one in trading} | gone
        for one in trading:
            info = served.listing(one.symbol(at))
            assert info is not None
            assert (info.name, info.listed_on) == (one.name(at), drawn.sessions[one.first])
        listed = drawn.in_force(LISTED, at)
        mistaken = {one.key for one in drawn.companies.values() if one.off_list}
        at_publication = {k for k, one in drawn.companies.items() if one.first <= listed.at <= one.last}
        assert at_publication - mistaken <= set(listed.members) <= at_publication
        assert set(drawn.in_force(INDEX, at).members) <= set(listed.members)
    assert all(is_isin(one.isin) for one in drawn.companies.values() if one.isin)
