"""The addresses that the demo needs: the gateway's, and those its configuration's services listen on."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from gateway_site.bind import Bind

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Need(NamedTuple):
    bind: Bind
    user: str


def service_needs(configuration: Path) -> list[Need]:
    """The addresses on this machine that the services of a gateway_config file listen on."""
    needs = []
    for service in yaml.safe_load(configuration.read_text())["services"]:
        for target in service["targets"]:
            parts = urlsplit(target["url"])
            if parts.hostname in LOOPBACK_HOSTS and parts.port is not None:
                bind = Bind(parts.hostname, parts.port)
                needs.append(Need(bind, f"the example service {service['name']}"))
    return needs
