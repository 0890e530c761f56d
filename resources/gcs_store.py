"""The object store in a Google Cloud Storage bucket, through the google-cloud client that dagster-gcp makes.

Every put is one conditional upload whose CRC32C the server checks; reads check it again. The client's own retry
(`DEFAULT_RETRY`: 429, 5xx, resets, time-outs) is the one retry layer. Credentials come from the environment
(application default credentials, workload identity, or a service-account file named there), never from settings.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from quant_assets.resources.counters import WRITES, count
from quant_assets.resources.object_store import (
    ABSENT,
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    StoreUnavailable,
    validated_key,
)

POOL = 64
"""Connections kept open; more at once than these are opened and closed again."""

_RANGES = 8
"""Ranges of one object asked for at once."""

_WRITE_CHECK = ".write-check-"
_WRITER = "quant-assets-put"
"""The metadata by which a writer knows its own upload."""

_TIMEOUT = 60.0
_RETRY_FOR = 120.0

T = TypeVar("T")


class GcsObjectStore:
    """Objects below a prefix of a bucket. A version is a generation, zero-padded so that versions sort.

    Args:
        bucket: the bucket's name; it must exist.
        prefix: what comes before every key, without slashes at its ends; may be empty.
        project: the project to bill, or None for the environment's.
        patience: seconds for which a call is tried again while the bucket does not answer.
    """

    def __init__(
        self, bucket: str, prefix: str, project: str | None = None, *, patience: float = _RETRY_FOR
    ) -> None:
        self._patience = patience
        self._timeout = min(_TIMEOUT, patience)
        self._bucket_name = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._project = project
        self._lock = threading.Lock()
        self._client: Any = None
        self._retry: Any = None
        self._meeting = threading.Lock()
        self._met = False
        """Whether the bucket is known to be there."""

    def __repr__(self) -> str:
        return f"GcsObjectStore({self.location!r})"

    @property
    def location(self) -> str:
        return f"gs://{self._bucket_name}/{self._prefix}".rstrip("/")

    @property
    def remote(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        """Whom the bucket sees: a service account, a person, or nobody in particular."""
        self._opened()
        return self._identity()

    def uri(self, key: str) -> str:
        return f"gs://{self._bucket_name}/{self._prefix}{validated_key(key)}"

    def get(self, key: str) -> Blob:
        def read() -> Blob:
            blob = self._blob(key)
            data: bytes = blob.download_as_bytes(
                raw_download=True,
                single_shot_download=True,
                checksum="crc32c",
                timeout=self._timeout,
                retry=None,
            )
            return Blob(data, ObjectInfo(key, len(data), _version(blob.generation)))

        return self._downloaded(key, read)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]], version: str) -> list[bytes]:
        exceptions = _exceptions()

        def read(offset: int, length: int) -> bytes:
            blob = self._blob(key, int(version))
            try:
                data: bytes = blob.download_as_bytes(
                    start=offset,
                    end=offset + length - 1,
                    raw_download=True,
                    single_shot_download=True,
                    checksum=None,
                    timeout=self._timeout,
                    retry=None,
                )
            except exceptions.RequestRangeNotSatisfiable:
                # Past the end: of this version, or of a shorter one that has taken its place.
                stored = self.head(key)
                if stored is not None and stored.version == version:
                    return b""
                raise ObjectChanged(f"{self.uri(key)}: replaced since it was looked at") from None
            # Not every server honours the generation in the question; all name theirs in the answer.
            if _version(blob.generation) != version:
                raise ObjectChanged(f"{self.uri(key)}: replaced since it was looked at")
            return data

        def part(range_: tuple[int, int]) -> bytes:
            # An empty range cannot be asked for: HTTP has none.
            return self._downloaded(key, partial(read, *range_)) if range_[1] else b""

        try:
            if len(ranges) < 2:
                return [part(range_) for range_ in ranges]
            with ThreadPoolExecutor(min(_RANGES, len(ranges)), thread_name_prefix="ranges") as pool:
                return list(pool.map(part, ranges))
        except ObjectNotFound as error:
            if self.head(key) is not None:
                raise ObjectChanged(f"{self.uri(key)}: replaced since it was looked at") from error
            raise

    def head(self, key: str) -> ObjectInfo | None:
        def look() -> ObjectInfo | None:
            found = self._bucket().get_blob(
                self._prefix + validated_key(key), timeout=self._timeout, retry=self._retry
            )
            if found is None:
                self._meet_bucket()
                return None
            return self._info(found)

        return self._asked("look at", key, look)

    def put(self, key: str, data: bytes, *, if_version: str | None = None) -> ObjectInfo:
        exceptions = _exceptions()
        blob = self._blob(key)
        precondition: dict[str, int] = {}
        # The bytes do not tell whose an upload was: two writers may write the same.
        mine = uuid.uuid4().hex
        if if_version is not None:
            precondition["if_generation_match"] = 0 if if_version == ABSENT else int(if_version)
            blob.metadata = {_WRITER: mine}

        def write() -> ObjectInfo:
            try:
                blob.upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    checksum="crc32c",
                    timeout=self._timeout,
                    retry=self._retry,
                    **precondition,
                )
            except exceptions.PreconditionFailed as error:
                # An upload whose answer was lost is retried by the client and then fails on its own work.
                stored = self._bucket().get_blob(self._prefix + key, timeout=self._timeout, retry=self._retry)
                written_by: dict[str, str] = (stored.metadata if stored is not None else None) or {}
                if written_by.get(_WRITER) != mine:
                    raise ObjectChanged(f"{self.uri(key)}: another writer was faster") from error
                count(WRITES)
                return self._info(stored)
            count(WRITES)
            return ObjectInfo(key, len(data), _version(blob.generation))

        return self._asked("write", key, write)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        blobs = self._opened().list_blobs(
            self._bucket_name,
            prefix=self._prefix + prefix,
            fields="items(name,size,generation),nextPageToken",
            timeout=self._timeout,
            retry=self._retry,
        )
        # GCS lists in the order of the keys; a page is a request, made when it is reached.
        pages: Iterator[Any] = blobs.pages
        while (page := self._asked("list", prefix, lambda: next(pages, None))) is not None:
            yield from (info for info in map(self._info, page) if "/." not in f"/{info.key}")

    def groups(self, prefix: str, end: str) -> builtins.list[str]:
        blobs = self._opened().list_blobs(
            self._bucket_name,
            prefix=self._prefix + prefix,
            delimiter=end,
            fields="prefixes,nextPageToken",
            timeout=self._timeout,
            retry=self._retry,
        )
        pages: Iterator[Any] = blobs.pages
        while self._asked("list", prefix, lambda: next(pages, None)) is not None:
            pass
        return sorted(name.removeprefix(self._prefix) for name in blobs.prefixes)

    def delete(self, key: str, *, if_version: str | None = None) -> None:
        exceptions = _exceptions()
        failures: list[Exception] = []

        def retry(call: Any) -> Any:
            return self._retry(call, on_error=failures.append)

        def remove() -> None:
            try:
                self._blob(key).delete(
                    if_generation_match=None if if_version is None else int(if_version),
                    timeout=self._timeout,
                    retry=retry,
                )
            except exceptions.PreconditionFailed as error:
                raise ObjectChanged(f"{self.uri(key)}: another writer was faster") from error
            except exceptions.NotFound:
                # A delete whose answer was lost is tried again and then finds its own work done.
                if not failures:
                    raise

        self._asked("delete", key, remove)

    def check_writable(self) -> None:
        # A question about permissions is not answered by every emulator; a put is. Killed before the delete, it
        # leaves an object that no listing shows.
        key = _WRITE_CHECK + uuid.uuid4().hex
        blob = self._bucket().blob(self._prefix + key)
        self._asked(
            "write", key, lambda: blob.upload_from_string(b"", timeout=self._timeout, retry=self._retry)
        )
        self._asked("delete", key, lambda: self._cleared(blob))

    def sweep(self) -> int:
        # An upload that was cut off leaves nothing behind; only the question whether one could be made does.
        def look() -> builtins.list[Any]:
            prefix = self._prefix + _WRITE_CHECK
            client = self._opened()
            return list(
                client.list_blobs(self._bucket_name, prefix=prefix, timeout=self._timeout, retry=self._retry)
            )

        left = self._asked("list", _WRITE_CHECK, look)
        for blob in left:
            self._asked("delete", _WRITE_CHECK, lambda blob=blob: self._cleared(blob))
        return len(left)

    def _cleared(self, blob: Any) -> None:
        with contextlib.suppress(_exceptions().NotFound):
            blob.delete(timeout=self._timeout, retry=self._retry)

    def _info(self, blob: Any) -> ObjectInfo:
        name: str = blob.name
        return ObjectInfo(name.removeprefix(self._prefix), int(blob.size), _version(blob.generation))

    def _blob(self, key: str, generation: int | None = None) -> Any:
        return self._bucket().blob(self._prefix + validated_key(key), generation=generation)

    def _bucket(self) -> Any:
        return self._opened().bucket(self._bucket_name)

    def _opened(self) -> Any:
        """The client, made on first use: loading the definitions must not look for credentials."""
        with self._lock:
            if self._client is None:
                gcs: Any = importlib.import_module("dagster_gcp.gcs")
                adapters: Any = importlib.import_module("requests.adapters")
                retry: Any = importlib.import_module("google.cloud.storage.retry")
                # The client would look the bucket up for its traces, again after each object that is not there.
                os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
                try:
                    client = gcs.GCSResource(project=self._project or _project()).get_client()
                except Exception as error:  # the client's own errors name no remedy
                    raise self._unavailable("open", "", error) from error
                for scheme in ("https://", "http://"):
                    client._http.mount(scheme, adapters.HTTPAdapter(pool_connections=POOL, pool_maxsize=POOL))
                _read_environment_once(client._http, client.api_endpoint)
                self._retry = retry.DEFAULT_RETRY.with_timeout(self._patience)
                self._client = client
            return self._client

    def _downloaded(self, key: str, read: Callable[[], T]) -> T:
        """A download with the retry around it: the client's own ends where an answer that says no breaks off."""
        return self._asked("read", key, lambda: self._retry(read)())

    def _asked(self, verb: str, key: str, ask: Callable[[], T]) -> T:
        """`ask`, with the client's errors as ours."""
        self._opened()
        exceptions = _exceptions()
        try:
            return ask()
        except (ObjectChanged, ObjectNotFound):
            raise
        except exceptions.NotFound as error:
            # What is missing from a write or a listing can only be the bucket.
            if verb in ("write", "list"):
                raise self._unavailable(verb, key, error) from error
            self._meet_bucket()
            raise ObjectNotFound(f"{self.uri(key)}: no such object") from error
        except _corruption() as error:
            raise ObjectDamaged(
                f"{self.uri(key)}: the bytes do not match their checksum ({_line(error)})"
            ) from error
        except (exceptions.GoogleAPIError, *_transport_errors()) as error:
            raise self._unavailable(verb, key, error) from error

    def _meet_bucket(self) -> None:
        """Tells a missing object from a missing bucket, which is answered alike. Raises StoreUnavailable."""
        with self._meeting:
            if not self._met:
                next(self.list(""), None)
                self._met = True

    def _unavailable(self, verb: str, key: str, error: Exception) -> StoreUnavailable:
        code: Any = getattr(error, "code", None)
        if _is_refusal(error):
            code = 401
        remedy = {
            401: "the credentials are missing or expired: run `gcloud auth application-default login`, or renew the "
            "service-account file",
            403: "grant that identity roles/storage.objectAdmin on the bucket",
            404: "create the bucket, or correct QUANT_ASSETS_STORE",
        }.get(code, "check the network and the credentials (GOOGLE_APPLICATION_CREDENTIALS)")
        where = f"gs://{self._bucket_name}/{self._prefix}{key}"
        return StoreUnavailable(
            f"cannot {verb} {where} in bucket {self._bucket_name} as {self._identity()}: "
            f"{type(error).__name__} {_line(error)} ({remedy})"
        )

    def _identity(self) -> str:
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            return "anonymous (emulator)"
        credentials = getattr(self._client, "_credentials", None)
        names = (getattr(credentials, name, None) for name in ("service_account_email", "account"))
        return str(next(filter(None, names), "the environment's credentials"))


def _read_environment_once(session: Any, url: str) -> None:
    """Proxies and certificates as the environment has them now: `requests` goes through all of its variables twice a
    request, which takes as long as a fifth of a download."""
    found = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = found["proxies"], found["verify"]
    session.trust_env = False


def _project() -> str | None:
    # An emulator asks for no project, but the client wants to have one.
    emulated = bool(os.environ.get("STORAGE_EMULATOR_HOST"))
    return os.environ.get("GOOGLE_CLOUD_PROJECT") or ("emulated" if emulated else None)


def _version(generation: object) -> str:
    return f"{int(str(generation)):020d}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _exceptions() -> Any:
    return importlib.import_module("google.api_core.exceptions")


def _corruption() -> type[Exception]:
    media: Any = importlib.import_module("google.cloud.storage.exceptions")
    return media.DataCorruption


def _is_refusal(error: Exception) -> bool:
    """Whether there are no credentials, or none that are accepted; a network that fails is another matter."""
    auth: Any = importlib.import_module("google.auth.exceptions")
    return isinstance(error, auth.GoogleAuthError) and not isinstance(error, auth.TransportError)


def _transport_errors() -> tuple[type[Exception], ...]:
    auth: Any = importlib.import_module("google.auth.exceptions")
    requests: Any = importlib.import_module("requests.exceptions")
    return (auth.GoogleAuthError, requests.RequestException, ConnectionError)
