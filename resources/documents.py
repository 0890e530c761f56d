"""What lists of constituents are read from: files, web pages, objects in a store, and Yahoo's screener."""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.asking_again import Passing, StillFailing, ask_again
from quant_assets.resources.object_store import ObjectNotFound, ObjectStoreError
from quant_assets.resources.open_store import open_store
from quant_assets.resources.settings import Settings, SettingsError
from quant_assets.resources.yahoo_screener import AssetType, Screened, Screener

DOCUMENT_SECONDS = 120.0
"""How long the whole of a page may take to come."""
_REDIRECTS = 10
_PIECE = 1 << 20


class DocumentUnavailable(QuantAssetsError):
    """A document cannot be had; the message names its location, what was seen, and the remedy.

    Args:
        seen: the location and what was seen there.
        remedy: what to do about it.
    """

    def __init__(self, seen: str, remedy: str) -> None:
        super().__init__(f"{seen}; {remedy}")
        self.seen = seen
        self.remedy = remedy


class Documents:
    """The documents of the outside world, each read whole and never more of it than is allowed.

    Args:
        settings: how long nothing may come of a page, attempts and the pause between them.
        seconds: how long the whole of a page may take.
    """

    def __init__(self, settings: Settings, *, seconds: float = DOCUMENT_SECONDS) -> None:
        self._settings = settings
        self._seconds = seconds
        self._screener = Screener(settings)

    def read(self, location: str, largest: int) -> bytes:
        """The bytes of a file (a path), a web page (http:// or https://) or an object (gs://bucket/key).

        Web pages are asked for again, `attempts` times in all, when the failure may pass. Raises
        DocumentUnavailable: also when there are more than `largest` bytes, of which no more than that are read.
        """
        scheme, separator, _ = location.partition("://")
        if not separator:
            return self._file(location, largest)
        if scheme in ("http", "https"):
            return self._page(location, largest)
        if scheme == "gs":
            return self._object(location, largest)
        raise DocumentUnavailable(
            f"{shown(location)}: no such kind of place",
            "write a path, https://…, http://… or gs://bucket/key",
        )

    def screened(self, query: Mapping[str, Any], asset_type: AssetType, most: int) -> list[Screened]:
        """What `yahoo_screener.Screener.screened` answers. Raises ScreenFailed, Interrupted."""
        return self._screener.screened(query, asset_type, most)

    def close(self) -> None:
        """Gives connections back."""
        self._screener.close()

    def _file(self, location: str, largest: int) -> bytes:
        try:
            # A pipe or a device would be waited for, or never end.
            if not stat.S_ISREG(Path(location).stat().st_mode):
                raise DocumentUnavailable(f"{shown(location)}: is no file", "name a file")
            with Path(location).open("rb") as file:
                data = file.read(largest + 1)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise DocumentUnavailable(
                f"{shown(location)}: cannot be read ({why})", "correct the path, or make the file readable"
            ) from error
        return _not_larger(data, largest, location)

    def _object(self, location: str, largest: int) -> bytes:
        bucket, _, key = location.removeprefix("gs://").partition("/")
        if not bucket or not key:
            raise DocumentUnavailable(f"{shown(location)}: names no object", "write gs://bucket/key")
        try:
            store = open_store(f"gs://{bucket}")
            info = store.head(key)
            if info is None:
                raise ObjectNotFound(key)
            if info.size > largest:
                raise _too_large(location, largest)
            return _not_larger(store.get(key).data, largest, location)
        except ObjectNotFound as error:
            raise DocumentUnavailable(
                f"{shown(location)}: there is no such object", "correct the address"
            ) from error
        except (ObjectStoreError, SettingsError, ValueError) as error:
            raise DocumentUnavailable(
                f"{shown(location)}: cannot be read ({_line(error)})",
                "correct the address, or make it readable",
            ) from error

    def _page(self, location: str, largest: int) -> bytes:
        try:
            host = urlsplit(location).hostname
        except ValueError:
            host = None
        if not host:
            raise DocumentUnavailable(f"{shown(location)}: names no host", "write https://host/path")
        try:
            return ask_again(self._settings, lambda: self._ask(location, largest))
        except StillFailing as error:
            raise DocumentUnavailable(
                f"{shown(location)}: {error}", "try again later, or correct the address"
            ) from error

    def _ask(self, location: str, largest: int) -> bytes:
        """One attempt. Raises Passing when asking again may help."""
        from curl_cffi import CurlHttpVersion
        from curl_cffi.requests import Session
        from curl_cffi.requests.exceptions import (
            InvalidSchema,
            InvalidURL,
            RequestException,
            TooManyRedirects,
        )

        # A plain server knows no HTTP/2, and says so about every offer to upgrade.
        version = CurlHttpVersion.V1_1 if location.startswith("http://") else None
        started = time.monotonic()
        data = bytearray()
        try:
            with (
                closing(
                    Session(impersonate="chrome", http_version=version, max_redirects=_REDIRECTS)
                ) as session,
                closing(
                    session.get(location, stream=True, timeout=self._settings.timeout_seconds)
                ) as response,
            ):
                status = int(response.status_code)
                if status == 429 or status >= 500:
                    raise Passing(f"answered with status {status}")
                if status != 200:
                    raise DocumentUnavailable(
                        f"{shown(location)}: answered with status {status}", "correct the address"
                    )
                for piece in response.iter_content():
                    data += piece
                    if len(data) > largest:
                        raise _too_large(location, largest)
                    if time.monotonic() - started > self._seconds:
                        raise Passing(f"did not end within {self._seconds:g} s")
        except (InvalidSchema, InvalidURL, TooManyRedirects) as error:
            raise DocumentUnavailable(
                f"{shown(location)}: cannot be asked for ({_line(error)})", "correct the address"
            ) from error
        except RequestException as error:
            raise Passing(f"no answer ({_line(error)})") from error
        return bytes(data)


def shown(location: str) -> str:
    """A location as a message shows it: without user, password and query, which may be secrets; no longer than
    a line."""
    if "://" in location:
        try:
            parts = urlsplit(location)
            location = (
                f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"
            )
        except ValueError:
            location = f"{location.partition('://')[0]}://…"
    plain = "".join(sign if sign.isprintable() else "\ufffd" for sign in location)
    return plain if len(plain) <= 200 else f"{plain[:180]}… ({len(plain)} characters)"


def _not_larger(data: bytes, largest: int, location: str) -> bytes:
    if len(data) > largest:
        raise _too_large(location, largest)
    return data


def _too_large(location: str, largest: int) -> DocumentUnavailable:
    size = f"{largest / 1_000_000:g} MB" if largest >= 1_000_000 else f"{largest} bytes"
    return DocumentUnavailable(
        f"{shown(location)}: is larger than {size}",
        "name a smaller one, or let more be read of it (`megabytes` of its source)",
    )


def _line(error: Exception) -> str:
    """An error in one line, no longer than that."""
    # curl's texts end with where curl's errors are explained.
    return f"{type(error).__name__}: {' '.join(str(error).split()).partition('. See https')[0][:160]}"
