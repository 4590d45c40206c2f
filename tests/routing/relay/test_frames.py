"""A leg on a real socket, as either end: what passes, what ends it, what it keeps."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from picows import WSMsgType

from routing.relay import frames
from routing.relay.frames import BINARY, HIGH_WATER_BYTES, TEXT, Leg
from tests.end_to_end.raw_websocket import CLOSE, PING, close_bytes, frame_bytes

LIMIT = 1_048_576


class Owner:
    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []
        self.told: list[tuple[Any, ...]] = []

    def deliver(self, kind: WSMsgType, data: bytes) -> None:
        self.messages.append((int(kind), data))

    def leg_closed(self, leg: Leg, code: int, reason: str) -> None:
        self.told.append(("closed", code, reason))

    def leg_violated(self, leg: Leg, code: int, what: str) -> None:
        self.told.append(("violated", code))

    def leg_gone(self, leg: Leg) -> None:
        self.told.append(("gone", leg.closing))

    def leg_full(self, leg: Leg) -> None:
        self.told.append(("full",))

    def leg_free(self, leg: Leg) -> None:
        self.told.append(("free",))


Work = Callable[[Leg, Owner, socket.socket], Awaitable[None]]


def with_leg(work: Work, client_side: bool = False, early: bytes = b"") -> None:
    """Run `work` with a leg and the socket of its peer."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        peer.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=accepted)
        owner = Owner()
        leg = Leg(owner, LIMIT, client_side)
        leg.attach(transport)
        leg.deliver = owner.deliver
        leg.start(early)
        try:
            async with asyncio.timeout(20):
                await work(leg, owner, peer)
        finally:
            peer.close()
            leg.abort()
            await until(lambda: leg.gone_for_good)

    uvloop.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def read_to_end(peer: socket.socket) -> bytes:
    data = b""
    while part := await asyncio.get_running_loop().sock_recv(peer, 65536):
        data += part
    return data


async def send(peer: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(peer, data)


@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
def test_messages_pass_in_order_from_the_first_byte(client_side: bool) -> None:
    masked = not client_side
    early = frame_bytes(TEXT, "grüße".encode(), masked=masked) + frame_bytes(BINARY, b"whole", masked=masked)

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        await send(peer, early[-2:] + frame_bytes(TEXT, b"a", final=False, masked=masked))
        await send(peer, frame_bytes(PING, b"?", masked=masked) + frame_bytes(0, b"b", masked=masked))
        await until(lambda: len(owner.messages) == 3)
        assert owner.messages == [(TEXT, "grüße".encode()), (BINARY, b"whole"), (TEXT, b"ab")]
        assert (leg.messages, leg.bytes) == (3, 7 + 5 + 2)

    with_leg(work, client_side, early[:-2])


@pytest.mark.parametrize(
    "client_side, data, code",
    [
        pytest.param(False, frame_bytes(TEXT, b"x", masked=False), 1002, id="unmasked to a server"),
        pytest.param(True, frame_bytes(TEXT, b"x"), 1002, id="masked to a client"),
        pytest.param(True, frame_bytes(TEXT, b"\xff", masked=False), 1007, id="no text"),
        pytest.param(False, b"\x82\xff" + (LIMIT + 1).to_bytes(8, "big"), 1009, id="too large"),
        pytest.param(False, close_bytes(1006), 1002, id="close 1006"),
    ],
)
def test_violation_is_told_to_the_peer_and_to_the_owner(client_side: bool, data: bytes, code: int) -> None:
    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        good = frame_bytes(BINARY, b"good", masked=not client_side)
        await send(peer, good + data + good * 100)
        await until(lambda: owner.told[:1] == [("violated", code)])
        assert owner.messages == [(BINARY, b"good")]
        if not client_side:
            # The client of a connection hangs up at once; the server lets its last words arrive.
            peer.shutdown(socket.SHUT_WR)
            answer = await read_to_end(peer)
            assert (answer[0], int.from_bytes(answer[2:4], "big")) == (0x80 | CLOSE, code)
        await until(lambda: owner.told[-1] == ("gone", True))

    with_leg(work, client_side)


@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
def test_frame_that_is_refused_is_not_delivered_when_all_of_it_came_early(client_side: bool) -> None:
    masked = not client_side
    early = frame_bytes(TEXT, b"good", masked=masked) + frame_bytes(BINARY, bytes(LIMIT + 1), masked=masked)

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        await until(lambda: owner.told[:1] == [("violated", 1009)])
        assert owner.messages == [(TEXT, b"good")]

    with_leg(work, client_side, early)


@pytest.mark.parametrize("code, answer", [(1000, 1000), (4321, 4321), (1001, 1001), (None, 1000)])
@pytest.mark.parametrize(
    "behind",
    [close_bytes(1000), frame_bytes(3, b"x"), frame_bytes(TEXT, b"x", masked=False)],
    # Masks are random: the bytes are no name.
    ids=["another close", "unknown opcode", "unmasked text"],
)
def test_what_stands_behind_a_close_frame_changes_nothing(
    code: int | None, answer: int, behind: bytes
) -> None:
    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        await send(
            peer, frame_bytes(BINARY, b"good") + close_bytes(code, "" if code is None else "bye") + behind
        )
        assert await read_to_end(peer) == close_bytes(answer, masked=False)
        assert owner.messages == [(BINARY, b"good")]
        assert owner.told == [("closed", code or 1005, "bye" if code else "")]
        peer.close()
        await until(lambda: owner.told[1:] == [("gone", True)])

    with_leg(work)


def test_close_that_may_not_be_sent_is_a_violation_whatever_stands_behind_it() -> None:
    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        await send(peer, close_bytes(5000) + close_bytes(1000))
        assert await read_to_end(peer) == close_bytes(1002, masked=False)
        assert owner.told == [("violated", 1002)]

    with_leg(work)


@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
def test_text_that_no_later_part_can_mend_is_refused_at_once(client_side: bool) -> None:
    masked = not client_side

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        await send(peer, frame_bytes(TEXT, b"\xce", final=False, masked=masked))
        await send(peer, frame_bytes(0, b"\xba\xf4", final=False, masked=masked))
        await until(lambda: leg.frames == 2)
        assert owner.told == []
        await send(peer, frame_bytes(0, b"\x90", final=False, masked=masked))
        await until(lambda: owner.told[:1] == [("violated", 1007)])
        assert owner.messages == []

    with_leg(work, client_side)


def test_peer_that_never_answers_the_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS", 0.05)

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        leg.close(4000, "enough")
        leg.close(1000, "only the first counts")
        leg.send(BINARY, b"nor does this")
        await until(lambda: leg.gone_for_good)
        assert await read_to_end(peer) == close_bytes(4000, "enough", masked=False)
        assert owner.told == [("gone", True)]

    with_leg(work)


@pytest.mark.parametrize("full", [False, True], ids=["idle", "with much unsent"])
@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xce"], ids=["in one frame", "in parts"])
def test_violator_that_neither_reads_nor_hangs_up_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch, bad: bytes, client_side: bool, full: bool
) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS", 0.1)
    masked = not client_side
    wrong = frame_bytes(TEXT, bad, final=False, masked=masked) + frame_bytes(0, b"\xff", masked=masked)

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        while full and not leg.full:
            leg.send(BINARY, bytes(1_000_000))
        await send(peer, wrong)
        await until(lambda: ("violated", 1007) in owner.told)
        # The peer is still there, and has said and taken nothing since.
        await until(lambda: owner.told[-1] == ("gone", True))
        assert owner.told.count(("gone", True)) == 1

    with_leg(work, client_side)


@pytest.mark.parametrize("full", [False, True], ids=["idle", "with much unsent"])
@pytest.mark.parametrize("client_side", [False, True], ids=["server", "client"])
def test_peer_with_a_malformed_frame_that_stays_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch, client_side: bool, full: bool
) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS", 0.1)

    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        while full and not leg.full:
            leg.send(BINARY, bytes(1_000_000))
        # What the other leg may ask for at any time.
        leg.pause_reading()
        leg.resume_reading()
        await send(peer, frame_bytes(3, b"x", masked=not client_side))
        await until(lambda: ("violated", 1002) in owner.told)
        await until(lambda: owner.told[-1] == ("gone", True))

    with_leg(work, client_side)


def test_pause_and_resume_follow_the_peers_reading() -> None:
    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        sent = 0
        while not leg.full:
            leg.send(BINARY, bytes(16_384))
            sent += 1
        assert leg.unsent_bytes() <= HIGH_WATER_BYTES + 16_400
        # Pings are not answered meanwhile, but the last one afterwards.
        await send(peer, frame_bytes(PING, b"1") + frame_bytes(PING, b"2"))
        await until(lambda: leg.frames == 2)
        received = 0
        while ("free",) not in owner.told:
            received += len(await asyncio.get_running_loop().sock_recv(peer, 65536))
        wanted = sent * (16_384 + 4) + 3
        last = b""
        while received < wanted:
            last = await asyncio.get_running_loop().sock_recv(peer, 65536)
            received += len(last)
        assert (received, last[-3:]) == (wanted, b"\x8a\x012")

    with_leg(work)


def test_grown_buffer_is_given_back_between_frames_only() -> None:
    async def work(leg: Leg, owner: Owner, peer: socket.socket) -> None:
        assert not leg.shrink()
        cut = frame_bytes(TEXT, b"cut")
        await send(peer, frame_bytes(BINARY, bytes(900_000)) + cut[:3])
        await until(lambda: len(owner.messages) == 1)
        assert leg.room() > 500_000
        assert not leg.shrink()
        await send(peer, cut[3:])
        await until(lambda: len(owner.messages) == 2)
        old = leg.send
        assert leg.shrink()
        assert leg.room() < 2048
        assert leg.send != old
        leg.send(TEXT, b"new")
        await send(peer, frame_bytes(TEXT, b"after"))
        await until(lambda: len(owner.messages) == 3)
        assert owner.messages[2] == (TEXT, b"after")
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == frame_bytes(
            TEXT, b"new", masked=False
        )

    with_leg(work)
