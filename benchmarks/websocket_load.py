"""Clients of the WebSocket part, in a process of their own: one line of JSON says what they saw.

echo     connections that each send a message as soon as the last one is back, for some seconds
idle     connections that are opened, held, and then asked to echo once
connect  connections opened at a steady rate and closed again
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable

import uvloop
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

MESSAGE = b"m" * 128


class Client(WSListener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.round_trips = 0
        self.running = False
        self.lost = False
        self.came: asyncio.Future[None] | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY or frame.payload_size != len(MESSAGE):
            self.lost = True
            return
        self.round_trips += 1
        if self.running:
            transport.send(WSMsgType.BINARY, MESSAGE)
        elif self.came is not None and not self.came.done():
            self.came.set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = True
        if self.came is not None and not self.came.done():
            self.came.set_result(None)


async def _open(url: str, key: str) -> tuple[WSTransport, Client]:
    transport, client = await ws_connect(
        Client,
        url,
        extra_headers={"X-API-Key": key},
        websocket_handshake_timeout=30,
        read_buffer_init_size=2048,
    )
    return transport, client


async def _open_many(url: str, key: str, count: int) -> list[tuple[WSTransport, Client]]:
    opened: list[tuple[WSTransport, Client]] = []
    for start in range(0, count, 50):
        opened += await asyncio.gather(*(_open(url, key) for _ in range(start, min(start + 50, count))))
    return opened


async def echo(url: str, key: str, count: int, seconds: float) -> dict[str, float]:
    opened = await _open_many(url, key, count)
    for transport, client in opened:
        client.running = True
        transport.send(WSMsgType.BINARY, MESSAGE)
    await asyncio.sleep(0.5)
    began, before = time.perf_counter(), sum(client.round_trips for _, client in opened)
    await asyncio.sleep(seconds)
    took, after = time.perf_counter() - began, sum(client.round_trips for _, client in opened)
    lost = sum(client.lost for _, client in opened)
    for _, client in opened:
        client.running = False
    for transport, _ in opened:
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()
    return {"round_trips_a_second": (after - before) / took, "lost": lost}


async def idle(url: str, key: str, count: int, seconds: float) -> dict[str, float]:
    opened = await _open_many(url, key, count)
    _say("open")
    await asyncio.sleep(seconds)
    lost = sum(client.lost for _, client in opened)
    alive = 0
    for transport, client in opened:
        if client.lost:
            continue
        client.came = asyncio.get_running_loop().create_future()
        transport.send(WSMsgType.BINARY, MESSAGE)
        await asyncio.wait_for(client.came, 10)
        alive += not client.lost
    return {"lost": lost, "answering": alive}


async def connect(url: str, key: str, count: int, seconds: float) -> dict[str, float]:
    """`count` a second for `seconds`; each is closed as soon as it is open."""
    failures, latest = 0, 0.0

    async def one() -> None:
        nonlocal failures, latest
        began = time.perf_counter()
        try:
            transport, _ = await _open(url, key)
        except Exception:
            # Whatever the library raises: it was not accepted.
            failures += 1
            return
        latest = max(latest, time.perf_counter() - began)
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as connections:
        for number in range(int(count * seconds)):
            ahead = began + number / count - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            connections.create_task(one())
    return {"failures": failures, "slowest_seconds": latest, "took_seconds": time.perf_counter() - began}


def _say(word: str) -> None:
    print(json.dumps({"event": word}), flush=True)


WORK: dict[str, Callable[..., object]] = {"echo": echo, "idle": idle, "connect": connect}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=sorted(WORK))
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The key comes over a pipe: a command line can be read by every user of the machine.
    key = sys.stdin.readline().strip()
    print(json.dumps(uvloop.run(WORK[chosen.work](chosen.url, key, chosen.count, chosen.seconds))))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
