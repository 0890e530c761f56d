"""The routes of the tables: each gives what the store holds, and the examples of OpenAPI run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from quant_assets import prices, weekly
from quant_assets.resources.object_store import ObjectStore
from quant_assets_tests.api.desk import CHANGED, HOLE, SPLIT


def rows(client: TestClient, url: str) -> list[dict[str, Any]]:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_prices_are_adjusted_as_the_reader_adjusts(client: TestClient, store: ObjectStore) -> None:
    for how in ("none", "split", "total_return"):
        expected = prices("AAPL", adjust=how, store=store).collect()
        found = rows(client, f"/v1/prices?symbols=aapl&adjust={how}")
        assert [row["close"] for row in found] == expected["close"].to_list()
    assert [row["date"] for row in found if row["split_ratio"] != 1.0] == [SPLIT.isoformat()]


def test_many_symbols_are_a_body(client: TestClient) -> None:
    asked = {"symbols": ["AAPL", "ibm"] * 5_000}
    answer = client.post("/v1/prices/query?start=2012-03-01&columns=symbol", json=asked)
    assert answer.status_code == 200
    assert {row["symbol"] for row in answer.json()["data"]} == {"AAPL", "IBM"}
    for table in ("weekly", "valuations"):
        answer = client.post(f"/v1/{table}/query", json={"symbols": ["IBM"]})
        assert {row["symbol"] for row in answer.json()["data"]} == {"IBM"}


def test_symbols_of_a_universe_and_of_an_exchange(client: TestClient) -> None:
    found = {row["symbol"] for row in rows(client, "/v1/prices?universe=desk&start=2012-03-30")}
    assert found == {"AAPL", "BHP.AX"}
    assert {row["symbol"] for row in rows(client, "/v1/weekly?exchange=ASX")} == {"BHP.AX", "CBA.AX"}
    assert [row["pe"] for row in rows(client, "/v1/valuations?universe=desk&exchange=US")] == [12.5]


def test_by_company_each_row_says_whose_it_is(client: TestClient, store: ObjectStore) -> None:
    found = rows(client, "/v1/prices?symbols=IBM&by=company")
    assert [row["close"] for row in found] == prices("IBM", store=store).collect()["close"].to_list()
    assert "company_id" in found[0]
    refused = client.get("/v1/prices?symbols=IMB&by=company")
    assert (refused.status_code, "IBM" in refused.json()["detail"]) == (404, True)


def test_weeks_are_those_of_the_reader(client: TestClient, store: ObjectStore) -> None:
    expected = weekly(["AAPL"], "2012-02-13", "2012-02-13", store=store).collect()
    found = rows(client, "/v1/weekly?symbols=AAPL&start=2012-02-13&end=2012-02-13")
    assert [row["close"] for row in found] == expected["close"].to_list()
    assert len(found) == 1


def test_what_was_known_at_a_moment_is_what_the_ledger_says(client: TestClient) -> None:
    url = f"/v1/prices?symbols=IBM&start={CHANGED}&end={CHANGED}"
    (now,), (then,) = rows(client, url), rows(client, f"{url}&as_of=2012-04-01T13:00:00Z")
    assert (now["close"], then["close"]) == (150.0, 116.8)
    assert rows(client, f"{url}&as_of=2012-03-31") == []


def test_the_catalog_is_searched_by_symbol_and_name(client: TestClient) -> None:
    assert [row["symbol"] for row in rows(client, "/v1/catalog?q=bhp lim")] == ["BHP.AX"]
    assert len(rows(client, "/v1/catalog?exchange=US&active=true")) == 2
    assert rows(client, "/v1/catalog?active=false") == []


def test_universes_now_and_on_a_day(client: TestClient) -> None:
    listed = {row["universe"]: row for row in rows(client, "/v1/universes")}
    assert (listed["desk"]["symbols"], listed["desk"]["answered_from"]) == (2, "2012-01-03")
    assert {row["symbol"] for row in rows(client, "/v1/universes/desk")} == {"AAPL", "BHP.AX"}
    on = rows(client, "/v1/universes/desk?on=2012-02-01")
    assert [(row["symbol"], row["confidence"]) for row in on] == [("AAPL", "stated"), ("BHP.AX", "stated")]
    unknown = client.get("/v1/universes/desk?on=2011-02-01")
    assert (unknown.status_code, "2012-01-03" in unknown.json()["detail"]) == (404, True)


def test_exchanges_say_what_is_stored_and_how_fresh_it_is(client: TestClient) -> None:
    found = {row["exchange"]: row for row in rows(client, "/v1/exchanges")}
    us = found["US"]
    assert (us["symbols"], us["cells_partial"], us["cells_closed"], us["in_use"]) == (2, 1, 3, True)
    assert (us["last_complete"], us["last_session_over"]) == ("2012-03-30", "2012-04-02")
    assert len(rows(client, "/v1/exchanges?all=true")) > 30


def test_sessions_are_those_of_the_calendar(client: TestClient) -> None:
    found = rows(client, "/v1/exchanges/US/sessions?start=2012-01-13&end=2012-01-17")
    assert [(row["session"], row["closes_at"]) for row in found] == [
        ("2012-01-13", "2012-01-13T21:00:00+00:00"), ("2012-01-17", "2012-01-17T21:00:00+00:00"),
    ]  # fmt: skip


def test_cells_gaps_restatements_and_claims(client: TestClient) -> None:
    (cell,) = rows(client, "/v1/cells?exchange=US&state=partial&missing=true")
    assert (cell["date"], cell["missing"]) == (HOLE.isoformat(), 1)
    assert cell["missing_symbols"] == ["AAPL: no bar between two others"]
    gaps = rows(client, "/v1/gaps?symbols=AAPL&exchange=US")
    assert ("hole", HOLE.isoformat()) in [(gap["kind"], gap["first"]) for gap in gaps]
    assert gaps == [gap for gap in rows(client, "/v1/gaps?exchange=US") if gap["symbol"] == "AAPL"]
    assert gaps == rows(client, "/v1/gaps?symbols=aapl")
    assert rows(client, "/v1/gaps?symbols=AAPL&exchange=ASX") == []
    assert rows(client, "/v1/gaps?symbols=AAPL&end=2012-02-01") == []
    (change,) = rows(client, "/v1/restatements")
    assert (change["symbol"], change["field"], change["new"]) == ("IBM", "close", "150.0")
    assert rows(client, "/v1/restatements?start=2012-03-02") == []
    (claim,) = rows(client, "/v1/quarantine")
    assert (claim["symbol"], claim["rule"], claim["decision"]) == ("AAPL", "too low", "pending")
    assert rows(client, "/v1/quarantine?decision=accepted") == []


def test_profiles_of_one_exchange_or_all(client: TestClient) -> None:
    assert len(rows(client, "/v1/profiles")) == 4
    assert [row["symbol"] for row in rows(client, "/v1/profiles?exchange=US&symbols=IBM")] == ["IBM"]
    refused = client.get("/v1/profiles?exchange=LSE")
    assert (refused.status_code, "ASX, US" in refused.json()["detail"]) == (404, True)


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str], Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not {"data", "listings", "records"}.intersection(operation.get("tags", ())):
                continue
            query = {}
            for one in operation.get("parameters", ()):
                examples = one.get("examples") or one["schema"].get("examples")
                value = examples[0] if isinstance(examples, list) else None
                if one["in"] == "path":
                    path = path.replace(f"{{{one['name']}}}", value)
                elif value is not None:
                    query[one["name"]] = value
            yield method, path, query, operation.get("requestBody")


def test_the_examples_of_openapi_run(client: TestClient) -> None:
    examples = list(_examples(client.get("/openapi.json").json()))
    assert len(examples) >= 16
    for method, path, query, body in examples:
        sent = {"symbols": ["IBM"]} if body else None
        together = client.request(method, path, params=query, json=sent)
        assert together.status_code == 200, (path, query, together.text)
        for name, value in query.items():
            alone = client.request(method, path, params={name: value}, json=sent)
            assert alone.status_code == 200, (path, name, alone.text)


@pytest.mark.parametrize(
    ("url", "status", "named"),
    [
        ("/v1/prices?symbols=APPL", 404, "AAPL"),
        ("/v1/prices?universe=dsk", 404, "desk"),
        ("/v1/prices?exchange=USA", 404, "US"),
        ("/v1/exchanges/USA/sessions", 404, "US"),
        ("/v1/universes/dsk", 404, "desk"),
        ("/v1/gaps?symbols=IMB", 404, "IBM"),
        ("/v1/prices?symbols=IBM&columns=date,clse", 422, "close"),
        ("/v1/prices?symbols=IBM&columns=", 422, "close"),
        ("/v1/prices?symbol=IBM", 422, "symbols"),
        ("/v1/prices?symbols=IBM&symbols=AAPL", 422, "symbols"),
        ("/v1/prices?symbols=IBM&start=2012-03-01&end=2012-02-01", 422, "2012-03-01"),
        ("/v1/prices?symbols=IBM&start=20120301", 422, "YYYY-MM-DD"),
        ("/v1/prices?symbols=IBM&as_of=2012-03-01T00:00:00", 422, "time zone"),
        ("/v1/prices?symbols=IBM&as_of=0001-01-01T00:00:00%2B14:00", 422, "0001-01-01"),
        ("/v1/prices?symbols=IBM&adjust=both", 422, "total_return"),
        ("/v1/prices?symbols=IBM&limit=0", 422, "limit"),
        ("/v1/universes/desk?on=2050-01-01", 422, "2050-01-01"),
        ("/v1/exchanges/US/sessions?end=9999-12-31", 422, "9999-12-31"),
        (
            "/v1/prices?symbols=IBM&as_of=2012-03-01&snapshot=20120401T120000.000000Z-" + "0" * 32,
            422,
            "as_of",
        ),
    ],
)
def test_bad_input_is_named_with_what_may_have_been_meant(
    client: TestClient, url: str, status: int, named: str
) -> None:
    answer = client.get(url)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.json()["detail"]
