"""Find out that a client's host has gone, on connections where nothing is sent: TCP keep-alive.

ASGI has no way to send a ping, so the kernel asks in its stead. Options set on a listening socket are
inherited by what it accepts; the server opens it out of our sight, so it is looked for.
"""

import os
import socket
import sys
from pathlib import Path

IDLE_SECONDS = 20
PROBE_SECONDS = 5
PROBES = 4  # gone after 20 + 4 x 5 seconds: two intervals

_done = False


def keep_clients_alive() -> None:
    """Once a process, at the first WebSocket: the server's listening socket and what it has accepted."""
    global _done
    if _done or sys.platform != "linux":
        return
    _done = True
    streams = list(_streams())
    listening = {stream.getsockname() for stream in streams if _listens(stream)}
    ports = {name[1] for name in listening}
    for stream in streams:
        if stream.getsockname()[1] in ports:
            _keep_alive(stream)
        stream.close()


def _streams() -> "list[socket.socket]":
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not os.readlink(entry).startswith("socket:"):
                continue
            stream = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        if stream.family in (socket.AF_INET, socket.AF_INET6) and stream.type == socket.SOCK_STREAM:
            found.append(stream)
        else:
            stream.close()
    return found


def _listens(stream: socket.socket) -> bool:
    return bool(stream.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _keep_alive(stream: socket.socket) -> None:
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
