"""A store in a bucket: what its client is told, and what its errors tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound, from_http_status
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from requests import Session
from requests.exceptions import ReadTimeout

from quant_assets.resources import gcs_store
from quant_assets.resources.gcs_store import GcsObjectStore
from quant_assets.resources.object_store import ABSENT, StoreUnavailable
from quant_assets_tests.gcs_proxy import FaultProxy, fault_proxy

EMULATED, PROJECT = "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients go to an emulator, which none of these tests asks anything."""
    monkeypatch.setenv(EMULATED, "http://127.0.0.1:1")
    monkeypatch.delenv(PROJECT, raising=False)


def test_a_bucket_is_far_away() -> None:
    assert GcsObjectStore("b", "p").remote is True


def test_a_generation_is_told_in_twenty_digits() -> None:
    assert gcs_store._version(7) == gcs_store._version("7") == "00000000000000000007"


def test_an_error_is_told_in_one_line_of_two_hundred_characters() -> None:
    assert gcs_store._line(ValueError("a\n  b\t" + "x" * 300)) == "a b " + "x" * 196


@pytest.mark.parametrize(
    ("project", "emulator", "found"),
    [("mine", "", "mine"), ("mine", "http://h", "mine"), ("", "http://h", "emulated"), ("", "", None)],
)  # fmt: skip
def test_the_project_is_that_of_the_environment_and_an_emulator_needs_none(
    monkeypatch: pytest.MonkeyPatch, project: str, emulator: str, found: str | None
) -> None:
    for name, value in ((PROJECT, project), (EMULATED, emulator)):
        monkeypatch.setenv(name, value)
    assert gcs_store._project() == found


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(("asked", "found"), [("mine", "mine"), (None, "emulated")])
def test_the_client_is_made_once_for_its_project_with_connections_enough(
    asked: str | None, found: str
) -> None:
    store = GcsObjectStore("b", "p", asked)
    client = store._opened()
    assert client.project == found
    assert store._opened() is client
    for scheme in ("https://host", "http://host"):
        adapter = client._http.get_adapter(scheme)
        assert (adapter._pool_connections, adapter._pool_maxsize) == (64, 64)
    # The client's own retry goes on for two minutes.
    assert store._retry._timeout == 120.0


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("before", [None, "false"])
def test_the_client_does_not_look_the_bucket_up_for_traces(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    name = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    GcsObjectStore("b", "p")._opened()
    assert os.environ[name] == (before or "true")


SIGN_IN = (
    "the credentials are missing or expired: run `gcloud auth application-default login`, or renew the "
    "service-account file"
)
CHECK = "check the network and the credentials (GOOGLE_APPLICATION_CREDENTIALS)"
REMEDIES = {
    401: SIGN_IN,
    403: "grant that identity roles/storage.objectAdmin on the bucket",
    404: "create the bucket, or correct QUANT_ASSETS_STORE",
}


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 429, 503])
def test_each_refusal_has_its_remedy(status: int) -> None:
    told = GcsObjectStore("b", "p")._unavailable("read", "t/k", from_http_status(status, "why\nso"))
    name = type(from_http_status(status, "")).__name__
    assert str(told) == (
        f"cannot read gs://b/p/t/k in bucket b as anonymous (emulator): {name} {status} why so "
        f"({REMEDIES.get(status, CHECK)})"
    )


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(DefaultCredentialsError("x"), SIGN_IN), (RefreshError("x"), SIGN_IN), (TransportError("x"), CHECK),
     (ReadTimeout("x"), CHECK), (ConnectionResetError("x"), CHECK)],
)  # fmt: skip
def test_missing_credentials_are_told_from_a_network_that_fails(error: Exception, remedy: str) -> None:
    assert str(GcsObjectStore("b", "p")._unavailable("write", "k", error)).endswith(f" x ({remedy})")


@pytest.mark.parametrize(
    ("credentials", "found"),
    [
        ({"service_account_email": "a@b"}, "a@b"),
        ({"account": "me"}, "me"),
        ({"service_account_email": "a@b", "account": "me"}, "a@b"),
        ({"service_account_email": "", "account": "me"}, "me"),
        ({}, "the environment's credentials"),
    ],
)
def test_who_is_asked_for_is_named(
    monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str], found: str
) -> None:
    monkeypatch.delenv(EMULATED, raising=False)
    store = GcsObjectStore("b", "p")
    assert store._identity() == "the environment's credentials"
    store._client = SimpleNamespace(_credentials=SimpleNamespace(**credentials))
    assert store._identity() == found


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    ("verb", "met", "raised"),
    [("read", True, "ObjectNotFound"), ("delete", True, "ObjectNotFound"), ("look at", True, "ObjectNotFound"),
     ("write", True, "StoreUnavailable"), ("list", True, "StoreUnavailable")],
)  # fmt: skip
def test_what_is_missing_from_a_write_or_a_listing_is_the_bucket(verb: str, met: bool, raised: str) -> None:
    store = GcsObjectStore("b", "p")
    store._met = met

    def ask() -> None:
        raise NotFound("nothing")

    with pytest.raises(Exception, match=r"k: no such object|create the bucket") as caught:
        store._asked(verb, "k", ask)
    assert type(caught.value).__name__ == raised


# What the server gets to see.


@pytest.fixture
def proxy(bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv(EMULATED, proxy.url)
        yield proxy


def test_every_request_has_its_time_limit_and_a_listing_asks_for_no_more_than_it_tells(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, fields = list[object](), set[str]()
    request = Session.request

    def recorded(self: Session, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        limits.append(kwargs["timeout"])
        fields.update(part for part in url.split("&") if part.startswith("fields="))
        return request(self, method, url, *args, **kwargs)

    monkeypatch.setattr(Session, "request", recorded)
    store = GcsObjectStore(bucket, "p")
    info = store.put("k", b"bytes", if_version=ABSENT)
    store.get("k")
    store.get_ranges("k", [(0, 1)], info.version)
    store.head("k")
    list(store.list(""))
    store.groups("", "/")
    store.check_writable()
    store.sweep()
    store.delete("k")
    assert len(limits) >= 10
    assert set(limits) == {60.0}
    assert len(fields) == 2


@pytest.mark.parametrize(("ranges", "at_once"), [(1, 1), (2, 2), (20, 8)])
def test_as_many_as_eight_ranges_are_asked_for_at_once(
    bucket: str, proxy: FaultProxy, ranges: int, at_once: int
) -> None:
    store = GcsObjectStore(bucket, "p")
    info = store.put("k", bytes(range(20)))
    proxy.latency = (0.1, 0.1)
    proxy.most_at_once = 0
    wanted = [(offset, 1) for offset in range(ranges)]
    assert store.get_ranges("k", wanted, info.version) == [bytes([offset]) for offset, _ in wanted]
    assert proxy.most_at_once == at_once


def test_an_answer_that_is_no_answer_of_the_bucket_is_told(bucket: str, proxy: FaultProxy) -> None:
    store = GcsObjectStore(bucket, "p")

    def fail() -> None:
        raise GoogleAPICallError("odd")

    with pytest.raises(StoreUnavailable, match=rf"cannot read gs://{bucket}/p/k in bucket"):
        store._asked("read", "k", fail)
