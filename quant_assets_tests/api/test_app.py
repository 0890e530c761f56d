"""The parts of the API that all routes share."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from quant_assets import prices
from quant_assets.resources.object_store import ObjectStore


def test_prices_are_what_the_reader_gives(client: TestClient, store: ObjectStore) -> None:
    answer = client.get("/v1/prices", params={"symbols": "IBM", "start": "2012-01-03", "end": "2012-01-31"})
    assert answer.status_code == 200
    expected = prices("IBM", "2012-01-03", "2012-01-31", store=store).collect()
    assert expected.height > 5
    assert [row["close"] for row in answer.json()["data"]] == expected["close"].to_list()


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/v1/prices?symbols=NOSUCH", 404, "NOSUCH"),
        ("/v1/prices?symbols=IBM&start=yesterday", 422, "start"),
        ("/nowhere", 404, ""),
    ],
)
def test_errors_are_problem_documents(client: TestClient, path: str, status: int, named: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert named in document["detail"]


@pytest.mark.parametrize("path", ["prices", "gaps", "companies", "profiles"])
def test_a_list_of_symbols_that_names_none_is_neither_all_nor_none(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/{path}?symbols=")
    assert answer.status_code == 422
    assert "query.symbols: names no symbol; leave it out for all" in answer.json()["detail"]


def test_a_wrong_address_and_a_wrong_method_are_told_what_there_is(client: TestClient) -> None:
    assert "/docs" in client.get("/v1/price").json()["detail"]
    assert client.put("/v1/prices").json()["detail"] == "/v1/prices takes GET, not PUT"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/jobs?stauts=running", "query.stauts: there is no such parameter, did you mean status"),
        (
            "/v1/prices?symbols=IBM&format=csv&limit=5",
            "limit and cursor are for JSON: csv comes in one piece",
        ),
        ("/v1/cache?x=1", "query.x: there is no such parameter: this route takes none"),
        ("/v1/companies?symbols=IBN", "no symbol IBN (near: IBM): GET /v1/catalog lists"),
    ],
)
def test_what_would_not_count_is_refused(client: TestClient, path: str, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert words in answer.json()["detail"]
    assert client.get("/healthz?probe=1").status_code == 200
