"""Which form an answer has: the format by `format=` or `Accept`, the compression by `Accept-Encoding` (RFC 9110)."""

from __future__ import annotations

import math
from typing import Literal, get_args

from quant_assets.api.problems import Problem

Format = Literal["json", "csv", "arrow", "parquet"]
Encoding = Literal["zstd", "gzip", "identity"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
"""The better first: of two that a client likes as much, zstd is faster to make and smaller."""


def weights(header: str) -> dict[str, float]:
    """The values of a header of preferences, in lower case and without their other parameters, with their q.

    A q that is no number from 0 to 1 counts as 0: the client has said that the value is not like the others.
    """
    found: dict[str, float] = {}
    for part in header.split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if not value:
            continue
        q = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(q)
        except ValueError:
            weight = 0.0
        found[value] = weight if math.isfinite(weight) and 0 <= weight <= 1 else 0.0
    return found


def format_for(asked: Format | None, accept: str | None) -> Format:
    """The format of an answer: the one `asked` for by name, else the one that `Accept` likes best (JSON first).

    Raises Problem 406 where it likes none.
    """
    if asked is not None:
        return asked
    if accept is None or not (liked := weights(accept)):
        return "json"
    best: Format | None = None
    most = 0.0
    for name, media_type in MEDIA_TYPES.items():
        plain = media_type.partition(";")[0]
        weight = liked.get(plain, liked.get(f"{plain.partition('/')[0]}/*", liked.get("*/*", 0.0)))
        if weight > most:
            best, most = name, weight
    if best is None:
        told = ", ".join(media_type.partition(";")[0] for media_type in MEDIA_TYPES.values())
        raise Problem(406, "No such format", f"Accept: {accept[:200]} names none of {told}; or say format=")
    return best


def encoding_for(accept_encoding: str | None, among: tuple[Encoding, ...] = ENCODINGS) -> Encoding:
    """The compression that `Accept-Encoding` likes best; none where it says nothing.

    Raises Problem 406 where it refuses every one of `among`.
    """
    if accept_encoding is None:
        return "identity"
    liked = weights(accept_encoding)
    best: Encoding | None = None
    most = 0.0
    for name in among:
        # What is not named is refused by a star with q=0 alone, and identity not otherwise.
        unnamed = liked.get("*", 1e-9 if name == "identity" else 0.0)
        weight = liked.get(name, unnamed)
        if weight > most:
            best, most = name, weight
    if best is None:
        raise Problem(
            406,
            "No such compression",
            f"Accept-Encoding: {accept_encoding[:200]} leaves none of {', '.join(among)}",
        )
    return best
