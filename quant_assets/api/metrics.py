"""What the API counts of itself, for Prometheus: requests by route and status, their seconds, and the cache; beside
what the store holds and what Dagster's runs came to (`operations.metrics`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quant_assets.operations.metrics import Platform
from quant_assets.resources.cache import AnswerCache, warming
from quant_assets.resources.local_copy import LocalCopy

router = APIRouter(tags=["health"])

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """All that is counted, in Prometheus' text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, cache: AnswerCache, copy: LocalCopy | None, platform: Platform) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "quant_assets_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "quant_assets_request_seconds",
            "From a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.under_way = Gauge(
            "quant_assets_requests_under_way",
            "Requests not yet answered to their end.",
            registry=self.registry,
        )
        self.registry.register(_OfCache(cache))
        if copy is not None:
            self.registry.register(_OfCopies(copy))
        self.platform = platform
        self.registry.register(platform)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)


class _OfCache(Collector):
    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "quant_assets_cache_answers",
            "Answers by where they came from; joined: from another request that was making the same.",
            labels=("source",),
        )
        for source, count in self._cache.outcomes().items():
            answers.add_metric([source], count)
        yield answers
        rate = self._cache.hit_rate()
        if rate is not None:
            yield GaugeMetricFamily(
                "quant_assets_cache_hit_rate", "Share of answers that were not made anew.", rate
            )
        if self._cache.near is not None:
            facts = self._cache.near.facts()
            for name, text in (
                ("entries", "Answers kept in this process."),
                ("bytes", "Bytes of the answers kept in this process."),
                ("limit_bytes", "Bytes that they may take."),
            ):
                yield GaugeMetricFamily(f"quant_assets_cache_{name}", text, facts[name])
            yield CounterMetricFamily(
                "quant_assets_cache_evicted", "Answers that made room for others.", facts["evicted"]
            )
        if self._cache.far is not None:
            health = self._cache.far.health()
            yield GaugeMetricFamily(
                "quant_assets_cache_redis_up",
                "1: Redis answers; 0: the breaker is open.",
                health.reason is None,
            )
            yield CounterMetricFamily(
                "quant_assets_cache_redis_breaker_opened", "How often it stopped answering.", health.opened
            )
            yield CounterMetricFamily(
                "quant_assets_cache_redis_refused", "Answers that it refused to keep.", health.refused
            )


class _OfCopies(Collector):
    def __init__(self, copy: LocalCopy) -> None:
        self._copy = copy

    def collect(self) -> Iterator[Metric]:
        facts = self._copy.facts()
        yield GaugeMetricFamily(
            "quant_assets_bucket_up",
            "1: the bucket answers; 0: reads are of local copies.",
            facts["away"] is None,
        )
        yield GaugeMetricFamily(
            "quant_assets_local_copy_objects", "Objects with a local copy.", cast("int", facts["objects"])
        )
        yield GaugeMetricFamily(
            "quant_assets_local_copy_bytes", "Bytes of the local copies.", cast("int", facts["bytes"])
        )


class Measured:
    """Counts every request by the template of its route: a path may hold whatever a client makes up."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or warming.get():
            await self._app(scope, receive, send)
            return
        status = 500
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.under_way.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.under_way.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = cast("str", getattr(scope.get("route"), "path", "none"))
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(method, route).observe(time.perf_counter() - began)


def register(app: FastAPI) -> None:
    """Has the app count its requests; `app.state.cache` and `copy` are there already."""
    state = app.state
    state.metrics = Metrics(state.cache, state.copy, Platform(state.settings, state.store))
    app.add_middleware(Measured, metrics=app.state.metrics)
