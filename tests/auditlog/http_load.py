"""Clients that ask a gateway without a pause and note which answers came whole."""

import itertools
import threading
from collections.abc import Callable

from tests.end_to_end.configuration import ALICE_KEY, configuration, route, service
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient

CLIENTS = 3
PAUSE_SECONDS = 0.01
# Method, path, headers, body, status: what is allowed and what is refused becomes a record alike.
ATTEMPTS = (
    ("GET", "/open/load", {}, b"", 200),
    ("POST", "/open/load", {}, b"some body", 200),
    ("GET", "/orders/load", {"X-API-Key": ALICE_KEY}, b"", 200),
    ("GET", "/orders/load", {}, b"", 401),
    ("GET", "/nothing/load", {}, b"", 404),
)


def load_configuration(upstream_url: str) -> dict[str, object]:
    return configuration(
        [service("stub", upstream_url)],
        [route("open", "/open"), route("orders", "/orders", access="granted", asset="orders")],
    )


class HttpLoad:
    """Starts at construction. A connection that breaks is counted and made again."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.answered: dict[str, int] = {}  # status by request id, of answers that came whole
        self.wrong: list[str] = []  # answers with another status than the attempt should have
        self.broken: list[str] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def grows_by(self, count: int) -> Callable[[], bool]:
        """A probe that is true when so many more requests are answered."""
        least = len(self.answered) + count
        return lambda: len(self.answered) >= least

    def _ask(self) -> None:
        attempts = itertools.cycle(ATTEMPTS)
        while not self._stop.is_set():
            try:
                with RawClient(self._gateway.port) as client:
                    while not self._stop.wait(PAUSE_SECONDS):
                        self._attempt(client, *next(attempts))
            except (ConnectionEnded, OSError) as error:
                self.broken.append(f"{type(error).__name__}: {error}")
                self._stop.wait(PAUSE_SECONDS)

    def _attempt(
        self, client: RawClient, method: str, path: str, headers: dict[str, str], body: bytes, status: int
    ) -> None:
        response = client.request(method, path, headers, body)
        if not response.complete:
            raise ConnectionEnded("in the middle of a body")
        request_id = response.header("X-Request-ID")
        assert request_id is not None
        self.answered[request_id.decode()] = response.status
        if response.status != status:
            self.wrong.append(f"{method} {path} was answered {response.status}: {response.body[:200]!r}")
