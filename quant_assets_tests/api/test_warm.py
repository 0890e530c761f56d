"""Warm-up: what is asked for most is made anew once its data has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date

import pytest
from starlette.testclient import TestClient

from quant_assets.api.app import create_app
from quant_assets.api.warm import WarmUp
from quant_assets.operations.keys import new_key
from quant_assets.resources.object_store import ObjectStore
from quant_assets.resources.settings import Settings

ASKED = "/v1/prices?symbols=IBM&start=2012-03-01&end=2012-03-31"


def cache_of(client: TestClient) -> dict[str, int]:
    return client.app.state.cache.outcomes()  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]


@pytest.mark.parametrize("open_reading", [True, False])
def test_popular_answers_are_made_anew_once_data_has_changed_and_rests(
    store: ObjectStore, changed: Callable[[], date], open_reading: bool
) -> None:
    text, key = new_key("me", "read")
    settings = Settings(store=store.location, cache_warm=1, api_keys=key.entry())
    client = TestClient(create_app(settings, open_reading=open_reading))
    headers = {"Accept-Encoding": "zstd", "X-API-Key": text}
    for asked in (ASKED, ASKED, f"{ASKED}&format=csv"):
        assert client.get(asked, headers=headers).status_code == 200
    warm = WarmUp(client.app, client.app.state.popular)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue, reportArgumentType]

    def look() -> int:
        return asyncio.run(warm.look())

    assert [look(), look()] == [0, 0]
    changed()
    before = cache_of(client)
    assert look() == 0, "somebody may still be writing"
    assert look() == 1
    assert look() == 0
    assert cache_of(client) == before, "nobody asked"
    answer = client.get(ASKED, headers=headers)
    assert answer.headers["x-cache"] == "memory"
    assert 77.0 in [row["close"] for row in answer.json()["data"]]
    assert client.get(f"{ASKED}&format=csv", headers=headers).headers["x-cache"] == "made"


def test_what_is_counted_stays_bounded_and_what_is_asked_often_stays_in_it(store: ObjectStore) -> None:
    client = TestClient(create_app(Settings(store=store.location, cache_warm=2)))
    for end in range(1, 29):
        for asked in (ASKED, f"/v1/prices?symbols=IBM&start=2012-03-01&end=2012-03-{end:02d}"):
            client.get(asked)
    popular = client.app.state.popular  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    assert len(popular._counts) <= 16
    assert popular.top()[0].query.decode() == ASKED.partition("?")[2]
    client.get(ASKED, headers={"Accept": "application/json, " + "x" * 5000})
    assert all(len(asked.accept) < 5000 for asked in popular._counts)


def test_a_warm_up_that_fails_disturbs_nobody(store: ObjectStore, changed: Callable[[], date]) -> None:
    client = TestClient(create_app(Settings(store=store.location)))
    assert client.get(ASKED).status_code == 200
    warm = WarmUp(client.app, client.app.state.popular)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue, reportArgumentType]
    asyncio.run(warm.look())
    changed()
    store.delete("symbol_catalog.parquet")
    assert [asyncio.run(warm.look()) for _ in range(2)] == [0, 1]
    assert client.get(ASKED).status_code == 404
