"""Whether a server answers at all, and what time it thinks it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from quant_assets.errors import QuantAssetsError


class Unreachable(QuantAssetsError):
    """A server gives no answer; the message names its address."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A server's answer to one request for its headers."""

    status: int
    """Any status shows that it is there."""
    ahead_seconds: float | None
    """By how much this machine's clock is ahead of the server's; None: the server tells no time."""


def reach(url: str, timeout_seconds: float) -> Reached:
    """Asks a server for its headers, once. Raises Unreachable."""
    try:
        answer = httpx.head(url, timeout=timeout_seconds, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Unreachable(
            f"{url} does not answer: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    told = answer.headers.get("date")
    try:
        at = parsedate_to_datetime(told) if told else None
    except ValueError:
        at = None
    ahead = (datetime.now(UTC) - at).total_seconds() if at is not None and at.tzinfo else None
    return Reached(answer.status_code, ahead)
