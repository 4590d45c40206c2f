"""The stub upstream and the raw client say truly what went over the wire."""

import ssl
import time

import pytest

from tests.end_to_end.certificates import CertificateAuthority
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, exchange
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    chunk,
    close,
    drip,
    read_body,
    reset,
    response,
    send,
    wait,
    wait_for_hang_up,
)

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


def test_stub_records_every_byte_of_a_connection(upstream: StubUpstream) -> None:
    sent = b"POST /record?x=1 HTTP/1.1\r\nHost: a\r\nX-Odd:  two \r\nContent-Length: 3\r\n\r\nabc"
    answer = exchange(upstream.port, sent)
    request = upstream.wait_for_body("/record")
    assert bytes(upstream.connection_of(request).received) == sent
    assert (request.method, request.target, request.body) == (b"POST", b"/record?x=1", b"abc")
    assert request.header("x-odd") == b"two"
    assert answer.json()["body"] == "abc"


def test_stub_decodes_a_chunked_body_and_keeps_its_framing(upstream: StubUpstream) -> None:
    body = chunk(b"one ") + chunk(b"two") + LAST_CHUNK
    exchange(upstream.port, b"PUT /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    request = upstream.wait_for_body("/chunks")
    assert (request.body, request.raw_body) == (b"one two", body)


def test_scripts_of_a_path_follow_one_another_on_a_kept_connection(upstream: StubUpstream) -> None:
    upstream.script("/two", [send(response(body=b"first"))], [send(response("201 Created", body=b"second"))])
    with RawClient(upstream.port) as client:
        first, second, third = [client.request("GET", "/two") for _ in range(3)]
    assert (first.body, second.body, third.status) == (b"first", b"second", 201)
    assert len({request.connection for request in upstream.to("/two")}) == 1


def test_response_cut_off_is_seen_as_incomplete(upstream: StubUpstream) -> None:
    upstream.script("/cut", [send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), close()])
    answer = exchange(upstream.port, GET % b"cut")
    assert (answer.complete, answer.body) == (False, b"half")


def test_chunked_response_reset_is_seen_as_incomplete(upstream: StubUpstream) -> None:
    upstream.script("/reset", [send(CHUNKED_HEAD + chunk(b"half")), wait(0.05), reset()])
    answer = exchange(upstream.port, GET % b"reset")
    assert (answer.complete, answer.body) == (False, b"half")


def test_client_gets_pieces_as_they_come(upstream: StubUpstream) -> None:
    upstream.script("/drip", [send(CHUNKED_HEAD), drip(chunk(b"a") + chunk(b"b"), 6, 0.1), send(LAST_CHUNK)])
    with RawClient(upstream.port) as client:
        client.send(GET % b"drip")
        client.read_head()
        started = time.monotonic()
        assert client.read_chunk() == b"a"
        assert client.is_silent(0.02)
        assert client.read_chunk() == b"b"
        assert time.monotonic() - started > 0.05
        assert client.read_chunk() == b""


def test_client_that_leaves_is_noticed_by_the_stub(upstream: StubUpstream) -> None:
    upstream.script("/leave", [read_body(), wait_for_hang_up()])
    with RawClient(upstream.port) as client:
        client.send(GET % b"leave")
        request = upstream.wait_for_request("/leave")
        client.reset()
    upstream.wait_until_closed(request)


def test_stopped_stub_refuses_and_starts_again_on_its_port() -> None:
    stub = StubUpstream()
    stub.stop()
    with pytest.raises(ConnectionRefusedError):
        RawClient(stub.port)
    stub.start()
    assert exchange(stub.port, GET % b"again").status == 200
    stub.stop()


def test_stub_speaks_tls_with_a_certificate_of_the_test_authority(
    certificate_authority: CertificateAuthority,
) -> None:
    stub = StubUpstream(tls=certificate_authority.server_context())
    context = ssl.create_default_context(cafile=certificate_authority.path)
    with RawClient(stub.port) as client:
        client.stream = context.wrap_socket(client.stream, server_hostname="127.0.0.1")
        assert client.request("GET", "/tls").json()["target"] == "/tls"
    stub.stop()


def test_silence_ends_at_the_deadline(upstream: StubUpstream) -> None:
    upstream.script("/never", [wait_for_hang_up()])
    with RawClient(upstream.port, timeout_seconds=0.2) as client, pytest.raises(TimeoutError):
        client.request("GET", "/never")


def test_connection_closed_without_an_answer_is_an_error_that_shows_the_bytes(upstream: StubUpstream) -> None:
    upstream.script("/short", [send(b"HTTP/1.1 2"), close()])
    with pytest.raises(ConnectionEnded, match=r"HTTP/1\.1 2"):
        exchange(upstream.port, GET % b"short")
