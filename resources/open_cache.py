"""Opens the cache that the settings name."""

from __future__ import annotations

from quant_assets.resources.cache import AnswerCache, MemoryCache
from quant_assets.resources.settings import Settings


def open_cache(settings: Settings) -> AnswerCache:
    """The cache of `QUANT_ASSETS_CACHE`: in this process, in Redis with this process in front of it, or none.

    Opening asks Redis nothing: one that is away is a cache that has nothing.
    """
    kind = settings.cache.get_secret_value()
    if kind == "off":
        return AnswerCache(None)
    limit = settings.cache_mb * 1_000_000
    near = MemoryCache(limit, settings.cache_seconds) if limit else None
    if kind == "memory":
        return AnswerCache(near)
    from quant_assets.resources.redis_cache import RedisCache

    return AnswerCache(near, RedisCache(kind, settings.cache_seconds, settings.store_location))
