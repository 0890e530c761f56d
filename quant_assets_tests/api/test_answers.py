"""The form of an answer: formats, compression, versions, pages, snapshots."""

from __future__ import annotations

import base64
import gzip
import importlib
import io
import json
from datetime import date
from typing import Any

import orjson
import polars as pl
import pytest
import zstandard
from starlette.testclient import TestClient

from quant_assets import prices, reader
from quant_assets.api import prices as price_routes
from quant_assets.api.negotiation import encoding_for, format_for, weights
from quant_assets.api.problems import Problem
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectStore
from quant_assets_tests.api.desk import bars, cell

ALL = "/v1/prices?symbols=IBM"


def test_preferences_are_read_with_their_weights() -> None:
    assert weights("text/csv;q=0.5, */*;Q=0.1 ,x;q=two,y;q=7,") == {
        "text/csv": 0.5, "*/*": 0.1, "x": 0.0, "y": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("text/*;q=0.4, application/vnd.apache.parquet;q=0.5", "parquet"),
        ("application/json;q=0.1, application/vnd.apache.arrow.stream", "arrow"),
        ("image/png", None),
        ("application/json;q=0", None),
    ],
)
def test_the_format_is_the_one_liked_best(accept: str | None, form: str | None) -> None:
    if form is None:
        with pytest.raises(Problem) as refused:
            format_for(None, accept)
        assert refused.value.status == 406
    else:
        assert format_for(None, accept) == form
    assert format_for("csv", accept) == "csv"


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("br", "identity"),
        ("*", "zstd"),
        ("zstd;q=0, *;q=0.2", "gzip"),
        ("identity, zstd;q=0.9", "identity"),
        ("identity;q=0, gzip", "gzip"),
        ("br, *;q=0", None),
    ],
)
def test_the_compression_is_the_one_liked_best(accept: str | None, encoding: str | None) -> None:
    if encoding is None:
        with pytest.raises(Problem) as refused:
            encoding_for(accept)
        assert refused.value.status == 406
    else:
        assert encoding_for(accept) == encoding


def _read(form: str, body: bytes) -> pl.DataFrame:
    match form:
        case "arrow":
            return pl.read_ipc_stream(io.BytesIO(body))
        case "parquet":
            return pl.read_parquet(io.BytesIO(body))
        case "csv":
            return pl.read_csv(io.BytesIO(body), try_parse_dates=True)
        case _:
            return pl.DataFrame(json.loads(body)["data"])


@pytest.mark.parametrize("form", ["arrow", "parquet", "csv", "json"])
@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
def test_every_format_holds_what_the_reader_reads(
    client: TestClient, store: ObjectStore, form: str, encoding: str
) -> None:
    expected = prices("IBM", store=store).collect()
    answer = client.get(f"{ALL}&format={form}", headers={"accept-encoding": encoding})
    assert answer.headers["x-snapshot-id"]
    found = _read(form, answer.content)
    assert found["close"].to_list() == expected["close"].to_list()
    if form in ("arrow", "parquet"):
        assert found.equals(expected)
    told = answer.headers.get("content-encoding", "identity")
    assert told == ("identity" if form == "parquet" else encoding)


def test_what_is_compressed_is_what_it_says() -> None:
    from quant_assets.api.encoding import compressed

    pieces = [b"a" * 1000, b"", b"b" * 1000]
    assert gzip.decompress(b"".join(compressed(pieces, "gzip"))) == b"".join(pieces)
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(b"".join(compressed(pieces, "zstd")))
    assert plain == b"".join(pieces)


def test_who_has_the_answer_gets_304_until_a_cell_changes(
    client: TestClient, store: ObjectStore, changed: Any
) -> None:
    first = client.get(ALL)
    again = client.get(ALL, headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    csv = client.get(f"{ALL}&format=csv", headers={"if-none-match": first.headers["etag"]})
    assert csv.status_code == 200
    early = client.get(f"{ALL}&end=2011-12-30")
    day = changed()
    after = client.get(ALL, headers={"if-none-match": first.headers["etag"]})
    assert after.status_code == 200
    rows = {row["date"]: row["close"] for row in after.json()["data"]}
    assert rows[day.isoformat()] == 77.0
    # What the change is not in is still what it was.
    same = client.get(f"{ALL}&end=2011-12-30", headers={"if-none-match": early.headers["etag"]})
    assert same.status_code == 304


def test_what_the_client_or_the_cache_has_costs_no_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [ALL, "/v1/weekly?symbols=IBM&format=csv", "/v1/restatements", "/v1/cells?exchange=US"]
    first = [client.get(url) for url in urls]

    def read(*_: object, **__: object) -> None:
        raise AssertionError("an object was read")

    for name in ("get", "get_ranges"):
        monkeypatch.setattr(LocalObjectStore, name, read)
    for url, answer in zip(urls, first, strict=True):
        same = client.get(url, headers={"if-none-match": answer.headers["etag"]})
        assert same.status_code == 304, same.text
        again = client.get(url)
        assert (again.headers["x-cache"], again.content) == ("memory", answer.content)


def test_what_a_read_warns_of_is_said_with_the_answer(client: TestClient) -> None:
    early = f"{ALL}&as_of=2012-03-31"
    (said,) = client.get(early).json()["warnings"]
    assert "nothing was known yet of IBM" in said
    assert json.loads(client.get(f"{early}&format=csv").headers["x-warnings"]) == [said]
    table = pa_schema(client.get(f"{early}&format=arrow").content)
    assert json.loads(table[b"quant_assets.warnings"]) == [said]
    assert "x-warnings" not in client.get(ALL).headers


def pa_schema(body: bytes) -> dict[bytes, bytes]:
    """What rides in the schema of an Arrow stream."""
    ipc: Any = importlib.import_module("pyarrow.ipc")
    return ipc.open_stream(body).schema.metadata


def test_a_form_that_there_is_not_is_refused_with_those_there_are(client: TestClient) -> None:
    for headers, named in (({"accept": "image/png"}, "text/csv"), ({"accept-encoding": "*;q=0"}, "zstd")):
        refused = client.get(ALL, headers=headers)
        assert refused.status_code == 406
        assert named in refused.json()["detail"]


def test_pages_follow_each_other_and_end(client: TestClient, store: ObjectStore) -> None:
    expected = prices("IBM", store=store).collect()["date"].to_list()
    found: list[str] = []
    url: str | None = f"{ALL}&limit=7&columns=date"
    while url is not None:
        answer = client.get(url)
        page = answer.json()
        assert page["rows"] == len(page["data"]) <= 7
        found += [row["date"] for row in page["data"]]
        url = answer.links.get("next", {}).get("url")
        assert (url is None) == (page["next"] is None)
    assert [date.fromisoformat(day) for day in found] == expected


def test_pages_of_two_states_are_not_mixed(client: TestClient, changed: Any) -> None:
    page = client.get(f"{ALL}&limit=3").json()
    changed()
    assert client.get(f"{ALL}&limit=3&cursor={page['next']}").status_code == 409
    assert client.get(f"{ALL}&cursor=abc").status_code == 422
    assert client.get(f"{ALL}&cursor=W10").status_code == 422


def test_a_change_between_the_look_and_the_read_is_seen(
    client: TestClient, changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"{ALL}&limit=100000"
    state = client.get("/v1/weekly?symbols=IBM").json()["snapshot"]
    last = f"{whole}&cursor={client.get(f'{ALL}&limit=3').json()['next']}"
    for module, name, asked in (
        (price_routes, "read_prices", last),
        (reader, "weekly", f"/v1/weekly?symbols=IBM&snapshot={state}"),
    ):
        read = getattr(module, name)

        def late(*args: Any, read: Any = read, **named: Any) -> Any:
            changed()
            return read(*args, **named)

        monkeypatch.setattr(module, name, late)
        assert client.get(asked).status_code == 409
        monkeypatch.undo()


def test_what_a_run_has_put_and_not_recorded_yet_is_answered_and_not_kept(
    client: TestClient, store: ObjectStore
) -> None:
    days = [date(2012, 3, 5), date(2012, 3, 6)]
    for number, day in enumerate(days):
        doubled = bars(day, ["AAPL", "IBM"]).with_columns(pl.col("close") * 2)
        cell(store, "US", day, doubled)
        answer = client.get(f"{ALL}&start=2012-03-05&end=2012-03-06")
        expected = prices("IBM", "2012-03-05", "2012-03-06", store=store).collect()["close"].to_list()
        assert [row["close"] for row in answer.json()["data"]] == expected
        assert expected[number] > 200
        assert (answer.headers["x-cache"], "etag" in answer.headers) == ("made", False)
    assert "etag" in client.get(f"{ALL}&start=2012-03-07&end=2012-03-08").headers


def test_a_snapshot_is_read_again_or_refused(client: TestClient, changed: Any) -> None:
    first, weeks = client.get(ALL), client.get("/v1/weekly?symbols=IBM")
    url = f"{ALL}&snapshot={first.headers['x-snapshot-id']}"
    of_weeks = f"/v1/weekly?symbols=IBM&snapshot={weeks.headers['x-snapshot-id']}"
    assert client.get(of_weeks).json()["data"] == weeks.json()["data"]
    changed()
    # The ledger knows what the rows were; of the weeks it does not.
    assert client.get(ALL).json()["data"] != first.json()["data"]
    assert client.get(url).json()["data"] == first.json()["data"]
    for wrong in (of_weeks, url.replace("IBM", "AAPL"), f"{url}&end=2012-02-01"):
        refused = client.get(wrong)
        assert refused.status_code == 409
        assert "snapshot" in refused.json()["detail"]
    assert client.get(f"{ALL}&snapshot=yesterday").status_code == 422


def test_head_has_the_headers_and_no_body(client: TestClient) -> None:
    answer, full = client.head(ALL), client.get(ALL)
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("etag", "content-length", "x-snapshot-id", "content-type"):
        assert answer.headers[name] == full.headers[name]


def test_columns_and_lists_by_column(client: TestClient) -> None:
    page = client.get(f"{ALL}&orient=columns&columns=close,date&limit=2").json()
    assert list(page["data"]) == ["close", "date"]
    assert page["columns"] == {"close": "Float64", "date": "Date"}
    assert len(page["data"]["date"]) == 2


def test_the_next_page_is_at_the_address_by_which_each_one_asked(client: TestClient) -> None:
    # The answer is kept: who asks by another name must not lead others there, who may send a key along.
    first = client.get(f"{ALL}&limit=3", headers={"Host": "elsewhere.example"})
    second = client.get(f"{ALL}&limit=3")
    assert second.headers["x-cache"] == "memory"
    assert "elsewhere.example" in first.headers["link"]
    assert "elsewhere.example" not in second.headers["link"]
    assert client.get(second.links["next"]["url"]).status_code == 200
    assert "next" not in second.headers


def test_a_cursor_that_was_tampered_with_has_no_rows(client: TestClient) -> None:
    cursor = client.get(f"{ALL}&limit=3").json()["next"]
    key, *_ = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
    for place in ([0, 2**63], [2**63, 0], [2**40, 2**40], [-1, -(2**63)]):
        forged = base64.urlsafe_b64encode(orjson.dumps([key, *place])).decode()
        assert client.get(f"{ALL}&limit=3&cursor={forged}").status_code == 200
