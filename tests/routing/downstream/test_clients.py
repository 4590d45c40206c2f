"""How long clients may dawdle, how many there may be, and how they all end."""

import asyncio
import socket
from time import monotonic
from typing import Any

import pytest

from routing.downstream.call import Call
from tests.routing.downstream.serving import GET, QUICK, answer, serving
from tests.routing.event_loop import run, until


def test_connection_without_a_request_is_closed_after_the_idle_time() -> None:
    async def scenario() -> None:
        async with serving(answer) as served:
            client = await served.connect()
            client.send(GET)
            assert await client.answer() == (200, b"ok")
            asked_at = monotonic()
            assert await client.rest() == b""
            assert monotonic() - asked_at > QUICK.idle / 2

    run(scenario())


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "behind-another"])
@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX-"])
def test_head_that_comes_byte_by_byte_is_refused_in_time(before: bytes, start: bytes) -> None:
    async def scenario() -> None:
        async with serving(answer) as served:
            client = await served.connect()
            client.send(before + start)
            if before:
                assert (await client.answer())[0] == 200
            began_at = monotonic()
            if not start:
                client.send(b"P")
            more = iter(b"OST" + b"x" * 1000)
            while not client.reader.at_eof() and monotonic() - began_at < 5:
                if not client.writer.is_closing():
                    client.send(b"\r\n" if start == b"\r\n" else bytes([next(more)]))
                await asyncio.sleep(0.02)
                if served.calls and served.calls[-1].finished and "problem" in served.calls[-1].scope:
                    break
            assert monotonic() - began_at < 2
            status, code = await client.answer()
            # A byte that makes no request ends it as well, only sooner.
            assert (status, code) in [(408, b"client_timeout"), (400, b"bad_method"), (400, b"bad_framing")]
            assert await client.rest() == b""
            await until(lambda: len(served.clients) == 0, "the connection is gone")

    run(scenario())


def test_body_that_stops_ends_the_connection() -> None:
    received: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            received.append(message)

    async def scenario() -> None:
        async with serving(lambda call: call.run(application)) as served:
            client = await served.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            assert await client.rest() == b""
            await until(lambda: served.calls[0].disconnected, "the application is told")
        assert [message["body"] for message in received] == [b"abc"]

    run(scenario())


def test_idle_time_begins_when_the_answer_has_been_taken() -> None:
    """A transfer longer than the idle time: its last bytes are not cut off by it."""
    body = b"x" * 20_000_000

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(2 * QUICK.idle)
        await send({"type": "http.response.body", "body": body})

    async def scenario() -> None:
        async with serving(lambda call: call.run(application)) as served:
            client = await served.connect()
            client.send(GET)
            await client.reader.readuntil(b"\r\n\r\n")
            size = 0
            while part := await client.reader.read(100_000):
                size += len(part)
                # Slower than the idle time in all, never so slow that nothing moves.
                await asyncio.sleep(0.002)
            assert size == len(body)

    run(scenario())


def test_answer_that_nobody_takes_is_cut() -> None:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not (await asyncio.wait_for(asyncio.shield(_sent(send)), 5)):
            pass

    async def _sent(send: Any) -> bool:
        await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})
        return bool(calls[0].disconnected)

    calls: list[Call] = []

    def serve(call: Call) -> None:
        calls.append(call)
        call.run(application)

    async def scenario() -> None:
        async with serving(serve) as served:
            client = await served.connect(limit=1024)
            client.send(GET)
            most = 0
            began_at = monotonic()
            while len(served.clients) or not calls:
                if calls and not calls[0].connection.closed:
                    most = max(most, calls[0].connection.unsent_bytes)
                assert monotonic() - began_at < 5, "it was never cut"
                await asyncio.sleep(0.01)
            assert most < 300_000
            await until(lambda: calls[0].task is None or calls[0].task.done(), "the application ends")

    run(scenario())


def test_answers_wait_while_the_client_takes_none() -> None:
    """Pipelined requests: none is begun while the answers before it are stuck."""

    async def scenario() -> None:
        async with serving(lambda call: answer(call, b"x" * 50_000)) as served:
            with socket.socket() as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stream.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(stream, ("127.0.0.1", served.port))
                try:
                    async with asyncio.timeout(3):
                        while True:
                            await loop.sock_sendall(stream, GET * 10)
                except (TimeoutError, ConnectionError):
                    pass
                # What the kernel's buffers take, and not a multiple of what was asked.
                assert len(served.calls) < 300
            await until(lambda: len(served.clients) == 0, "the connection is gone")

    run(scenario())


@pytest.mark.parametrize("size", [10_000, 4_000_000])
def test_refusal_is_readable_for_who_is_still_sending(size: int) -> None:
    async def scenario() -> None:
        async with serving(lambda call: answer(call, b"no", 413)) as served:
            client = await served.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // 10_000):
                client.send(b"x" * 10_000)
                await client.writer.drain()
            assert await client.answer() == (413, b"no")
            assert await client.rest() == b""

    run(scenario())


def test_refused_sender_that_goes_on_for_ever_is_cut() -> None:
    async def scenario() -> None:
        async with serving(lambda call: answer(call, b"no", 413)) as served:
            client = await served.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            assert await client.answer() == (413, b"no")
            began_at = monotonic()
            while len(served.clients):
                assert monotonic() - began_at < 5
                client.send(b"x" * 1000)
                await asyncio.sleep(0.01)

    run(scenario())


def test_connections_beyond_the_limit_are_turned_away() -> None:
    async def scenario() -> None:
        async with serving(answer, QUICK._replace(connections=2)) as served:
            clients = [await served.connect() for _ in range(2)]
            for client in clients:
                client.send(GET)
                assert (await client.answer())[0] == 200
            third = await served.connect()
            assert await third.rest() == b""
            clients[0].leave()
            await until(lambda: len(served.clients) == 1, "there is room again")
            fourth = await served.connect()
            fourth.send(GET)
            assert (await fourth.answer())[0] == 200

    run(scenario())


def test_fault_in_one_request_leaves_those_of_its_turn_alone(caplog: pytest.LogCaptureFixture) -> None:
    def serve(call: Call) -> None:
        if call.scope["raw_path"] == b"/fault":
            raise ZeroDivisionError
        answer(call)

    async def scenario() -> None:
        async with serving(serve) as served:
            clients = [await served.connect() for _ in range(6)]
            for number, client in enumerate(clients):
                client.send(GET.replace(b" / ", b" /fault ") if number % 2 else GET)
            for number, client in enumerate(clients):
                assert (await client.answer())[0] == (500 if number % 2 else 200)

    run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_drain_closes_what_is_idle_and_answers_what_has_come() -> None:
    async def scenario() -> None:
        async with serving(answer, QUICK._replace(head=5.0)) as served:
            idle, half = [await served.connect() for _ in range(2)]
            for client in (idle, half):
                client.send(GET)
                await client.answer()
            half.send(GET[:10])
            connections = tuple(served.clients._connections)
            await until(lambda: [each.is_idle() for each in connections].count(True) == 1, "half a head")
            draining = asyncio.ensure_future(served.clients.drain(5))
            assert await idle.rest() == b""
            half.send(GET[10:])
            assert (await half.answer())[0] == 200
            assert await half.rest() == b""
            assert await draining

    run(scenario())


def test_drain_answers_a_request_that_was_read_in_the_same_turn() -> None:
    async def scenario() -> None:
        async with serving(answer) as served:
            client = await served.connect()
            client.send(GET)
            await client.answer()
            (connection,) = served.clients._connections
            # Read, and not yet begun: requests are begun together, in the loop's next turn.
            connection.data_received(GET)
            assert await served.clients.drain(5)
            assert (await client.answer())[0] == 200

    run(scenario())


def test_drain_ends_those_that_take_longer() -> None:
    async def never(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async def scenario() -> None:
        async with serving(lambda call: call.run(never)) as served:
            client = await served.connect()
            client.send(GET)
            await until(lambda: served.calls, "the request is there")
            assert not await served.clients.drain(0.2)
            assert await client.rest() == b""

    run(scenario())
