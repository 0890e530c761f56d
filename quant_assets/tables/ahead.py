"""What is made of many parts, in their order, while others are made already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Here(Executor):
    """Does at once, in this thread, what it is given: on a local disk more threads only get in each other's way."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = Future[T]()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (raised where the result is asked for, as by any pool)
            future.set_exception(error)
        return future


def made_ahead(pool: Executor, function: Callable[[T], U], items: Iterable[T], count: int) -> Iterator[U]:
    """What `function` makes of each item, in order: at most `count` are made before they are asked for."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
