"""An upstream on a loopback port that does what one coroutine says, connection by connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Peer:
    """The upstream's end of one connection. `received` is every byte that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.received = b""

    async def head(self) -> bytes:
        """The next request's head. Raises asyncio.IncompleteReadError when the gateway has gone."""
        data = await self.reader.readuntil(b"\r\n\r\n")
        self.received += data
        return data

    async def read(self, size: int) -> bytes:
        data = await self.reader.readexactly(size)
        self.received += data
        return data

    async def rest(self) -> bytes:
        """Everything until the gateway closes."""
        try:
            while data := await self.reader.read(65536):
                self.received += data
        except ConnectionError:
            pass
        return self.received

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Listens from `listening()` on; `peers` are all connections it has had."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.port = 0
        self.peers: list[Peer] = []
        self.open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        self.open += 1
        try:
            await self._script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def listening(script: Script) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer(script)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(scripted._serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
