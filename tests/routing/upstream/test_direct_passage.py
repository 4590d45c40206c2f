"""The way without a task, over real sockets on both sides: what goes wrong between two turns of the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from routing.downstream.call import Call
from routing.pipeline.errors import GatewayError
from routing.snapshot import CompiledRoute
from routing.upstream.direct_passage import DirectPassage
from routing.upstream.forward import Forwarder
from tests.routing.downstream.serving import GET, Served, serving
from tests.routing.event_loop import run, until
from tests.routing.upstream.client import exchange
from tests.routing.upstream.forwarding import OK, answer_ok, forwarder, route_to
from tests.routing.upstream.scripted_server import Peer, Script, ScriptedServer, listening

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"


class Gateway:
    """Forwards everything; `before` is called with each call that is about to be forwarded at once."""

    def __init__(self, forwarder: Forwarder, route: CompiledRoute) -> None:
        self.forwarder = forwarder
        self.route = route
        self.at_once = 0
        self.recorded: list[tuple[int, str | None]] = []
        self.before: Callable[[Call], None] = lambda call: None
        self.record_fails: Exception | None = None

    def serve(self, call: Call) -> None:
        asked = exchange(call.scope["method"], call.scope["raw_path"])
        length = dict(call.scope["headers"]).get(b"content-length")
        asked.content_length = None if length is None else int(length)
        self.before(call)
        if call.body_complete and self.forwarder.forward_at_once(
            asked, self.route, call, self._carry_on, self._finish
        ):
            self.at_once += 1
            return
        forwarding = self.forwarder.forward(asked, self.route, call.receive, call.send, self._finish)
        call.run_task(self._guarded(asked, call, forwarding))

    def _finish(self, done: Any) -> None:
        if self.record_fails is not None:
            raise self.record_fails
        self.recorded.append((done.status, None))

    def _carry_on(self, passage: DirectPassage, call: Call) -> None:
        call.run_task(self._guarded(passage.exchange, call, passage.carry_on()))

    async def _guarded(self, asked: Any, call: Call, work: Any) -> None:
        try:
            await work
        except GatewayError as error:
            self.recorded.append((error.status, error.code))
            if not asked.status:
                await call.send({"type": "http.response.start", "status": error.status, "headers": []})
                await call.send({"type": "http.response.body", "body": error.code.encode()})

    def busy(self) -> int:
        """Connections and requests that somebody still holds."""
        pools = self.forwarder.pools._pools.values()
        return sum(len(pool._busy) for pool in pools) + len(self.forwarder.under_way)

    def idle_transports(self) -> list[Any]:
        return [each._transport for pool in self.forwarder.pools._pools.values() for each in pool._idle]


@asynccontextmanager
async def gateway(script: Script) -> AsyncIterator[tuple[Gateway, Served, ScriptedServer]]:
    async with listening(script) as upstream:
        made = Gateway(forwarder(), route_to(upstream.url))

        async def sweep() -> None:
            while True:
                await asyncio.sleep(0.01)
                made.forwarder.sweep()

        sweeping = asyncio.ensure_future(sweep())
        try:
            async with serving(made.serve) as served:
                yield made, served, upstream
        finally:
            sweeping.cancel()
            made.forwarder.pools.close()


async def warm(served: Served, count: int = 1) -> None:
    """Have so many connections in the pool."""
    clients = [await served.connect() for _ in range(count)]
    for client in clients:
        client.send(GET)
    for client in clients:
        assert await client.answer() == (200, b"ok")


def test_answer_over_a_pooled_connection_takes_no_task() -> None:
    async def answer_both(peer: Peer) -> None:
        while head := await peer.head():
            await peer.read(2 if head.startswith(b"POST") else 0)
            peer.send(OK)

    async def scenario() -> None:
        async with gateway(answer_both) as (made, served, _):
            await warm(served)
            client = await served.connect()
            for sent in (GET, POST, GET + GET):
                client.send(sent)
            for _ in range(4):
                assert await client.answer() == (200, b"ok")
            assert made.at_once == 4
            assert made.busy() == 0

    run(scenario())


@pytest.mark.parametrize("sent, status", [(GET, 200), (POST, 502)])
def test_connection_that_ends_between_choice_and_sending_takes_no_other_request_with_it(
    sent: bytes, status: int
) -> None:
    """The pooled connection's end is known to the loop, and to nobody else yet."""

    async def scenario() -> None:
        async with gateway(answer_ok) as (made, served, _):
            await warm(served, 3)
            doomed: list[bool] = []

            def end_one(call: Call) -> None:
                if call.scope["raw_path"] == b"/doomed" and not doomed:
                    doomed.append(True)
                    made.idle_transports()[-1].abort()

            made.before = end_one
            first, second = await served.connect(), await served.connect()
            first.send(sent.replace(b" / ", b" /doomed "))
            second.send(GET)
            assert (await first.answer())[0] == status
            assert await second.answer() == (200, b"ok")
            await until(lambda: made.busy() == 0, "nothing is held")
            assert doomed

    run(scenario())


@pytest.mark.parametrize("sent", [GET, POST])
def test_client_that_leaves_before_its_request_is_sent_is_recorded_as_that(sent: bytes) -> None:
    async def scenario() -> None:
        async with gateway(answer_ok) as (made, served, upstream):
            await warm(served)
            recorded, heads = len(made.recorded), upstream.peers[0].received.count(b"HTTP/1.1")
            made.before = lambda call: call.connection.transport.abort()
            client = await served.connect()
            client.send(sent)
            await until(lambda: len(made.recorded) > recorded, "it is recorded")
            assert made.recorded[recorded:] == [(499, "client_left")]
            await until(lambda: made.busy() == 0, "nothing is held")
            assert sum(peer.received.count(b"HTTP/1.1") for peer in upstream.peers) == heads

    run(scenario())


@pytest.mark.parametrize("extra", [OK, b"x", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_upstream_that_answers_twice_is_never_asked_again_over_that_connection(
    extra: bytes, together: bool
) -> None:
    async def answer_twice(peer: Peer) -> None:
        while await peer.head():
            peer.send(OK + extra if together else OK)
            if not together:
                await peer.writer.drain()
                await asyncio.sleep(0.02)
                peer.send(extra.replace(b"ok", b"no"))

    async def scenario() -> None:
        async with gateway(answer_twice) as (made, served, upstream):
            for number in range(1, 4):
                client = await served.connect()
                client.send(GET)
                # In one packet the whole of it is no valid response; behind a valid one it is nobody's.
                assert await client.answer() == (
                    (502, b"upstream_invalid_response") if together else (200, b"ok")
                )
                await until(lambda: not made.idle_transports(), "it is given up")
                assert len(upstream.peers) == number

    run(scenario())


def test_bytes_that_came_before_the_request_was_sent_are_no_answer_to_it() -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await answer_ok(peer)
        await peer.head()
        peer.send(OK)
        await speak.wait()
        peer.send(OK.replace(b"ok", b"no"))
        await peer.rest()

    speak = asyncio.Event()

    async def scenario() -> None:
        async with gateway(script) as (_, served, _upstream):
            await warm(served)
            speak.set()
            for _ in range(5):
                client = await served.connect()
                client.send(GET)
                assert await client.answer() == (200, b"ok")

    run(scenario())


@pytest.mark.parametrize(
    "ending", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"]
)
@pytest.mark.parametrize("sent", [GET, POST])
def test_upstream_that_fails_leaves_nothing_held(ending: bytes, sent: bytes) -> None:
    async def fail_later(peer: Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.head()
        peer.send(ending)
        await peer.writer.drain()
        peer.close()

    async def scenario() -> None:
        async with gateway(fail_later) as (made, served, _):
            await warm(served)
            client = await served.connect()
            client.send(sent)
            status, _ = await client.answer()
            # Nothing came back: what may be repeated is, on a new connection.
            assert status == (200 if not ending and sent is GET else 502)
            await until(lambda: made.busy() == 0, "nothing is held")

    run(scenario())


def test_answer_that_cannot_be_recorded_is_not_sent() -> None:
    async def scenario() -> None:
        async with gateway(answer_ok) as (made, served, _):
            await warm(served)
            made.record_fails = GatewayError("no room")
            client = await served.connect()
            client.send(GET)
            assert await client.answer() == (500, b"internal_error")
            made.record_fails = ZeroDivisionError()
            client.send(GET)
            assert await client.answer() == (500, b"internal_error")
            assert made.busy() == 0

    run(scenario())


def test_fault_in_the_records_of_a_turn_keeps_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with gateway(answer_ok) as (made, served, _):
            await warm(served, 2)
            made.forwarder.release_records = lambda: 1 / 0  # type: ignore[assignment,return-value]
            clients = [await served.connect() for _ in range(2)]
            for client in clients:
                client.send(GET)
            assert [await client.answer() for client in clients] == [(200, b"ok")] * 2
            assert made.busy() == 0

    run(scenario())
    assert "ZeroDivisionError" in caplog.text
