"""What becomes of a claim that is held: what settles it by itself, by kind, and what a decision about it does."""

from __future__ import annotations

from collections.abc import Mapping

from quant_assets.market.claims import RULE, Scope

_ASKED = "it is asked for again by every run"
_BY_TIME = "or the same values, consistent in themselves, on three different days"

_BUT_LIVE = "but against ten rows captured on their own evenings a person only"

SETTLES: Mapping[str, str] = {
    RULE: "An answer whose bar keeps the rules; it is asked for once a day.",
    "unsettled_split": "The ex-date: the bar of that session, and those before it, show if prices were rescaled.",
    "repeated_split": "An answer that lists the split once, or prices that show both of them.",
    "unreadable_split": f"An answer in which the ratio can be read; {_ASKED}.",
    "rescaled_in_part": "An answer that is on one share basis throughout, on both sides of each split it lists.",
    "hundredfold": "An answer in one unit throughout, that of the source's own quote and of what is stored.",
    "field_out_of_line": f"An answer whose four prices agree; {_ASKED}.",
    "stamped_on_a_closed_day": "An answer whose bars are dated on sessions.",
    "dividend_contradicted": "An answer whose list and Adj Close name the same amount.",
    "dividend_left_out": "An answer that lists the dividend, or whose Adj Close does without it.",
    "dividend_repeated": "An answer that lists the dividend once, or an Adj Close that was adjusted by both.",
    "dividend_implausible": f"An answer with another amount, or without the dividend; {_ASKED}.",
    "dividend_in_another_currency": "An answer whose amount is in the currency of the prices.",
    "unreadable_dividend": f"An answer in which the amount can be read; {_ASKED}.",
    "gains_counted_twice": "An answer that lists the capital gain once.",
    "rescaled": f"An answer like what is stored, an event that explains the factor, {_BY_TIME}.",
    "other_history": f"An answer like what is stored, {_BY_TIME}; {_BUT_LIVE}.",
    "unit": f"An answer in the unit of what is stored, {_BY_TIME}; {_BUT_LIVE}.",
    "split_left_out": f"An answer that lists the split that is stored, {_BY_TIME}.",
    "dividend_changed": f"An answer with the amount that is stored, or whose Adj Close proves the other, {_BY_TIME}.",
}
"""By kind. The rest: `settles`."""

ACCEPTING: Mapping[Scope, str] = {
    Scope.ANSWER: "stores all its rows as claimed; what they replace is recorded as a restatement",
    Scope.ROW: "stores what is claimed; what it replaces is recorded as a restatement",
    Scope.ACTION: "puts the amount that is claimed, or that of --dividend, into the stored row, as a recorded "
    "restatement",
}
REJECTING: Mapping[Scope, str] = {
    Scope.ANSWER: "keeps all its rows out; sessions without a stored row become final holes",
    Scope.ROW: "keeps it out; a session without a stored row becomes a final hole",
    Scope.ACTION: "keeps the claim out: an amount that is stored stays; where it is in doubt (none is stored) it "
    "becomes 0.0, as a recorded restatement",
}
"""What a decision does, by scope. It stands: the same values are neither asked about nor held again."""


def settles(kind: str) -> str:
    """What settles a claim of a kind without anybody's decision."""
    return SETTLES.get(kind, f"An answer that the evidence carries, {_BY_TIME}; {_ASKED}.")
