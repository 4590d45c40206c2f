"""The service of the transfer part: takes an upload and reports its checksum, or sends a download.

It streams in fixed pieces and holds one of them, so that only the gateway could gather a body in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import zlib

import httptools

PIECE_SIZE_BYTES = 256 * 1024
PIECE = random.Random(7).randbytes(PIECE_SIZE_BYTES)


class Service(asyncio.Protocol):
    """One connection. GET /orders/bytes/N sends N bytes; PUT counts and checks what it is sent."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.sending: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.url = b""
        self.size_bytes = self.checksum = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("A byte stream was expected.")
        self.transport = transport
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sending is not None:
            self.sending.cancel()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def on_message_begin(self) -> None:
        self.url, self.size_bytes, self.checksum = b"", 0, 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.size_bytes += len(body)
        self.checksum = zlib.crc32(body, self.checksum)

    def on_message_complete(self) -> None:
        if self.parser.get_method() == b"PUT":
            self._answer({"size_bytes": self.size_bytes, "checksum": self.checksum})
            return
        _, _, wanted = self.url.rpartition(b"/bytes/")
        if not wanted.isdigit():
            self._answer({"state": "ok"})
            return
        self.sending = asyncio.get_running_loop().create_task(self._send(int(wanted)))

    def _answer(self, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    async def _send(self, size_bytes: int) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        self._write(f"{head}Content-Length: {size_bytes}\r\n\r\n".encode())
        left = size_bytes
        while left:
            await self.writable.wait()
            self._write(PIECE[:left])
            left -= min(left, PIECE_SIZE_BYTES)
            # A transport that is never full must still let this connection's reads happen.
            await asyncio.sleep(0)

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))
