"""Find a free port on the loopback interface."""

import socket


def free_port() -> int:
    """A port nobody listens on now; whoever binds it must be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
