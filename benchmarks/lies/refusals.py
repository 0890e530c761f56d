"""Refusals that come as success: they touch whole runs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.lies.lie import KINDS, Lie
from benchmarks.lies.market import Slot


@KINDS.kind(alone=True)
def too_many_requests_text(slot: Slot) -> Iterator[Lie]:
    """Too many requests, said in a text."""
    for status in (200, 999):
        yield Lie(f"{status}", ({"kind": "too_many_requests_text", "status": status, "times": None},))


@KINDS.kind(alone=True)
def consent_page(slot: Slot) -> Iterator[Lie]:
    """The consent page instead of an answer."""
    yield Lie("page", ({"kind": "consent_page", "times": None},))


@KINDS.kind(alone=True)
def html_crumb(slot: Slot) -> Iterator[Lie]:
    """A page instead of a crumb."""
    yield Lie("page", ({"kind": "html_crumb", "times": None},))
