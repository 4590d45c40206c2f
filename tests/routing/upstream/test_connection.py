"""One client connection's reading and writing, byte by byte, over a transport that only notes."""

import asyncio
from time import monotonic
from typing import Any

import pytest

from routing.pipeline.errors import (
    GatewayError,
    UpstreamAborted,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from routing.upstream.connection import HIGH_WATER_BYTES, Response, UpstreamConnection
from tests.routing.event_loop import run

OK = b"HTTP/1.1 200 OK\r\n"


class NotingTransport:
    """What the connection asks of its socket. Closing is told at the loop's next turn, as by asyncio."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self.written = b""
        self.reading = True
        self.aborted = False

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert low < high

    def write(self, data: bytes) -> None:
        assert not self.aborted
        self.written += data

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)


def connected(method: str = "GET") -> tuple[UpstreamConnection, NotingTransport]:
    connection = UpstreamConnection(asyncio.get_running_loop())
    transport = NotingTransport(connection)
    connection.connection_made(transport)
    connection.start(method, b"head", 10.0, 10.0)
    return connection, transport


async def outcome(method: str, packets: list[bytes | None]) -> tuple[int, bytes, bool]:
    """Status, body and reusability after these packets; None is the end of the stream."""
    connection, _ = connected(method)
    answer = connection.response()
    reading: asyncio.Task[bytes] = asyncio.ensure_future(whole_body(connection, answer))
    await asyncio.sleep(0)
    for packet in packets:
        if packet is None:
            connection.connection_lost(None)
        elif not connection.closed:
            connection.data_received(packet)
        for _ in range(3):
            await asyncio.sleep(0)
    body = await reading
    return answer.result().status, body, connection.reusable


async def whole_body(connection: UpstreamConnection, answer: "asyncio.Future[Response]") -> bytes:
    await answer
    body = b""
    while data := await connection.read():
        body += data
    return body


def head(*fields: bytes, line: bytes = OK) -> bytes:
    return line + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


LENGTH_2 = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
WHOLE: dict[str, Any] = {
    "length": ("GET", [head(LENGTH_2) + b"ok"], (200, b"ok", True)),
    "length-0": ("GET", [head(b"Content-Length: 0")], (200, b"", True)),
    "length-in-two-packets": ("GET", [head(LENGTH_2) + b"o", b"k"], (200, b"ok", True)),
    "one-byte-a-packet": ("GET", [bytes((b,)) for b in head(LENGTH_2) + b"ok"], (200, b"ok", True)),
    "chunked": ("GET", [head(CHUNKED) + b"2\r\nok\r\n0\r\n\r\n"], (200, b"ok", True)),
    "chunked-upper": ("GET", [head(b"TRANSFER-ENCODING: Chunked") + b"0\r\n\r\n"], (200, b"", True)),
    "chunked-extension": ("GET", [head(CHUNKED) + b"2;a=b\r\nok\r\n0\r\n\r\n"], (200, b"ok", True)),
    "chunked-trailers": ("GET", [head(CHUNKED) + b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"], (200, b"ok", True)),
    "chunked-in-pieces": (
        "GET",
        [head(CHUNKED), b"1\r\no", b"\r\n1", b"\r\nk\r\n0\r", b"\n\r\n"],
        (200, b"ok", True),
    ),
    "until-the-end": ("GET", [head() + b"ok", b"ok", None], (200, b"okok", False)),
    "until-the-end-empty": ("GET", [head(), None], (200, b"", False)),
    "http-1.0": ("GET", [head(LENGTH_2, line=b"HTTP/1.0 200 OK\r\n") + b"ok"], (200, b"ok", False)),
    "close": ("GET", [head(LENGTH_2, b"Connection: close") + b"ok"], (200, b"ok", False)),
    "close-among-others": ("GET", [head(LENGTH_2, b"Connection: x, Close") + b"ok"], (200, b"ok", False)),
    "204": ("GET", [head(line=b"HTTP/1.1 204 No Content\r\n")], (204, b"", True)),
    "304": ("GET", [head(b"Content-Length: 99", line=b"HTTP/1.1 304 X\r\n")], (304, b"", True)),
    "head-with-length": ("HEAD", [head(b"Content-Length: 99")], (200, b"", True)),
    "head-chunked": ("HEAD", [head(CHUNKED)], (200, b"", True)),
    "head-without-framing": ("HEAD", [head()], (200, b"", True)),
    "head-close": ("HEAD", [head(b"Connection: close")], (200, b"", False)),
    "head-1.0": ("HEAD", [head(line=b"HTTP/1.0 200 OK\r\n")], (200, b"", False)),
    "100-first": ("POST", [b"HTTP/1.1 100 Continue\r\n\r\n" + head(LENGTH_2) + b"ok"], (200, b"ok", True)),
    "103-with-headers": (
        "GET",
        [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", head(LENGTH_2) + b"ok"],
        (200, b"ok", True),
    ),
    "102-twice": ("GET", [b"HTTP/1.1 102 P\r\n\r\n" * 2 + head(LENGTH_2) + b"ok"], (200, b"ok", True)),
    "599": ("GET", [head(LENGTH_2, line=b"HTTP/1.1 599 ?\r\n") + b"ok"], (599, b"ok", True)),
    "no-reason": ("GET", [head(LENGTH_2, line=b"HTTP/1.1 200\r\n") + b"ok"], (200, b"ok", True)),
}
INVALID: dict[str, list[bytes | None]] = {
    "garbage": [b"SSH-2.0-OpenSSH\r\n"],
    "length-beside-chunked": [head(LENGTH_2, CHUNKED) + b"0\r\n\r\n"],
    "chunked-beside-length": [head(CHUNKED, LENGTH_2) + b"0\r\n\r\n"],
    "two-lengths": [head(LENGTH_2, b"Content-Length: 3") + b"ok"],
    "same-length-twice": [head(LENGTH_2, LENGTH_2) + b"ok"],
    "length-list": [head(b"Content-Length: 2, 2") + b"ok"],
    "length-negative": [head(b"Content-Length: -2")],
    "length-signed": [head(b"Content-Length: +2") + b"ok"],
    "length-hex": [head(b"Content-Length: 0x2") + b"ok"],
    "length-huge": [head(b"Content-Length: " + b"9" * 40)],
    "gzip-coding": [head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"],
    "unknown-coding": [head(b"Transfer-Encoding: identity") + b"ok"],
    "chunked-twice": [head(CHUNKED, CHUNKED) + b"0\r\n\r\n"],
    "101-unasked": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
    "101-plain": [b"HTTP/1.1 101 X\r\n\r\n"],
    "status-099": [b"HTTP/1.1 099 X\r\nContent-Length: 6\r\n\r\npoison" + head(LENGTH_2) + b"ok"],
    "status-of-two-digits": [b"HTTP/1.1 20 OK\r\n\r\n"],
    "nul-in-value": [head(b"X-A: a\x00b", LENGTH_2) + b"ok"],
    "bare-cr-in-value": [head(b"X-A: a\rb", LENGTH_2) + b"ok"],
    "obs-fold": [head(b"X-A: a\r\n b", LENGTH_2) + b"ok"],
    "space-before-colon": [head(b"X-A : a", LENGTH_2) + b"ok"],
    "name-with-space": [head(b"X A: a", LENGTH_2) + b"ok"],
    "too-many-fields": [head(*(b"X-%d: 1" % number for number in range(201)))],
    "too-large-field": [OK + b"X-A: " + b"a" * 70_000, b"\r\n\r\n"],
    "endless-head": [OK + b"X-A: ", *[b"a" * 10_000] * 8],
    "endless-interim": [b"HTTP/1.1 100 Continue\r\nX-A: " + b"a" * 5000 + b"\r\n\r\n"] * 20,
    "closed-in-the-head": [b"HTTP/1.1 200 OK\r\nX-", None],
    "closed-after-100": [b"HTTP/1.1 100 Continue\r\n\r\n", None],
    "two-responses": [(head(LENGTH_2) + b"ok") * 2],
    "response-behind-204": [head(line=b"HTTP/1.1 204 X\r\n") + head(LENGTH_2) + b"ok"],
    "body-behind-204": [head(line=b"HTTP/1.1 204 X\r\n") + b"poison"],
}


@pytest.mark.parametrize("method, packets, expected", WHOLE.values(), ids=WHOLE.keys())
def test_response_is_read_whole(method: str, packets: list[bytes | None], expected: Any) -> None:
    assert run(outcome(method, packets)) == expected


@pytest.mark.parametrize("packets", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_clear_response_is_refused(packets: list[bytes | None]) -> None:
    with pytest.raises(UpstreamInvalid):
        run(outcome("GET", packets))


BROKEN: dict[str, list[bytes | None]] = {
    "length": [head(LENGTH_2) + b"o", None],
    "chunked-between": [head(CHUNKED) + b"2\r\nok\r\n", None],
    "chunked-within": [head(CHUNKED) + b"9\r\nok", None],
    "chunked-before-the-last-line": [head(CHUNKED) + b"2\r\nok\r\n0\r\n", None],
    "chunk-size-bad": [head(CHUNKED) + b"2\r\nok\r\n", b"zz\r\n"],
    "chunk-size-huge": [head(CHUNKED) + b"2\r\nok\r\n", b"f" * 40 + b"\r\n"],
    "chunk-without-its-end": [head(CHUNKED) + b"2\r\nokXX0\r\n\r\n", None],
}


@pytest.mark.parametrize("packets", BROKEN.values(), ids=BROKEN.keys())
def test_body_cut_short_is_never_a_clean_end(packets: list[bytes | None]) -> None:
    with pytest.raises((UpstreamAborted, UpstreamInvalid)):
        run(outcome("GET", packets))


def test_head_response_with_a_body_is_refused_or_ends_the_connection() -> None:
    async def scenario() -> None:
        for packet in (head(LENGTH_2) + b"ok", head() + b"poison", head(LENGTH_2) + head(LENGTH_2)):
            connection, transport = connected("HEAD")
            answer = connection.response()
            connection.data_received(packet)
            assert not connection.reusable
            assert transport.aborted
            with pytest.raises(UpstreamInvalid):
                await answer

    run(scenario())


def test_byte_while_idle_closes_the_connection() -> None:
    async def scenario() -> None:
        connection, transport = connected()
        answer = connection.response()
        connection.data_received(head(LENGTH_2) + b"ok")
        assert (await answer).status == 200
        assert connection.take() == b"ok"
        assert connection.reusable
        connection.data_received(b"H")
        assert (connection.reusable, transport.aborted) == (False, True)

    run(scenario())


def test_connection_carries_one_request_after_another_without_traces() -> None:
    async def scenario() -> None:
        connection, transport = connected("HEAD")
        for number in range(3):
            if number:
                connection.start(("GET", "HEAD")[number % 2], b"next", 10.0, 10.0)
            answer = connection.response()
            connection.data_received(head(b"X-N: %d" % number, b"Content-Length: 0"))
            got = await answer
            assert got.headers == [(b"x-n", b"%d" % number), (b"content-length", b"0")]
            assert connection.take() == b""
            assert connection.reusable
        assert (connection.requests, transport.written) == (3, b"headnextnext")

    run(scenario())


def test_closed_without_a_byte_is_unreachable_so_that_it_may_be_tried_again() -> None:
    async def scenario() -> None:
        connection, _ = connected()
        answer = connection.response()
        connection.connection_lost(ConnectionResetError())
        with pytest.raises(UpstreamUnreachable):
            await answer
        assert not connection.received_anything

    run(scenario())


def test_deadline_ends_whoever_waits() -> None:
    async def scenario() -> None:
        for waiting_for_body in (False, True):
            connection, transport = connected()
            answer = connection.response()
            if waiting_for_body:
                connection.data_received(head(LENGTH_2))
                await answer
                reading = asyncio.ensure_future(connection.read())
                await asyncio.sleep(0)
            assert connection.deadline > monotonic()
            connection.expire()
            with pytest.raises(UpstreamTimeout):
                await (reading if waiting_for_body else answer)
            assert transport.aborted

    run(scenario())


def test_no_deadline_runs_while_nobody_waits_for_the_upstream() -> None:
    async def scenario() -> None:
        connection, _ = connected()
        answer = connection.response()
        connection.data_received(head(LENGTH_2) + b"o")
        await answer
        # The client takes its time with what has come: the upstream is not late.
        assert connection.deadline == 0.0
        assert await connection.read() == b"o"
        assert connection.deadline == 0.0

    run(scenario())


def test_slow_client_does_not_lift_the_deadline_of_a_response_under_way() -> None:
    async def scenario() -> None:
        connection, _ = connected("POST")
        answer = connection.response()
        connection.await_client()
        assert connection.deadline == 0.0
        connection.data_received(head(LENGTH_2))
        await answer
        reading = asyncio.ensure_future(connection.read())
        await asyncio.sleep(0)
        connection.await_client()
        assert connection.deadline > monotonic()
        connection.data_received(b"ok")
        assert await reading == b"ok"

    run(scenario())


def test_reader_far_behind_pauses_the_sender_and_resumes_it() -> None:
    async def scenario() -> None:
        connection, transport = connected()
        answer = connection.response()
        size = HIGH_WATER_BYTES * 3
        connection.data_received(head(b"Content-Length: %d" % size))
        await answer
        for _ in range(2):
            connection.data_received(b"x" * (HIGH_WATER_BYTES // 2 + 1))
        assert not transport.reading
        assert len(await connection.read()) == 2 * (HIGH_WATER_BYTES // 2 + 1)
        # What was kept is taken: only now is more asked for.
        reading = asyncio.ensure_future(connection.read())
        await asyncio.sleep(0)
        assert transport.reading
        connection.data_received(b"y")
        assert await reading == b"y"

    run(scenario())


def test_writer_waits_while_the_socket_is_full_and_learns_that_it_is_gone() -> None:
    async def scenario() -> None:
        connection, _ = connected("POST")
        connection.pause_writing()
        draining = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        connection.resume_writing()
        await draining
        connection.pause_writing()
        draining = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        connection.connection_lost(None)
        with pytest.raises(GatewayError):
            await draining
        with pytest.raises(GatewayError):
            connection.write(b"x")

    run(scenario())


def test_failure_that_nobody_awaits_any_more_is_no_complaint() -> None:
    async def scenario() -> None:
        connection, _ = connected()
        answer = connection.response()
        waiting = asyncio.ensure_future(asyncio.wait_for(answer, 10))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        connection.expire()
        await asyncio.sleep(0)

    run(scenario())


def test_own_abort_never_completes_a_body_that_ends_with_the_connection() -> None:
    async def scenario() -> None:
        connection, _ = connected()
        answer = connection.response()
        connection.data_received(head() + b"half")
        await answer
        assert await connection.read() == b"half"
        connection.abort()
        with pytest.raises(UpstreamAborted):
            await connection.read()

    run(scenario())
