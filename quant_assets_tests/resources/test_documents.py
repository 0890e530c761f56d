"""Documents by value: what is read, how much of it, how long and how often; and what cannot be had, named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_assets.resources import asking_again
from quant_assets.resources.documents import DOCUMENT_SECONDS, Documents, DocumentUnavailable, shown
from quant_assets.resources.interrupts import Interrupted
from quant_assets.resources.open_store import open_store
from quant_assets_tests.support import quick_settings
from quant_assets_tests.web import Page, Web, web_server

Read = Callable[..., bytes]


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a location: `read(location, 10, attempts=2)`; settings as keyword arguments."""

    def read(location: str, largest: int = 1_000_000, *, seconds: float = 20.0, **settings: Any) -> bytes:
        source = Documents(quick_settings(tmp_path, "http://127.0.0.1:9", **settings), seconds=seconds)
        try:
            return source.read(location, largest)
        finally:
            source.close()

    return read


def refused(read: Read, location: str, largest: int = 1_000_000, **settings: Any) -> str:
    """What is said of a location that cannot be read."""
    with pytest.raises(DocumentUnavailable) as error:
        read(location, largest, **settings)
    assert str(error.value) == f"{error.value.seen}; {error.value.remedy}"
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600
    return str(error.value)


def test_the_defaults_are_those_that_are_told() -> None:
    assert DOCUMENT_SECONDS == 120.0


# --- files


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_file_is_read_whole_up_to_the_limit(read: Read, tmp_path: Path, size: int) -> None:
    (tmp_path / "a b.csv").write_bytes(b"x" * size)
    assert read(str(tmp_path / "a b.csv"), 10) == b"x" * size


def test_a_larger_file_is_refused_and_not_read(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for size, largest, told in (
        (11, 10, "10 bytes"),
        (1_000_000, 999_999, "999999 bytes"),
        (2_500_001, 2_500_000, "2.5 MB"),
    ):
        path.touch()
        os.truncate(path, size)
        assert refused(read, str(path), largest) == (
            f"{path}: is larger than {told}; name a smaller one, or let more be read of it "
            "(`megabytes` of its source)"
        )
    # A terabyte is refused as quickly.
    os.truncate(path, 1 << 40)
    assert "is larger than 10 bytes" in refused(read, str(path), 10)


def test_what_is_no_file_is_named(read: Read, tmp_path: Path) -> None:
    assert refused(read, str(tmp_path)) == f"{tmp_path}: is no file; name a file"
    assert refused(read, "/dev/zero") == "/dev/zero: is no file; name a file"
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: is no file" in refused(read, str(tmp_path / "pipe"))
    missing = tmp_path / "no.csv"
    remedy = "correct the path, or make the file readable"
    assert refused(read, str(missing)) == f"{missing}: cannot be read (No such file or directory); {remedy}"
    assert refused(read, "a\0b") == f"a\ufffdb: cannot be read (embedded null byte); {remedy}"
    assert (
        refused(read, "x" * 300)
        == f"{'x' * 180}… (300 characters): cannot be read (File name too long); {remedy}"
    )


# --- web pages


def test_a_page_is_read_whole_up_to_the_limit(read: Read, web: Web) -> None:
    url = web.put("/a", b"\x00\xff" * 5)
    assert read(url, 10) == b"\x00\xff" * 5
    assert read(web.put("/empty", b""), 0) == b""
    assert refused(read, url, 9).startswith(f"{url}: is larger than 9 bytes; name a smaller one")


def test_no_more_of_a_page_is_read_than_is_allowed(read: Read, web: Web) -> None:
    web.pages["/endless"] = [Page(b"x" * 3_000_000, length=50_000_000)]
    assert f"{web.url}/endless: is larger than 1 MB" in refused(read, f"{web.url}/endless")


def test_a_page_that_has_moved_is_followed_within_the_web(read: Read, web: Web) -> None:
    web.pages["/moved"] = [Page(status=302, headers={"Location": "/there"})]
    web.put("/there", "here")
    assert read(f"{web.url}/moved") == b"here"
    web.pages["/local"] = [Page(status=302, headers={"Location": "file:///etc/hostname"})]
    assert 'Protocol "file" is disabled' in refused(read, f"{web.url}/local")
    web.pages["/loop"] = [Page(status=302, headers={"Location": "/loop"})]
    web.asked.clear()
    assert "(TooManyRedirects: " in refused(read, f"{web.url}/loop")
    assert web.asked == ["/loop"] * 11


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 204, 206])
def test_a_page_that_is_refused_is_asked_for_once(read: Read, web: Web, status: int) -> None:
    web.pages["/status"] = [Page(status=status)]
    web.asked.clear()
    told = refused(read, f"{web.url}/status")
    assert told == f"{web.url}/status: answered with status {status}; correct the address"
    assert web.asked == ["/status"]


@pytest.mark.parametrize("status", [429, 500, 503, 599])
def test_a_failure_that_may_pass_is_asked_again(read: Read, web: Web, status: int) -> None:
    url = f"{web.url}/passing"
    web.pages["/passing"] = [Page(status=status), Page(status=status), Page(b"here")]
    web.asked.clear()
    assert read(url, attempts=3) == b"here"
    assert web.asked == ["/passing"] * 3
    for attempts, times in ((1, "once"), (2, "2 times")):
        web.pages["/passing"] = [Page(status=status)]
        web.asked.clear()
        assert refused(read, url, attempts=attempts) == (
            f"{url}: answered with status {status}, asked {times}; try again later, or correct the address"
        )
        assert web.asked == ["/passing"] * attempts


def test_a_page_that_breaks_off_is_asked_for_again(read: Read, web: Web) -> None:
    web.pages["/broken"] = [Page(b"her", length=4), Page(b"here")]
    assert read(f"{web.url}/broken") == b"here"
    web.pages["/broken"] = [Page(b"her", length=4)]
    assert "/broken: no answer (IncompleteRead: " in refused(read, f"{web.url}/broken")


def test_pauses_double_up_to_half_a_minute(read: Read, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(asking_again, "wait_unless_interrupted", lambda seconds: bool(pauses.append(seconds)))
    web.pages["/down"] = [Page(status=500)]
    refused(read, f"{web.url}/down", attempts=6, retry_wait_seconds=3.0)
    assert pauses == [3.0, 6.0, 12.0, 24.0, 30.0]


def test_who_is_asked_to_stop_does_not_ask_again(
    read: Read, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_again, "wait_unless_interrupted", lambda _: True)
    web.pages["/down"] = [Page(status=500)]
    web.asked.clear()
    with pytest.raises(Interrupted):
        read(f"{web.url}/down", attempts=3)
    assert web.asked == ["/down"]


def test_a_page_that_comes_too_slowly_is_given_up(read: Read, web: Web) -> None:
    web.pages["/slow"] = [Page(b"x" * 1000, pause=0.05)]
    told = refused(read, f"{web.url}/slow", seconds=0.3, attempts=1)
    assert told.startswith(f"{web.url}/slow: ")
    assert "did not end within 0.3 s, asked once" in told


def test_a_page_of_which_nothing_comes_is_given_up(read: Read, web: Web) -> None:
    web.pages["/still"] = [Page(b"xx", pause=5.0)]
    told = refused(read, f"{web.url}/still", timeout_seconds=0.5, attempts=1)
    assert "/still: no answer (Timeout: " in told


def test_hosts_that_are_not_there_are_named(read: Read) -> None:
    told = refused(read, "http://127.0.0.1:9/a", attempts=1)
    assert told.startswith("http://127.0.0.1:9/a: no answer (ConnectionError: Failed to perform, curl: (7)")
    assert "curl.se" not in told
    assert "no answer (DNSError: " in refused(read, "http://no-such-host.invalid/", attempts=1)
    for nothing in ("http://", "https:///a", "http://[::1/a"):
        assert refused(read, nothing).endswith(": names no host; write https://host/path")


# --- objects


def test_an_object_is_read_whole_up_to_the_limit(read: Read, bucket: str) -> None:
    open_store(f"gs://{bucket}").put("lists/a.csv", b"0123456789")
    assert read(f"gs://{bucket}/lists/a.csv", 10) == b"0123456789"
    assert refused(read, f"gs://{bucket}/lists/a.csv", 9).startswith(
        f"gs://{bucket}/lists/a.csv: is larger than 9 bytes; "
    )
    assert refused(read, f"gs://{bucket}/lists/no.csv") == (
        f"gs://{bucket}/lists/no.csv: there is no such object; correct the address"
    )
    assert refused(read, f"gs://{bucket}/../a").startswith(f"gs://{bucket}/../a: cannot be read (")


@pytest.mark.parametrize("location", ["gs://", "gs://bucket", "gs://bucket/", "gs:///key"])
def test_half_an_address_of_an_object_is_told(read: Read, location: str) -> None:
    assert refused(read, location) == f"{location}: names no object; write gs://bucket/key"


@pytest.mark.parametrize(
    "location", ["ftp://host/a", "s3://bucket/a", "file:///etc/hostname", "HTTP://host/a"]
)
def test_other_places_are_refused_with_those_that_are_known(read: Read, location: str) -> None:
    told = refused(read, location)
    assert told.endswith(": no such kind of place; write a path, https://…, http://… or gs://bucket/key")


# --- what a message shows


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("a/b.csv", "a/b.csv"),
        ("https://user:word@host:8443/a?key=word#part", "https://host:8443/a?…"),
        ("https://host/a", "https://host/a"),
        ("https://us@er@host/a", "https://host/a"),
        ("http://[::1", "http://…"),
        ("a\nb\x1b", "a\ufffdb\ufffd"),
        ("x" * 200, "x" * 200),
        ("x" * 201, f"{'x' * 180}… (201 characters)"),
    ],
)
def test_a_location_is_shown_without_secrets_and_in_a_line(location: str, told: str) -> None:
    assert shown(location) == told
