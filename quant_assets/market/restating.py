"""Judging what differs between stored rows and an answer, one symbol at a time; `restatements` has the classes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import polars as pl

from quant_assets.market.bars import DAILY_SCHEMA, KEYS, PRICES, VALUES
from quant_assets.market.claims import CLAIM_SCHEMA, Scope
from quant_assets.market.moves import UNITS, USUAL, is_within
from quant_assets.market.precision import CLOSE_TO, formerly_rounded, price_times
from quant_assets.market.reconcile import differing, new_row
from quant_assets.market.restatements import (
    LIVE_ROWS,
    OTHER_HISTORY,
    PERSISTENT,
    RESCALED,
    RESTATEMENTS_SCHEMA,
    Doubt,
    RestatementClass,
)
from quant_assets.market.symbol_pairs import SymbolPairs

_MOST = 0.9
"""Share of the rows before an ex-date that a split's ratio must explain: some may have been corrected as well."""
_MIN_ROWS = 5
"""Rows that a constant ratio must hold for before it says anything; one corrected price has a ratio, too."""
_OTHER_ROWS, _OTHER_SHARE = 10, 0.8
_FEW_RATIOS, _SAME_RATIOS = 3, 0.6
"""How many ratios of prices may be the doing of splits, and for what share of the rows."""
_OTHER_VOLUMES = 0.1
"""Median distance of the volumes' ratios from their median, as logarithms, that no split leaves."""
_SCALED = 5e-3
"""How far all four prices of a row must be off by one factor before it is the scale that differs."""
_FINER = 0.01
"""Up to so much of a dividend a change is but a finer amount."""


@dataclass(frozen=True, slots=True)
class Restated:
    """What becomes of the differences of some symbols.

    `events` (RESTATEMENTS_SCHEMA) are to be recorded; each row of `old` (DAILY_SCHEMA, as stored) is to be replaced
    by the row of `new` with its key. `held` (CLAIM_SCHEMA) are claims that are not taken. A symbol in `reaches_back`
    is wrong before the first row that was compared, so its whole history has to be: nothing else is said of it. Of
    those in `in_doubt` the share basis of the whole answer is, its new rows included. `notes` are for a person.
    """

    events: pl.DataFrame
    old: pl.DataFrame
    new: pl.DataFrame
    held: pl.DataFrame
    reaches_back: list[str] = field(default_factory=list[str])
    in_doubt: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def restate(
    pairs: pl.DataFrame, *, whole: bool | Collection[str], claimed: Mapping[str, int] | None = None
) -> Restated:
    """Judges what differs.

    Args:
        pairs: all rows that can be compared of the symbols that differ somewhere: the `pairs` of
            `reconcile.compare`.
        whole: whether they are all rows that are stored, or the symbols of which they are; of others a change that
            holds back from the first of them goes on before it.
        claimed: by symbol, on how many different days its claims against the stored rows have been made, today
            included; 1 where it is not named.
    """
    days = claimed or {}
    judged: list[_Symbol] = []
    for rows in _by_symbol(pairs):
        symbol: str = rows["symbol"][0]
        is_whole = whole if isinstance(whole, bool) else symbol in whole
        judged.append(_Symbol(rows, is_whole, days.get(symbol, 1)).judge())
    return Restated(
        events=pl.DataFrame([e for j in judged for e in j.events], schema=RESTATEMENTS_SCHEMA, orient="row"),
        old=_concat([j.taken for j in judged], DAILY_SCHEMA),
        new=_concat([new_row(j.taken) for j in judged], DAILY_SCHEMA),
        held=_concat([j.held for j in judged], CLAIM_SCHEMA),
        reaches_back=[j.symbol for j in judged if j.reaches_back],
        in_doubt=[j.symbol for j in judged if j.in_doubt],
        notes=[note for j in judged for note in j.notes],
    )


def _by_symbol(pairs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    differ = pairs.filter(pl.col("differs"))["symbol"].unique()
    yield from (
        pairs.filter(pl.col("symbol").is_in(differ.implode()))
        .sort(KEYS)
        .partition_by("symbol", maintain_order=True)
    )


def _concat(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    kept = [frame.select(list(schema)) for frame in frames if not frame.is_empty()]
    return pl.concat(kept).sort(KEYS) if kept else pl.DataFrame(schema=schema)


class _Symbol(SymbolPairs):
    """The steps, in order, each of which settles the pairs it has an explanation for."""

    def judge(self) -> _Symbol:
        self._formerly_rounded()
        # First whose history it is, then what happened to it.
        for step in (
            self._other_history,
            self._splits,
            self._currency,
            self._constant_ratio,
            self._scaled_rows,
            self._dividends,
        ):
            if not self._done:
                step()
        if not self._done:
            self._row_by_row(self._open)
        if self.reaches_back:
            self.events, self.taken, self.in_doubt = [], self.taken.clear(), False
            self.held = self.held.clear()
        if self.in_doubt:
            # Then its rows are held together.
            is_row = pl.col("scope") == Scope.ROW.value
            whole = pl.when(is_row).then(pl.lit(Scope.ANSWER.value)).otherwise("scope")
            self.held = self.held.with_columns(scope=whole)
        return self

    def _formerly_rounded(self) -> None:
        """Prices that an earlier version stored rounded: finer now, and no sign of anything else."""
        # A volume of which nothing was left was stored as zero.
        others = pl.any_horizontal(
            differing(n) & pl.col(f"{n}_new").is_not_null() for n in VALUES if n not in PRICES
        )
        rounded = pl.all_horizontal(formerly_rounded(n) | ~differing(n) for n in PRICES)
        found = self._open.filter(rounded & ~others)
        if found.height < _MIN_ROWS:
            self._row_by_row(found)
            return
        last = found.filter(differing("close")) if found.select(differing("close").any()).item() else found
        row = last.row(-1, named=True)
        name = next(n for n in reversed(PRICES) if row[n] != row[f"{n}_new"])
        which = pl.col("at").is_in(found["at"].implode())
        self._take(which, RestatementClass.CORRECTION, row["date"], name, row[name], row[f"{name}_new"])

    def _splits(self) -> None:
        """Split ratios that one side has and the other has not."""
        changed = self._open.filter(differing("split_ratio"))
        rows = changed.select("at", "date", "split_ratio", "split_ratio_new").rows()
        # Of several, each is judged by the rows back to the one before it: further back, that one counts as well.
        factor = 1.0
        for number, (at, day, old, new) in reversed(list(enumerate(rows))):
            since = rows[number - 1][0] if number else -1
            ratio = factor * new / old
            before = self._pairs.filter(
                (pl.col("at") < at) & (pl.col("at") >= since) & ~pl.col("settled") & pl.col("q").is_not_null()
            )
            rescaled = (
                not before.is_empty() and before.filter(price_times(ratio)).height >= _MOST * before.height
            )
            jump = self._jump(at)
            within = (pl.col("at") < at) & (pl.col("at") > since)
            if rescaled and new == 1.0:
                # Rescaled for good, and the event left out: less is known now than is stored.
                which = (pl.col("at") <= at) & ~pl.col("settled")
                rule = f"the answer leaves out the split of {day}"
                if self._live(before) or self._overturns_live(before):
                    self._settle(which)
                    self.notes.append(f"{self.symbol}: {rule}; the stored rows, captured before it, are kept")
                elif self._goes_on_before(before):
                    self.reaches_back = True
                elif self._confirmed:
                    self._take(which, RestatementClass.CORRECTION, day, "split_ratio", old, new)
                else:
                    self._hold(which, Doubt.SPLIT_LEFT_OUT, rule)
            elif new == 1.0 and jump is not None and is_within(jump * old, USUAL):
                # The prices show that the split took place.
                self._settle(pl.col("at") == at, only_field="split_ratio")
                self.notes.append(
                    f"{self.symbol}: the answer leaves out the split of {day}, which the stored prices show"
                )
            elif rescaled:
                self.reaches_back = self.reaches_back or not self._whole
                self._take(
                    ((within & price_times(ratio)) | (pl.col("at") == at)) & ~pl.col("settled"),
                    RestatementClass.LATE_SPLIT, day, "split_ratio", old, new,
                    more=self._beside(within & price_times(ratio), ratio, 1 / ratio)
                    + self._beside(pl.col("at") == at, factor, 1 / factor),
                )  # fmt: skip
                factor = ratio
            elif new != 1.0 and old == 1.0:
                by_later = within & price_times(factor) if factor != 1.0 else pl.lit(False)
                self._take(
                    ((pl.col("at") == at) | by_later) & ~pl.col("settled"),
                    RestatementClass.LATE_SPLIT, day, "split_ratio", old, new,
                    more=self._beside(by_later, factor, 1 / factor)
                    + self._beside(pl.col("at") == at, factor, 1 / factor),
                )  # fmt: skip
            # Any other change of a ratio is a corrected value, and is left to the last step.

    def _currency(self) -> None:
        """Another name of the currency, and the same numbers: an error of one answer looks like that, too."""
        renamed = self._open.filter(differing("currency") & ~pl.col("price_differs"))
        if renamed.height < _MIN_ROWS:
            return
        if not self._whole and int(renamed["at"][0]) == 0:
            self.reaches_back = True
            return
        last = renamed.row(-1, named=True)
        which = pl.col("at").is_in(renamed["at"].implode())
        if not self._confirmed:
            rule = f"{last['currency_new']} is named as the currency of numbers that are stored in {last['currency']}"
            self._hold(which, Doubt.UNIT, rule)
            self.in_doubt = self.in_doubt or self._is_last(renamed)
            return
        self._take(
            which, RestatementClass.UNIT_CHANGE, last["date"], "currency", last["currency"], last["currency_new"],
            more=self._beside(which, 1.0, 1.0),
        )  # fmt: skip

    def _constant_ratio(self) -> None:
        """One ratio for every row back from a date, and no event that says why."""
        bars = self._pairs.filter(pl.col("q").is_not_null() & ~pl.col("settled"))
        off = bars.filter(pl.col("price_differs"))
        if off.is_empty():
            return
        ratio = float(off["q"][0])
        end = int(off["at"][-1])
        constant = (
            off.height >= _MIN_ROWS
            and off.filter(price_times(ratio)).height == off.height
            and off.height == bars.filter(pl.col("at") <= end).height
        )
        hundred = next((unit for unit in UNITS if off.filter(price_times(unit)).height == off.height), None)
        if hundred is not None:
            self._unit_change(off, constant, hundred)
        elif constant:
            self._rescaled(ratio, end)

    def _unit_change(self, off: pl.DataFrame, constant: bool, ratio: float) -> None:
        if constant and not self._whole and int(off["at"][0]) == 0:
            self.reaches_back = True
            return
        last = off.row(off.height - 1, named=True)
        name = "currency" if last["currency"] != last["currency_new"] else "close"
        if name == "close" and (not self._confirmed or self._overturns_live(off)):
            # Another unit in the numbers alone: an error of one answer looks like that, too.
            self._hold(
                pl.col("at").is_in(off["at"].implode()),
                Doubt.UNIT,
                f"another unit of the currency: {ratio:g} times",
            )
            self.in_doubt = self.in_doubt or self._is_last(off)
            return
        which = pl.col("at").is_in(off["at"].implode())
        self._take(
            which, RestatementClass.UNIT_CHANGE, last["date"], name, last[name], last[f"{name}_new"],
            more=self._beside(which, ratio, 1.0),
        )  # fmt: skip

    def _rescaled(self, ratio: float, end: int) -> None:
        following = self._pairs.filter((pl.col("at") > end) & pl.col("q").is_not_null())
        if not following.is_empty():
            at, day = int(following["at"][0]), following["date"][0]
            old_jump, new_jump = self._jump(at), self._jump(at, "_new")
            assert old_jump is not None
            assert new_jump is not None
            proves = _likely(old_jump / ratio) and _likely(new_jump) and not _likely(old_jump)
            seen_live = self._pairs["fetched_at"][end] < self._pairs["fetched_at"][at]
            if proves and seen_live:
                # What stands was fetched on its day: it is what was traded, and the split is what was not known.
                split = float(Fraction(1 / ratio).limit_denominator(50))
                self._pairs = self._pairs.with_columns(
                    pl.when(pl.col("at") == at)
                    .then(split)
                    .otherwise("split_ratio_new")
                    .alias("split_ratio_new")
                )
                self._take(pl.col("at") == at, RestatementClass.LATE_SPLIT, day, "split_ratio", 1.0, split)
                self._settle(pl.col("at") < at)
                return
            if proves:
                # Fetched in one go after the date, with a jump that the source has repaired.
                if not self._whole:
                    self.reaches_back = True
                    return
                self._take(
                    (pl.col("at") <= end) & pl.col("differs"),
                    RestatementClass.LATE_SPLIT, day, "close", *self._pairs.select("close", "close_new").row(end),
                )  # fmt: skip
                return
        self._without_proof(ratio, end, following.is_empty())

    def _without_proof(self, ratio: float, end: int, through_now: bool) -> None:
        """A rescaling that nothing explains: held, until it has been claimed for long enough."""
        which = (pl.col("at") <= end) & pl.col("differs")
        rule = f"{RESCALED}: by {ratio:.6g}"
        off = self._pairs.filter(which)
        live = self._overturns_live(off)
        if live and (not through_now or self._days_claimed >= PERSISTENT):
            self._settle(which)
            self.notes.append(f"{self.symbol}: {rule}; the stored rows, captured on their evenings, are kept")
        elif not live and self._goes_on_before(off):
            self.reaches_back = True
        elif self._confirmed and not live:
            old, new = self._pairs.select("close", "close_new").row(end)
            self._take(which, RestatementClass.RESCALED, off["date"][-1], "close", old, new)
        else:
            self._hold(which, Doubt.RESCALED, rule)
            self.in_doubt = self.in_doubt or through_now

    def _overturns_live(self, off: pl.DataFrame) -> bool:
        """Whether so many of some stored rows were captured on their evenings that no repetition outweighs them."""
        return off.filter(pl.col("price_differs") & self._is_live()).height >= LIVE_ROWS

    def _goes_on_before(self, off: pl.DataFrame) -> bool:
        """Whether a change of `off` goes on before the first row that was compared.

        Then the whole history is compared, also for what is to be held: of a part of a history nobody could accept
        anything but a break in it.
        """
        return not self._whole and int(off["at"][0]) == 0

    def _other_history(self) -> None:
        bars = self._pairs.filter(pl.col("q").is_not_null() & ~pl.col("settled"))
        far = bars.filter(pl.col("price_differs") & ((pl.col("q") - 1.0).abs() > 1e-3)).height
        if far < _OTHER_ROWS or far <= _OTHER_SHARE * bars.height:
            return
        # Splits and units leave few ratios, of volumes as of prices; two companies have another one every day.
        if _few_ratios(bars, 200) and (_few_ratios(bars, 1000) or not _other_volumes(bars)):
            return
        which = pl.col("differs") & ~pl.col("settled")
        if not self._whole:
            self.reaches_back = True
        elif not self._confirmed or self._overturns_live(bars):
            self._hold(which, Doubt.OTHER_HISTORY, OTHER_HISTORY)
            self._settle(pl.lit(True))
            self.in_doubt = True
        else:
            last = self._open.row(-1, named=True)
            self._take(
                which, RestatementClass.REPLACED, last["date"], "close", last["close"], last["close_new"]
            )

    def _scaled_rows(self) -> None:
        """Rows whose four prices are all off by one factor: no correction of a price looks like that."""
        factors = [pl.col(f"{name}_new") / pl.col(name) for name in PRICES]
        open_ = pl.col("differs") & ~pl.col("settled") & pl.all_horizontal(differing(name) for name in PRICES)
        least, most = pl.min_horizontal(factors), pl.max_horizontal(factors)
        off = self._pairs.filter(
            open_ & (most - least <= CLOSE_TO * most) & ((pl.col("q") - 1.0).abs() > _SCALED)
        )
        if off.is_empty() or (self._confirmed and not self._overturns_live(off)):
            return
        ratio = float(off["q"][-1])
        first, last = off["date"][0], off["date"][-1]
        self._hold(
            pl.col("at").is_in(off["at"].implode()), Doubt.RESCALED,
            f"{off.height} row(s) from {first} to {last} rescaled by {ratio:.6g}",
        )  # fmt: skip
        self.in_doubt = self.in_doubt or self._is_last(off)

    def _dividends(self) -> None:
        """Known dividends that are left out, or have another amount, are held until they are so for good."""
        change = (pl.col("dividend_new") - pl.col("dividend")).abs() / pl.col("dividend")
        changed = self._open.filter((pl.col("dividend") > 0.0) & differing("dividend") & (change > _FINER))
        if changed.is_empty() or self._confirmed:
            return
        which = pl.col("at").is_in(changed["at"].implode())
        for row in changed.select("date", "dividend", "dividend_new").iter_rows(named=True):
            rule = f"the dividend of {row['dividend']:g} on {row['date']} is {row['dividend_new']:g} in the answer"
            self._claim(pl.col("date") == row["date"], Doubt.DIVIDEND_CHANGED, rule, Scope.ACTION)
        # The row's other values may differ as well, and are judged with what is stored of the dividend.
        self._pairs = self._pairs.with_columns(
            dividend_new=pl.when(which).then("dividend").otherwise("dividend_new")
        )
        others = pl.any_horizontal(differing(name) for name in VALUES if name != "dividend")
        self._pairs = self._pairs.with_columns(differs=pl.when(which).then(others).otherwise("differs"))

    def _row_by_row(self, pairs: pl.DataFrame) -> None:
        for row in pairs.iter_rows(named=True):
            fields = self._fields(row["at"])
            first, *more = fields
            self._take(pl.col("at") == row["at"], *first, more=more)


def _few_ratios(bars: pl.DataFrame, steps: int) -> bool:
    """Whether the prices' ratios (`q`) are but a few, those within one `steps`-th of each other counted as one."""
    ratios = bars.select((pl.col("q").log() * steps).round().alias("ratio"))["ratio"]
    return int(ratios.value_counts(sort=True)["count"].head(_FEW_RATIOS).sum()) > _SAME_RATIOS * bars.height


def _other_volumes(bars: pl.DataFrame) -> bool:
    """Whether the volumes' ratios scatter."""
    traded = bars.filter((pl.col("volume") > 0) & (pl.col("volume_new") > 0))
    if traded.is_empty():
        return False
    ratios = traded.select((pl.col("volume_new") / pl.col("volume")).log().alias("ratio"))
    distance = (pl.col("ratio") - pl.col("ratio").median()).abs().median()
    return bool(ratios.select(distance > _OTHER_VOLUMES).item())


def _likely(move: float) -> bool:
    return is_within(move, USUAL)
