"""In whose name something is done from a command line."""

from __future__ import annotations

import getpass
import socket


def this_user() -> str:
    """The user of this process and the machine, `ann@desk`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that no user has.
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
