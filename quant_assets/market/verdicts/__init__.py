"""Whether an answer of a source is to be believed, judged before any of its rows is compared with what is stored.

`judge.judge` is the way in. Each other module weighs one kind of claim: `basis` the splits that the served numbers
rest on, `breaks` (by the `steps` of a series) stretches that are on another scale than the rest, `real_moves` large
moves, `fields` single prices out of line, `dividends` the dividends against the served Adj Close.
"""
