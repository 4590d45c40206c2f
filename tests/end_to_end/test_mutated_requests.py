"""Thousands of requests with a few bytes changed: none breaks the gateway, none goes up but well-formed."""

import random
import re
import socket
from collections.abc import Iterator

import pytest

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.services.deadline import wait_until
from tests.services.process_table import open_files

CHUNKED = "Transfer-Encoding: chunked"
PIECES = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"-", b"\xff", b"%", b"\x0b",
    b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n",
    b"HTTP/1.0", b"HTTP/1.1", b"GET / HTTP/1.1\r\n", b"CONNECT ", b"Host: other.test\r\n", b"http://gateway.test",
]  # fmt: skip
HEAD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+: ?[^\r\n\0]*").fullmatch
REQUEST_LINE = re.compile(rb"[A-Z][A-Z-]* /mutated(?:[/?][!-~]*)? HTTP/1\.1").fullmatch


@pytest.fixture(scope="module")
def stub() -> Iterator[StubUpstream]:
    """An upstream that nobody else's requests reach."""
    stub = StubUpstream()
    yield stub
    stub.stop()


@pytest.fixture(scope="module")
def running(start_gateway: StartGateway, stub: StubUpstream) -> Iterator[GatewayProcess]:
    running = start_gateway(configuration([service("stub", stub.url)], [route("mutated", "/mutated")]))
    yield running
    running.stop()


def _stream() -> bytes:
    return b"".join(
        [
            request_bytes("/mutated/1", "X-A: one"),
            request_bytes("/mutated/2", "Content-Length: 5", method="POST", body=b"hello"),
            request_bytes("/mutated/3", CHUNKED, method="PUT", body=b"3\r\nabc\r\n0\r\nX-T: t\r\n\r\n"),
            request_bytes("/mutated/4?a=1", "Connection: keep-alive", "Cookie: a=b", method="DELETE"),
        ]
    )


def _mutated(stream: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(stream))
        kind = chance.randrange(4)
        if kind == 0:
            stream = stream[:at] + chance.choice(PIECES) + stream[at:]
        elif kind == 1:
            stream = stream[:at] + stream[at + chance.randint(1, 5) :]
        elif kind == 2:
            stream = stream[:at] + bytes([chance.randrange(256)]) + stream[at + 1 :]
        else:
            end = at + chance.randint(1, 60)
            stream = stream[:end] + stream[at:end] + stream[end:]
    return stream


def test_mutated_requests_break_nothing_and_go_up_well_formed_or_not_at_all(
    running: GatewayProcess, stub: StubUpstream
) -> None:
    stream = _stream()
    for seed in range(1500):
        chance = random.Random(seed)
        with running.connect() as client:
            sent = _mutated(stream, chance)
            cut = chance.randrange(len(sent) + 1)
            client.send(sent[:cut])
            client.send(sent[cut:])
            # What it has answered by now is not looked at: it must only not be harmed by it.
            if chance.random() < 0.5:
                client.stream.shutdown(socket.SHUT_WR)
                client.stream.settimeout(5)
                try:
                    while client.stream.recv(65536):
                        pass
                except ConnectionError:
                    pass
    assert running.request("GET", "/mutated/last").status == 200
    assert "Traceback" not in running.log()
    wait_until(lambda: open_files(running.servers()) < 150, "descriptors are given back")
    assert len(stub.requests) > 1000
    for request in list(stub.requests):
        line, *fields = request.head[:-4].split(b"\r\n")
        assert REQUEST_LINE(line), request.head
        assert all(HEAD_LINE(field) for field in fields), request.head
        assert len(request.values("Host")) == 1
        assert len(request.values("Content-Length") + request.values("Transfer-Encoding")) <= 1
        assert not request.values("Upgrade") + request.values("Expect") + request.values("X-T")
