"""Asking again what may have failed in passing: so often as the settings say, with pauses that double."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.interrupts import Interrupted, wait_unless_interrupted
from quant_assets.resources.pacing import Pacer
from quant_assets.resources.settings import Settings

_LONGEST_PAUSE = 30.0
_LONGEST_COOL_DOWN = 60.0

Answer = TypeVar("Answer")


class Passing(QuantAssetsError):
    """A failure that may pass: worth asking again."""

    def __init__(self, what: str, *, rate_limited: bool = False) -> None:
        super().__init__(what)
        self.rate_limited = rate_limited


class StillFailing(QuantAssetsError):
    """It was asked as often as it may be, and failed each time; the message is the last failure and how often."""


def ask_again(settings: Settings, ask: Callable[[], Answer], pacer: Pacer | None = None) -> Answer:
    """What `ask` answers, asked again while it raises Passing.

    After a rate limit everything that goes through `pacer` cools down instead of a pause here. Raises StillFailing,
    Interrupted, and whatever else `ask` raises.
    """
    for number in range(1, settings.attempts + 1):
        try:
            return ask()
        except Passing as error:
            if number == settings.attempts:
                times = "once" if number == 1 else f"{number} times"
                raise StillFailing(f"{error}, asked {times}") from error
            doubled = 2 ** (number - 1)
            if error.rate_limited and pacer is not None:
                pacer.cool_down(min(_LONGEST_COOL_DOWN, settings.cool_down_seconds * doubled))
            elif wait_unless_interrupted(min(_LONGEST_PAUSE, settings.retry_wait_seconds * doubled)):
                raise Interrupted from error
    raise AssertionError("attempts is at least 1")
