"""A store in a bucket: the real client against a real emulator, directly and over a network that fails."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quant_assets.resources.counters import WRITES, counted
from quant_assets.resources.gcs_store import GcsObjectStore
from quant_assets.resources.object_store import (
    ABSENT,
    MARKER,
    ObjectChanged,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStore,
    StoreUnavailable,
    claim,
    get_many,
)
from quant_assets.resources.open_store import open_store
from quant_assets_tests.gcs_proxy import DOWNLOAD, UPLOAD, Fault, FaultProxy, fault_proxy
from quant_assets_tests.resources.workers import ROOT

DATA = bytes(range(256)) * 40


@pytest.fixture
def store(bucket: str) -> GcsObjectStore:
    return GcsObjectStore(bucket, "tables")


@pytest.fixture
def proxy(bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def shaky(bucket: str, proxy: FaultProxy) -> GcsObjectStore:
    """The store behind the proxy."""
    return GcsObjectStore(bucket, "tables")


def once(kind: str, *matching: str, status: int = 503, times: int = 1) -> Fault:
    return Fault(kind, status=status, matching=matching, times=times)


# --- where the objects are


@pytest.mark.parametrize(
    ("prefix", "location", "uri"),
    [
        ("", "gs://b", "gs://b/t/k"),
        ("/", "gs://b", "gs://b/t/k"),
        ("p/q", "gs://b/p/q", "gs://b/p/q/t/k"),
        ("/p/q/", "gs://b/p/q", "gs://b/p/q/t/k"),
    ],
)
def test_the_location_is_a_url(prefix: str, location: str, uri: str) -> None:
    store = GcsObjectStore("b", prefix)
    assert (store.location, store.uri("t/k")) == (location, uri)
    assert open_store(location).location == location


def test_two_prefixes_of_a_bucket_know_nothing_of_each_other(bucket: str) -> None:
    one, other, whole = (GcsObjectStore(bucket, prefix) for prefix in ("p", "pq", ""))
    one.put("k", b"one")
    other.put("k", b"other")
    assert (one.get("k").data, other.get("k").data) == (b"one", b"other")
    assert [info.key for info in one.list("")] == ["k"]
    assert [info.key for info in whole.list("")] == ["p/k", "pq/k"]
    one.delete("k")
    assert other.get("k").data == b"other"


def test_a_listing_longer_than_a_page_is_whole_and_sorted(store: GcsObjectStore) -> None:
    # A page has 1,000 objects.
    names = [f"t/{number:04d}" for number in range(1_050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b""), reversed(names)))
    assert [info.key for info in store.list("t/")] == names


# --- what cannot be used


def everything(store: ObjectStore) -> dict[str, Callable[[], object]]:
    return {
        "read": lambda: store.get("k"),
        "read ": lambda: store.get_ranges("k", [(0, 1)], f"{1:020d}"),
        "look at": lambda: store.head("k"),
        "write": lambda: store.put("k", b""),
        "list": lambda: list(store.list("")),
        "delete": lambda: store.delete("k"),
        "write  ": store.check_writable,
        "write ": lambda: claim(store, ["daily_prices"]),
    }


def test_a_missing_bucket_is_told_by_every_call(bucket: str) -> None:
    for use in everything(GcsObjectStore("no-such-bucket", "p")):
        fresh = GcsObjectStore("no-such-bucket", "p")
        with pytest.raises(StoreUnavailable) as caught:
            everything(fresh)[use]()
        told = str(caught.value)
        assert "in bucket no-such-bucket as anonymous (emulator)" in told
        assert "create the bucket, or correct QUANT_ASSETS_STORE" in told


def test_missing_objects_of_a_bucket_that_is_there_cost_one_more_request_in_all(
    shaky: GcsObjectStore, proxy: FaultProxy
) -> None:
    for _ in range(5):
        with pytest.raises(ObjectNotFound, match=r"gs://.*/tables/k: no such object"):
            shaky.get("k")
        assert shaky.head("k") is None
    assert proxy.asked["GET"] == 11


def test_a_refusal_is_told_at_once_with_its_remedy(
    shaky: GcsObjectStore, bucket: str, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("status", status=403)]
    remedy = r"grant that identity roles/storage\.objectAdmin"
    for verb, use in everything(shaky).items():
        proxy.asked.clear()
        with pytest.raises(
            StoreUnavailable, match=rf"cannot {verb.strip()} .* in bucket {bucket} as .*{remedy}"
        ):
            use()
        assert proxy.asked.total() == 1


def test_expired_credentials_are_told_with_their_remedy(shaky: GcsObjectStore, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("status", status=401)]
    for use in everything(shaky).values():
        with pytest.raises(StoreUnavailable, match="credentials are missing or expired: run `gcloud auth"):
            use()


@pytest.mark.parametrize("file", [None, "broken", "absent"])
def test_without_credentials_the_first_use_says_so(tmp_path: Path, file: str | None) -> None:
    """In a process of its own, with an empty home, and nobody asking the metadata server of a cloud machine."""
    (tmp_path / "broken").write_text("{", encoding="utf-8")
    environment = {"HOME": str(tmp_path), "NO_GCE_CHECK": "true", "PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}
    if file:
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / file)
    code = (
        "from quant_assets.resources.open_store import open_store\n"
        "from quant_assets.resources.object_store import StoreUnavailable\n"
        "store = open_store('gs://some-bucket/p')\n"
        "try: store.check_writable()\n"
        "except StoreUnavailable as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "in bucket some-bucket as the environment's credentials" in done.stdout, done.stderr
    assert "gcloud auth application-default login" in done.stdout
    if file:
        assert str(tmp_path / file) in done.stdout


class _TokenServer(BaseHTTPRequestHandler):
    """Gives no token: the key has been withdrawn."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_service_account_whose_key_was_withdrawn_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = tmp_path / "key.json"
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with HTTPServer(("127.0.0.1", 0), _TokenServer) as server:
        account = {
            "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": pem,
            "client_email": "prices@p.example", "token_uri": f"http://127.0.0.1:{server.server_address[1]}/token",
        }  # fmt: skip
        file.write_text(json.dumps(account), encoding="utf-8")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StoreUnavailable) as caught:
            claim(GcsObjectStore("some-bucket", "p"), ["daily_prices"])
        server.shutdown()
    told = str(caught.value)
    assert "in bucket some-bucket as prices@p.example" in told
    assert "credentials are missing or expired" in told
    assert pem not in told


def test_a_process_killed_while_it_looked_whether_it_can_write_leaves_the_store_as_it_was(
    shaky: GcsObjectStore, store: GcsObjectStore, proxy: FaultProxy
) -> None:
    proxy.faults = [once("status", "DELETE", status=403)]
    with pytest.raises(StoreUnavailable, match=r"cannot delete .*objectAdmin"):
        shaky.check_writable()
    assert list(store.list("")) == []
    claim(store, ["daily_prices"])
    assert store.sweep() == 1
    assert store.sweep() == 0
    assert [info.key for info in store.list("")] == [MARKER]


# --- a network that fails


@pytest.mark.parametrize(
    "fault",
    [
        once("status", status=503),
        once("status", status=429),
        once("reset"),
        once("lost"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.times}",
)
def test_what_passes_is_tried_again_by_every_call(
    shaky: GcsObjectStore, proxy: FaultProxy, fault: Fault
) -> None:
    info = shaky.put("k", DATA)
    calls: list[Callable[[], object]] = [
        lambda: shaky.get("k").data == DATA,
        lambda: shaky.get_ranges("k", [(5, 3)], info.version) == [DATA[5:8]],
        lambda: shaky.head("k") == info,
        lambda: [found.key for found in shaky.list("")] == ["k"],
        lambda: shaky.put("new", DATA, if_version=ABSENT).size == len(DATA),
        lambda: shaky.put("k", b"new", if_version=info.version).size == 3,
    ]
    for call in calls:
        proxy.faults = [Fault(fault.kind, status=fault.status, times=fault.times)]
        assert call()
        assert proxy.faults[0].times == 0
    proxy.faults = [fault]
    shaky.delete("k")
    assert shaky.head("k") is None
    assert shaky.get("new").data == DATA


def test_an_object_that_was_replaced_is_not_deleted(
    shaky: GcsObjectStore, store: GcsObjectStore, proxy: FaultProxy
) -> None:
    store.put("k", b"")
    version = store.put("k", b"").version
    store.delete("k")
    store.put("k", b"new")
    # The emulator looks at no generation when it deletes; the answer is what the service would give.
    proxy.faults = [once("status", "DELETE", status=412)]
    with pytest.raises(ObjectChanged, match="/k: another writer was faster"):
        shaky.delete("k", if_version=version)
    assert store.get("k").data == b"new"


def test_an_answer_that_breaks_off_is_completed(shaky: GcsObjectStore, proxy: FaultProxy) -> None:
    info = shaky.put("k", DATA)
    proxy.faults = [once("cut", *DOWNLOAD)]
    assert shaky.get("k").data == DATA
    proxy.faults = [once("cut", *DOWNLOAD)]
    assert shaky.get_ranges("k", [(100, 5000)], info.version) == [DATA[100:5100]]
    assert proxy.struck["cut"] == 2
    for read in (lambda: shaky.get("missing"), lambda: shaky.get_ranges("missing", [(0, 1)], info.version)):
        proxy.faults = [once("cut", *DOWNLOAD)]
        with pytest.raises(ObjectNotFound):
            read()
    assert proxy.struck["cut"] == 4


def test_an_upload_whose_answer_was_lost_is_known_as_our_own(
    shaky: GcsObjectStore, proxy: FaultProxy
) -> None:
    before = counted(WRITES)
    proxy.faults = [once("lost", *UPLOAD)]
    first = shaky.put("k", b"first", if_version=ABSENT)
    assert counted(WRITES) == before + 1
    assert proxy.asked["POST"] == 2
    assert shaky.get("k").info == first
    proxy.faults = [once("lost", *UPLOAD)]
    second = shaky.put("k", b"second", if_version=first.version)
    assert shaky.get("k").info == second
    assert second.version > first.version


def test_an_upload_whose_answer_was_lost_does_not_take_a_rivals_object_for_its_own(
    shaky: GcsObjectStore, store: GcsObjectStore, proxy: FaultProxy
) -> None:
    proxy.faults = [once("reset", *UPLOAD)]
    store.put("k", b"rival")
    for data in (b"mine", b"rival"):
        proxy.faults = [once("reset", *UPLOAD)]
        with pytest.raises(ObjectChanged, match="/k: another writer was faster"):
            shaky.put("k", data, if_version=ABSENT)
        assert proxy.faults[0].times == 0
    assert store.get("k").data == b"rival"


def test_a_burst_of_refusals_is_waited_out(shaky: GcsObjectStore, proxy: FaultProxy) -> None:
    proxy.faults = [once("status", times=3)]
    shaky.put("k", DATA, if_version=ABSENT)
    assert proxy.asked["POST"] == 4
    assert shaky.get("k").data == DATA


def test_bytes_that_change_on_the_way_are_never_taken_for_the_object(
    shaky: GcsObjectStore, proxy: FaultProxy
) -> None:
    shaky.put("k", DATA)
    proxy.faults = [once("flip", *DOWNLOAD)]
    with pytest.raises(ObjectDamaged, match=r"tables/k: the bytes do not match their checksum") as caught:
        shaky.get("k")
    assert "\n" not in str(caught.value)
    assert shaky.get("k").data == DATA


def test_a_server_that_stays_away_is_told_once_the_budget_is_spent(bucket: str, proxy: FaultProxy) -> None:
    shaky = GcsObjectStore(bucket, "tables", patience=2.0)
    proxy.faults = [Fault("status", status=503)]
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="check the network"):
        shaky.get("k")
    assert time.monotonic() - started < 10
    assert proxy.asked["GET"] > 1
    proxy.faults = [Fault("reset")]
    with pytest.raises(StoreUnavailable, match="check the network"):
        shaky.put("k", b"")


@pytest.mark.parametrize("direct", ["", "127.0.0.1,localhost"])
def test_a_proxy_named_in_the_environment_is_gone_through(
    store: GcsObjectStore, bucket: str, direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("k", DATA)
    for name, value in {"http_proxy": "http://127.0.0.1:9", "no_proxy": direct}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    opened_since = GcsObjectStore(bucket, "tables", patience=0.5)
    if direct:
        assert opened_since.get("k").data == DATA
    else:
        with pytest.raises(StoreUnavailable, match="port=9"):
            opened_since.get("k")


# --- speed on objects far away


def test_many_objects_are_read_at_once_over_kept_connections(
    shaky: GcsObjectStore, proxy: FaultProxy
) -> None:
    keys = [f"k{number:02d}" for number in range(48)]
    for key in keys:
        shaky.put(key, key.encode())
    proxy.latency = (0.1, 0.1)
    proxy.asked.clear()
    started = time.monotonic()
    got = list(get_many(shaky, keys, workers=16))
    assert time.monotonic() - started < 48 * 0.1 / 2
    assert [key for key, _ in got] == keys
    assert proxy.asked.total() == 48
    assert proxy.most_at_once == 16


def test_the_ranges_of_an_object_are_asked_for_at_once(shaky: GcsObjectStore, proxy: FaultProxy) -> None:
    info = shaky.put("k", DATA)
    proxy.latency = (0.1, 0.1)
    proxy.asked.clear()
    ranges = [(offset, 100) for offset in range(0, 4000, 1000)]
    assert shaky.get_ranges("k", ranges, info.version) == [DATA[at : at + 100] for at, _ in ranges]
    assert proxy.asked.total() == 4
    assert proxy.most_at_once > 1
