"""Rule 14: sizes and counts have ends, and what is beyond them never reaches an upstream."""

import pytest

from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import read_body, response, send

CHUNKED = "Transfer-Encoding: chunked"
# The shared gateway's default: 100 header fields, 32 KiB; 100 bytes of body below /small.
HOST_LINE = len("host") + len("gateway.test") + 4


@pytest.mark.parametrize("size, status", [(99, 200), (100, 200), (101, 413), (10**15, 413)])
def test_body_of_known_length_is_refused_before_the_upstream_is_connected(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, size: int, status: int
) -> None:
    body = b"x" * size if size <= 100 else b""
    answer = gateway.exchange(
        request_bytes(f"/small/{name}", f"Content-Length: {size}", method="POST", body=body)
    )
    assert answer.status == status
    assert [request.body for request in upstream.to(f"/small/{name}")] == ([body] if status == 200 else [])


def test_body_that_grows_beyond_the_limit_is_cut_off(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/small/{name}", [read_body(), send(response())])
    with gateway.connect() as client:
        sent = request_bytes(f"/small/{name}", CHUNKED, method="POST", body=b"32\r\n" + b"x" * 50 + b"\r\n")
        client.send(sent)
        request = upstream.wait_for_request(f"/small/{name}")
        client.send(b"33\r\n" + b"x" * 51 + b"\r\n")
        answer = client.read_response()
    assert (answer.status, answer.error_code) == (413, "body_too_large")
    upstream.wait_until_closed(request)
    assert not request.complete
    assert len(request.body) <= 100


def test_body_of_exactly_the_limit_passes_in_chunks(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    body = b"32\r\n" + b"x" * 50 + b"\r\n32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n"
    assert gateway.exchange(request_bytes(f"/small/{name}", CHUNKED, method="POST", body=body)).status == 200
    assert len(upstream.wait_for_body(f"/small/{name}").body) == 100


def test_default_limit_is_one_mebibyte(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    for size, status in [(1_048_576, 200), (1_048_577, 413)]:
        path = f"/open/{name}-{size}"
        lines = [f"Content-Length: {size}", "Expect: 100-continue"]
        with gateway.connect() as client:
            client.send(request_bytes(path, *lines, method="POST"))
            if status == 200:
                assert client.read_head().status == 100
                client.send(b"x" * size)
            assert client.read_response().status == status
        assert bool(upstream.to(path)) is (status == 200)


@pytest.mark.parametrize("count, status", [(100, 200), (101, 431), (500, 431)])
def test_number_of_headers_is_limited(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, count: int, status: int
) -> None:
    # The server itself refuses more than 100, with a bare 431.
    answer = gateway.exchange(request_bytes(f"/open/{name}", *[f"X-{n}: 1" for n in range(count - 1)]))
    assert answer.status == status
    assert bool(upstream.to(f"/open/{name}")) is (status == 200)


@pytest.mark.parametrize("size, status", [(32_768, 200), (32_769, 431), (200_000, 431)])
def test_size_of_headers_is_limited(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, size: int, status: int
) -> None:
    # A field counts with its name, its value and four bytes of colon, space and line end.
    value = "x" * (size - HOST_LINE - len("x-a") - 4)
    answer = gateway.exchange(request_bytes(f"/open/{name}", f"X-A: {value}"))
    assert answer.status == status
    assert bool(upstream.to(f"/open/{name}")) is (status == 200)


def test_size_of_headers_counts_over_many(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", *[f"X-{n}: {'x' * 400}" for n in range(90)]))
    assert (answer.status, answer.error_code) == (431, "headers_too_large")
    assert upstream.to(f"/open/{name}") == []


def test_endless_header_is_cut_off(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    with gateway.connect() as client:
        client.send(f"GET /open/{name} HTTP/1.1\r\nHost: a\r\nX-A: ".encode())
        sent = 0
        try:
            while sent < 20_000_000 and client.is_silent(0):
                client.send(b"x" * 65_536)
                sent += 65_536
        except (BrokenPipeError, ConnectionResetError):
            pass
    # What fits in the sockets' buffers on the way, and no more.
    assert sent < 10_000_000
    assert upstream.to(f"/open/{name}") == []


def test_target_of_32_kib_passes_and_of_a_mebibyte_does_not(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    assert gateway.exchange(request_bytes(f"/open/{name}/{'x' * 30_000}")).status == 200
    with gateway.connect() as client:
        client.send(request_bytes(f"/open/{name}/{'x' * 1_000_000}"))
        assert client.read_head().status in (400, 414, 431)
    assert len([request for request in upstream.requests if name.encode() in request.target]) == 1
