"""The address a server listens on: read it from HOST:PORT, and find out what keeps one from listening there."""

import socket
from typing import NamedTuple


class InvalidBind(ValueError):
    """Not HOST:PORT."""


class Bind(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_bind(text: str) -> Bind:
    """Read HOST:PORT, [IPV6]:PORT or :PORT. Raises InvalidBind."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        raise InvalidBind(f"--bind {text!r} is not HOST:PORT, such as 127.0.0.1:8000")
    return Bind(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - asked for by ":PORT"


def listen_problem(bind: Bind) -> str | None:
    """Why nobody could listen there now, None when one could. Binding is tried, as a server will."""
    try:
        family, kind, *_, address = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # Connections of a server that has just ended, in TIME_WAIT, are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def accepts_connections(bind: Bind) -> bool:
    """Whether somebody serves there now."""
    try:
        with socket.create_connection(bind, timeout=1):
            return True
    except OSError:
        return False
