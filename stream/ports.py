"""Free TCP ports on this machine."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

from stream.errors import EddyError

PORTS = range(18_000, 19_000)
"""Below the ports that the embedded broker takes, and below those that Linux lends to outgoing connections."""


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on a port now."""
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False


def free_port(*, preferred: int = 0, host: str = "127.0.0.1") -> int:
    """Find a port that a server can listen on: the preferred one if it is free.

    Raises:
        EddyError: none was found.
    """
    for port in (preferred, *random.sample(PORTS, 100)):
        if port and is_free(port, host=host):
            return port
    raise EddyError(f"none of 100 ports between {PORTS.start} and {PORTS.stop} is free on {host}, but a server needs one; end what holds them")
