"""API keys: made at random, shown once, and kept as hashes with a name and a scope.

A key has 256 random bits, so a plain SHA-256 of it tells nothing that could be guessed. An entry is one line,
`name:scope:sha256`, in the file that QUANT_ASSETS_API_KEYS_FILE names, or several in QUANT_ASSETS_API_KEYS.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from quant_assets.errors import QuantAssetsError
from quant_assets.resources.locks import one_at_a_time

Scope = Literal["read", "operate", "admin"]
"""What a key may do: read; start and cancel jobs as well; manage the cache and see the audit record as well."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
_BYTES = 32
_PREFIX = "qa_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IN_TEXT = re.compile(r"qa_[A-Za-z0-9_-]{20,}")
_HEAD = "# Keys of the API, one a line: name:scope:sha256 of the key. Made by: quant-assets keys create\n"


class KeyProblem(QuantAssetsError, ValueError):
    """Keys cannot be read, made or revoked; the message names the place and the remedy, and never a key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept."""

    name: str
    scope: Scope
    sha256: str

    def may(self, scope: Scope) -> bool:
        """Whether the key's scope takes in another one."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def entry(self) -> str:
        """The key as a line of a file."""
        return f"{self.name}:{self.scope}:{self.sha256}"


def new_key(name: str, scope: Scope) -> tuple[str, Key]:
    """A new key's text, which is kept nowhere, and what is kept of it. Raises KeyProblem for an odd name."""
    if not _NAME.fullmatch(name):
        raise KeyProblem(f"--name {name[:70]!r}: write letters, digits, '.', '_' and '-', 64 at most")
    text = _PREFIX + secrets.token_urlsafe(_BYTES)
    return text, Key(name, scope, _hashed(text))


def matching(text: str, keys: Sequence[Key]) -> Key | None:
    """The key that `text` is. How long the answer takes tells nothing of the keys."""
    given, found = _hashed(text), None
    for key in keys:
        # Every one is compared, also after the right one.
        if hmac.compare_digest(given, key.sha256):
            found = key
    return found


def without_keys(text: str) -> str:
    """A text with nothing in place of what may be a key: somebody may have put one where none belongs."""
    return _IN_TEXT.sub(f"{_PREFIX}…", text)


def parse_keys(text: str, place: str) -> list[Key]:
    """The keys that a text has, an entry a line or comma-separated; `place` is named in errors. Raises KeyProblem."""
    keys: list[Key] = []
    entries = [
        (number, entry.strip())
        for number, line in enumerate(text.splitlines(), 1)
        for entry in line.partition("#")[0].split(",")
        if entry.strip()
    ]
    for number, entry in entries:
        name, scope, sha256 = (*entry.split(":"), "", "")[:3]
        known: Scope | None = next((one for one in SCOPES if one == scope), None)
        right = _NAME.fullmatch(name) and _SHA256.fullmatch(sha256) and entry.count(":") == 2
        if known is None or not right:
            # Not what stands there: it may be a key.
            raise KeyProblem(
                f"{place}, line {number}: write name:scope:sha256 with a scope of {', '.join(SCOPES)}, as "
                "`quant-assets keys create` prints it (a key itself is kept nowhere)"
            )
        keys.append(Key(name, known, sha256))
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise KeyProblem(f"{place}: two keys are called {twice[0]}; give each a name of its own")
    return keys


class KeyRing:
    """The keys of a service: those of a text, and those of a file, which is read again whenever it has changed."""

    def __init__(self, text: str, file: Path | None) -> None:
        """Raises KeyProblem when they cannot be read."""
        self._fixed = parse_keys(text, "QUANT_ASSETS_API_KEYS")
        self._file = file
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._of_file: list[Key] = []
        self.all()

    def all(self) -> list[Key]:
        """All keys as they are now. Raises KeyProblem: a file that cannot be read lets nobody in."""
        if self._file is None:
            return self._fixed
        with self._lock:
            try:
                stat = self._file.stat()
                stamp = stat.st_ino, stat.st_mtime_ns, stat.st_size
                if stamp != self._stamp:
                    self._of_file = read_keys(self._file)
                    self._stamp = stamp
            except FileNotFoundError:
                self._of_file, self._stamp = [], None
            except OSError as error:
                raise KeyProblem(
                    f"{self._file}: {error.strerror}: the file of keys must be readable"
                ) from error
            return [*self._fixed, *self._of_file]


def read_keys(file: Path) -> list[Key]:
    """The keys of a file. Raises KeyProblem, OSError."""
    try:
        return parse_keys(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise KeyProblem(f"{file}: no text: name the file of keys, one name:scope:sha256 a line") from error


def add_key(file: Path, key: Key) -> None:
    """Adds a key to a file, which is made for its owner alone if need be. Raises KeyProblem, OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _changing(file):
        keys = read_keys(file) if file.exists() else []
        if any(one.name == key.name for one in keys):
            raise KeyProblem(
                f"{file} has a key called {key.name}: choose another name, or revoke it first "
                f"(quant-assets keys revoke {key.name})"
            )
        text = file.read_text(encoding="utf-8") if file.exists() else _HEAD
        _replace(file, f"{text}{'' if text.endswith(chr(10)) else chr(10)}{key.entry()}\n")


def revoke_key(file: Path, name: str) -> None:
    """Takes a key out of a file. Raises KeyProblem, OSError."""
    with _changing(file):
        keys = read_keys(file) if file.exists() else []
        if all(one.name != name for one in keys):
            known = ", ".join(one.name for one in keys) or "none"
            raise KeyProblem(f"{file} has no key called {name} (there are: {known})")
        lines = file.read_text(encoding="utf-8").splitlines()
        _replace(file, "".join(f"{line}\n" for line in lines if line.strip().partition(":")[0] != name))


def _changing(file: Path) -> contextlib.AbstractContextManager[None]:
    return one_at_a_time(file.with_name(f".{file.name}.lock"))


def _replace(file: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as output:
            output.write(text)
            output.flush()
            os.fsync(output.fileno())
        Path(temporary).replace(file)
    except BaseException:
        # Whatever ended it, the file of keys is the old one, and no half of a new one is left beside it.
        Path(temporary).unlink(missing_ok=True)
        raise


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
