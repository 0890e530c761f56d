"""The verdict on one symbol's answer: proven, explained or held."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from quant_assets.market.corporate_actions import split_factor_after
from quant_assets.market.verdicts.amounts import ORDINARY
from quant_assets.market.verdicts.answer import Answer, Series, Verdict, floats
from quant_assets.market.verdicts.basis import share_basis
from quant_assets.market.verdicts.breaks import beside_closed_days, off_scale
from quant_assets.market.verdicts.dividends import weigh_dividends
from quant_assets.market.verdicts.fields import out_of_line
from quant_assets.market.verdicts.real_moves import vouched_for


def judge(answer: Answer) -> Verdict:
    """Judges an answer by the witnesses at hand: the series itself, the served Adj Close, the source's own facts of
    today, and what is stored.

    Nothing is dropped: what is in doubt is named by day with the reason, and the smallest part of it only.
    """
    series = Series.of(answer.bars)
    basis = share_basis(answer, series)
    held = [*basis.held, *beside_closed_days(answer, series)]
    in_doubt = {day for one in held for day in one.days}
    if series.days.size:
        # Single prices first: a bar that is held for one of them breaks the series nowhere.
        held += out_of_line(series)
        single = {day for one in held for day in one.days} - in_doubt
        rest = Series.of(answer.bars.filter(~pl.col("date").is_in(sorted(single)))) if single else series
        held += off_scale(answer, rest, basis.splits)
    doubtful = {day for one in held for day in one.days}
    paid = weigh_dividends(answer, series, doubtful, _stored_dividends(answer, basis.splits))
    return Verdict(
        splits=basis.splits,
        dividends=paid.dividends,
        held=held,
        actions=paid.held,
        explained=[*basis.explained, *paid.explained],
        real_moves=vouched_for(answer, series) - doubtful if series.days.size else frozenset(),
    )


def _stored_dividends(answer: Answer, splits: pl.DataFrame) -> Mapping[date, float]:
    """Per day the stored dividend, on today's share basis, where it is an ordinary one."""
    if answer.stored.is_empty():
        return {}
    dividends, closes = (floats(answer.stored[name]) for name in ("dividend", "close"))
    ordinary = np.flatnonzero(dividends < ORDINARY * closes)
    days = answer.stored["date"]
    if ordinary.size < days.len():
        days = days.gather(ordinary)
    served = dividends[ordinary] / split_factor_after(days, splits).to_numpy()
    return dict(zip(days.to_list(), served.tolist(), strict=True))
