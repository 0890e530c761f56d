"""The routes by which the cache is looked at and cleared."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from quant_assets.api.access import require

router = APIRouter(prefix="/v1/cache", tags=["cache"])


class MemoryFacts(BaseModel):
    """Answers kept in the process that answered this."""

    entries: int
    bytes: int
    limit_bytes: int
    evicted: int


class RedisFacts(BaseModel):
    """The Redis behind it: of all that lies in it, ours or not."""

    location: str
    state: Literal["ok", "away"]
    reason: str | None = None
    """Why it is away."""
    entries: int | None = None
    bytes: int | None = None
    limit_bytes: int | None = None
    refused: int
    """Answers that it refused to keep."""
    breaker_opened: int
    """How often it stopped answering."""


class Answers(BaseModel):
    """Where answers came from since the process started; `joined`: from another request that was making the same."""

    memory: int
    redis: int
    joined: int
    made: int


class CacheFacts(BaseModel):
    kind: Literal["memory", "redis", "off"]
    hit_rate: float | None
    """The share of answers that were not made anew; null before the first."""
    answers: Answers
    memory: MemoryFacts | None
    redis: RedisFacts | None


class Cleared(BaseModel):
    removed: int
    """How many answers were forgotten: those in Redis, or else those of the process that answered this."""


@router.get("", dependencies=[Depends(require("read"))])
def look(request: Request) -> CacheFacts:
    """What the cache holds and how it does."""
    return CacheFacts.model_validate(request.app.state.cache.facts())


@router.delete("", dependencies=[Depends(require("admin"))])
def clear(request: Request) -> Cleared:
    """Forgets all answers. Never needed for them to be right: what is stale is not found."""
    return Cleared(removed=request.app.state.cache.clear())
