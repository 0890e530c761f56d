"""Interrupts (Ctrl-C, SIGTERM, Dagster's cancellation) that let work come to an orderly stop.

An interrupt raises in the middle of whatever the main thread is doing, and what other threads wait for goes on.
Inside `orderly_stop` it only sets a flag, which everything that waits or goes on asking looks at (`interrupted`,
`wait_unless_interrupted`); what has come is written, and then the signal is delivered again to whoever handled it
before: Python raises its KeyboardInterrupt, Dagster its own, and the run ends as cancelled. A second interrupt is
delivered at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from quant_assets.errors import QuantAssetsError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_stop = threading.Event()
_before_delivery: list[Callable[[], object]] = []


class Interrupted(QuantAssetsError):
    """The run was asked to stop while it waited."""

    def __init__(self) -> None:
        super().__init__("the run was interrupted")


def interrupted() -> bool:
    """Whether this process has been asked to stop. Always false outside `orderly_stop`."""
    return _stop.is_set()


def wait_unless_interrupted(seconds: float) -> bool:
    """Sleeps; answers at once, and with True, when the process is asked to stop meanwhile or was before."""
    return _stop.wait(seconds)


@contextmanager
def orderly_stop() -> Generator[None]:
    """While it lasts the first interrupt sets the flag; at the end the signal is delivered again.

    Only the main thread can handle signals: elsewhere, and inside another `orderly_stop`, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _is_ours(signal.getsignal(signal.SIGINT)):
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _: FrameType | None) -> None:
        if received:
            restore()
            signal.raise_signal(number)
        received.append(number)
        _stop.set()

    handle.__dict__["orderly_stop"] = True
    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
        _stop.clear()
        if received:
            for call in _before_delivery:
                call()
            signal.raise_signal(received[0])


@contextmanager
def before_delivery(call: Callable[[], object]) -> Generator[None]:
    """Has `call` called when an interrupt that `orderly_stop` held back is about to be delivered."""
    _before_delivery.append(call)
    try:
        yield
    finally:
        _before_delivery.remove(call)


def _is_ours(handler: object) -> bool:
    return getattr(handler, "orderly_stop", False) is True
