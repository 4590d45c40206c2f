"""Start the example services and the gateway, wait until they answer, watch them, stop them in order."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from gateway_site.bind import Bind, accepts_connections, listen_problem
from gateway_site.demo.addresses import Need, service_needs
from gateway_site.demo.banner import render_banner
from gateway_site.demo.children import Children
from gateway_site.demo.first_run import create_credentials, is_served, prepare_database

START_SECONDS = 90.0
# A worker serves a committed change after two seconds at most.
PROPAGATION_SECONDS = 5.0


class AddressesTaken(Exception):
    """Somebody else listens where the demo has to."""

    def __init__(self, taken: list[Need]) -> None:
        lines = [f"  {need.bind}, needed by {need.user}" for need in taken]
        super().__init__("\n".join(["already in use:", *lines, "Stop what listens there, then try again."]))


class NotReady(Exception):
    """The gateway or a service runs, but doesn't answer."""


class Demonstration:
    def __init__(
        self, gateway: Bind, configuration: Path, project: Path, children: Children, examples: list[str]
    ) -> None:
        self._gateway = gateway
        self._configuration = configuration
        self._project = project
        self._children = children
        self._examples = examples
        self._url = f"http://{gateway}"

    def check_addresses(self) -> None:
        """Raises AddressesTaken."""
        needs = [Need(self._gateway, "the gateway"), *service_needs(self._configuration)]
        taken = [need for need in needs if listen_problem(need.bind) is not None]
        if taken:
            raise AddressesTaken(taken)

    def run(self, say: Callable[[str], None]) -> None:
        """Run until somebody stops it. Raises Stopped, ChildEnded or NotReady; leaves no process."""
        if prepare_database(self._configuration):
            say(f"Loaded {self._configuration.name} into a new database.")
        try:
            self._start()
            credentials = create_credentials()
            if credentials.api_key:
                self._wait_until(is_served, PROPAGATION_SECONDS)
            say(render_banner(self._url, credentials))
            self._children.watch()
        finally:
            self._children.stop()

    def _start(self) -> None:
        environment = {**os.environ, "GATEWAY_ENV": "development", "PYTHONUNBUFFERED": "1"}
        # The same interpreter, so that the services see the same packages.
        python = sys.executable
        self._children.start("the example services", [python, *self._examples], self._project, environment)
        gateway = [python, "manage.py", "gateway", "--bind", str(self._gateway)]
        self._children.start("the gateway", gateway, self._project, environment)
        for need in service_needs(self._configuration):
            self._wait_until(partial(accepts_connections, need.bind), START_SECONDS)
        self._wait_until(lambda: self._status("/healthz") == 200, START_SECONDS)

    def _wait_until(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if time.monotonic() > deadline:
                raise NotReady(f"nothing answers after {timeout_seconds:.0f} s")
            self._children.pause()

    def _status(self, path: str) -> int:
        try:
            return httpx.get(f"{self._url}{path}", trust_env=False, timeout=5).status_code
        except httpx.TransportError:
            return 0
