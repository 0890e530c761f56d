"""Channels that alerts go to: e-mail, Slack, Teams, webhooks and what else apprise delivers to, one URL each.

A URL holds secrets: it is never shown, and a channel is called by its number and kind, `2 (mailto)`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from quant_assets.resources.settings import Settings, SettingsError

VARIABLE = "QUANT_ASSETS_ALERT_URLS"
_SECONDS = 5
"""How long a channel may take to be reached, and again to answer, unless its URL says so (`?cto=…&rto=…`)."""
_MOST_SECONDS = 15.0
"""How long one message may take in all: a server that sends a letter now and then keeps to each time-out."""
_PLAIN_KIND = 20


@dataclass(frozen=True, slots=True)
class Channel:
    """One receiver of alerts."""

    name: str
    """Its number and kind, which is all that may be shown of it."""
    _server: Any

    def send(self, title: str, body: str, *, calm: bool = False) -> str:
        """Delivers a message (plain text); answers "" when the channel has taken it, else why not, in a line: also
        where it has not answered after a quarter of a minute, and may take it all the same.

        `calm`: it tells of no trouble. Services colour messages by that, and webhooks get it as their `type`:
        `info`, else `warning`.
        """
        said: list[str] = []
        # A daemon's thread: what hangs in it keeps no process alive.
        sending = threading.Thread(target=self._send, args=(title, body, calm, said), daemon=True)
        sending.start()
        sending.join(_MOST_SECONDS)
        return f"no answer within {_MOST_SECONDS:g} s" if sending.is_alive() else said[0]

    def _send(self, title: str, body: str, calm: bool, answer: list[str]) -> None:
        said: list[str] = []
        listener = _Listener(said)
        log = logging.getLogger("apprise")
        log.addHandler(listener)
        try:
            # As text: else a mail is sent as HTML, in which lines run into each other.
            kind = "info" if calm else "warning"
            taken = bool(self._server.notify(body=body, title=title, body_format="text", notify_type=kind))
        except Exception as error:  # noqa: BLE001 - whatever a channel's plugin does wrong must not end a run
            answer.append(f"{type(error).__name__}")
            return
        finally:
            log.removeHandler(listener)
        # What a plugin logs may name its URL; its first line is the plain one.
        answer.append("" if taken else (said[0] if said else "it did not take the message"))


def channels(settings: Settings) -> list[Channel]:
    """The channels that the settings name, in order. Raises SettingsError for a URL that is none."""
    urls = settings.alert_urls.get_secret_value().split()
    return [_channel(number, url, len(urls)) for number, url in enumerate(urls, 1)]


def kinds(found: Sequence[Channel]) -> str:
    """The names of channels in a line."""
    return ", ".join(channel.name for channel in found)


def _channel(number: int, url: str, of: int) -> Channel:
    import apprise

    scheme = urlsplit(url).scheme if "://" in url else ""
    log = logging.getLogger("apprise")
    before, log.disabled = log.disabled, True
    try:
        # In the thread that asks, not in apprise's pool: by it a channel's words are known from another's, and one
        # that hangs keeps no process from ending.
        asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
        server: Any = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    finally:
        log.disabled = before
    kind = scheme if scheme.isalnum() and len(scheme) <= _PLAIN_KIND else "?"
    if server is None:
        what = f"{kind}://…" if scheme else "it has no scheme such as mailto://"
        raise SettingsError(
            f"{VARIABLE}: address {number} of {of} ({what}) is none that alerts can be sent to: write addresses "
            "as apprise has them, separated by spaces, e.g. mailtos://user:password@example.com or "
            "slack://tokenA/tokenB/tokenC (it is not shown here, since it may hold a secret)"
        )
    if "cto=" not in url:
        server.socket_connect_timeout = _SECONDS
    if "rto=" not in url:
        server.socket_read_timeout = _SECONDS
    receiver = apprise.Apprise()
    receiver.add(server)
    return Channel(f"{number} ({kind})", receiver)


class _Listener(logging.Handler):
    """Keeps what a plugin says of a failure in this thread."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said, self._thread = said, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if "://" not in text and record.thread == self._thread:
            self._said.append(text)
