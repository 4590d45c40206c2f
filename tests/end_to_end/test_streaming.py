"""Server-sent events and other slow responses pass on piece by piece, at once."""

import threading
import time

import httpx
import pytest

from tests.end_to_end.configuration import ALICE_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    EVENT_STREAM_HEAD,
    LAST_CHUNK,
    chunk,
    close,
    read_body,
    send,
    wait,
    wait_for,
)


def test_each_event_arrives_before_the_next_is_sent(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    go_on = [threading.Event() for _ in range(5)]
    steps = [send(EVENT_STREAM_HEAD)]
    for number, event in enumerate(go_on):
        steps += [wait_for(event), send(chunk(b"data: %d\n\n" % number))]
    upstream.script(f"/private/{name}", [*steps, send(LAST_CHUNK)])
    with gateway.connect(timeout_seconds=3) as client:
        client.send(request_bytes(f"/private/{name}", f"X-API-Key: {ALICE_KEY}", "Accept: text/event-stream"))
        # The head alone is worth passing on: a browser's EventSource opens with it.
        head = client.read_head()
        assert (head.status, head.header("Content-Type")) == (200, b"text/event-stream")
        for number, event in enumerate(go_on):
            event.set()
            assert client.read_chunk() == b"data: %d\n\n" % number
        assert client.read_chunk() == b""


def test_small_piece_is_passed_on_within_a_tenth_of_a_second(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    go_on = threading.Event()
    upstream.script(
        f"/open/{name}", [send(EVENT_STREAM_HEAD), wait_for(go_on), send(chunk(b":\n")), send(LAST_CHUNK)]
    )
    with gateway.connect() as client:
        client.send(request_bytes(f"/open/{name}"))
        client.read_head()
        started = time.monotonic()
        go_on.set()
        assert client.read_chunk() == b":\n"
        assert time.monotonic() - started < 0.5


def test_events_without_chunks_pass_too(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    go_on = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    upstream.script(
        f"/open/{name}", [send(head + b"data: 1\n\n"), wait_for(go_on), send(b"data: 2\n\n"), close()]
    )
    with gateway.connect(timeout_seconds=3) as client:
        client.send(request_bytes(f"/open/{name}"))
        client.read_head()
        assert client.read_chunk() == b"data: 1\n\n"
        go_on.set()
        assert client.read_chunk() == b"data: 2\n\n"
        assert client.read_chunk() == b""


def test_half_of_a_short_body_is_passed_on_when_the_rest_is_late(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    go_on = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    upstream.script(f"/open/{name}", [send(head + b"first"), wait_for(go_on), send(b"-last")])
    with gateway.connect(timeout_seconds=5) as client:
        # The second time over a pooled connection: that way is another one.
        for _ in range(2):
            client.send(request_bytes(f"/open/{name}"))
            assert client.read_head().status == 200
            assert client.read_exactly(5) == b"first"
            go_on.set()
            assert client.read_exactly(5) == b"-last"
            go_on.clear()


@pytest.mark.parametrize("split", [1, 30, 44, 46, 50])
def test_answer_in_two_packets_is_one_answer(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, split: int
) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst-last"
    upstream.script(f"/open/{name}", [send(whole[:split]), wait(0.01), send(whole[split:])])
    with gateway.connect(timeout_seconds=5) as client:
        for _ in range(5):
            answer = client.request("GET", f"/open/{name}")
            assert (answer.status, answer.body) == (200, b"first-last")
            assert answer.header("Content-Length") == b"10"


def test_stream_may_last_longer_than_the_response_timeout(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    # /hasty waits 0.5 s at most, for the head and between any two pieces; the stream lasts longer.
    go_on = [threading.Event() for _ in range(5)]
    steps = [send(EVENT_STREAM_HEAD)]
    for event in go_on:
        steps += [wait_for(event), send(chunk(b"data\n\n"))]
    upstream.script(f"/hasty/{name}", [*steps, send(LAST_CHUNK)])
    started = time.monotonic()
    with gateway.connect() as client:
        client.send(request_bytes(f"/hasty/{name}"))
        client.read_head()
        for event in go_on:
            assert client.is_silent(0.25)
            event.set()
            assert client.read_chunk() == b"data\n\n"
        assert client.read_chunk() == b""
    assert time.monotonic() - started > 1.0


def test_upload_and_answer_pass_each_other(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    early = send(EVENT_STREAM_HEAD + chunk(b"early"))
    upstream.script(f"/large/{name}", [early, read_body(), send(LAST_CHUNK)])
    with gateway.connect(timeout_seconds=5) as client:
        lines = ["Transfer-Encoding: chunked"]
        client.send(request_bytes(f"/large/{name}", *lines, method="POST", body=b"3\r\none\r\n"))
        client.read_head()
        assert client.read_chunk() == b"early"
        client.send(b"3\r\ntwo\r\n0\r\n\r\n")
        assert client.read_chunk() == b""
    assert upstream.wait_for_body(f"/large/{name}").body == b"onetwo"


@pytest.mark.parametrize("size", [1, 1_000, 65_536, 5_000_000])
def test_body_of_any_size_arrives_unchanged(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    upstream.script(f"/large/{name}", [read_body(), send(head + body)])
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.post(f"/large/{name}", content=body)
    assert answer.content == body
    assert upstream.wait_for_body(f"/large/{name}").body == body
