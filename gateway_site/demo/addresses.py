"""Find out, before anything starts, whether the addresses that the demo needs are free."""

import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Address(NamedTuple):
    host: str
    port: int
    user: str

    @property
    def is_taken(self) -> bool:
        """Whether somebody listens there: binding is tried, as the servers will."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of the last run that still linger in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
                probe.listen(1)
            except OSError:
                return True
        return False

    @property
    def answers(self) -> bool:
        """Whether a connection is accepted there now."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1):
                return True
        except OSError:
            return False


def parse_bind(bind: str) -> tuple[str, int]:
    """Split HOST:PORT ([::1]:8000 too). Raises ValueError."""
    host, separator, port = bind.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"{bind!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def service_addresses(configuration: Path) -> list[Address]:
    """The addresses on this machine that the services of a gateway_config file listen on."""
    addresses = []
    for service in yaml.safe_load(configuration.read_text())["services"]:
        for target in service["targets"]:
            parts = urlsplit(target["url"])
            if parts.hostname in LOOPBACK_HOSTS and parts.port is not None:
                user = f"the example service {service['name']}"
                addresses.append(Address(parts.hostname, parts.port, user))
    return addresses
