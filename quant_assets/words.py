"""Counts in words, for messages that people read."""

from __future__ import annotations


def number_of(count: int, word: str, plural: str = "") -> str:
    """A count with its word in the right form: "1 session", "3,480 sessions", "2 stretches" (with that plural)."""
    return f"{count:,} {word if count == 1 else plural or f'{word}s'}"
