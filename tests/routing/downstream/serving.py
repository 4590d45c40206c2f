"""Our own HTTP server on a loopback port, with limits short enough to wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from routing.downstream.call import Call
from routing.downstream.clients import Clients, Limits

QUICK = Limits(head=0.4, idle=0.4, body=0.4, stuck=0.4, linger=0.4, sweep=0.02)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Client:
    """A client's end, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer, which has a length. Raises asyncio.IncompleteReadError."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        return int(head.split(b" ")[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Everything until the server closes; what a reset throws away is missing."""
        data = b""
        try:
            while part := await self.reader.read(65536):
                data += part
        except ConnectionError:
            pass
        return data

    def leave(self) -> None:
        self.writer.transport.abort()


class Served:
    """What a test sees of the server: its connections, its calls, and a way in."""

    def __init__(self, clients: Clients, port: int) -> None:
        self.clients = clients
        self.port = port
        self.calls: list[Call] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, limit: int = 65536) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        self._writers.append(writer)
        return Client(reader, writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class _Noting:
    def __init__(self, serve: Callable[[Call], None]) -> None:
        self._serve = serve
        self.calls: list[Call] = []

    def serve(self, call: Call) -> None:
        self.calls.append(call)
        self._serve(call)


@asynccontextmanager
async def serving(serve: Callable[[Call], None], limits: Limits = QUICK) -> AsyncIterator[Served]:
    """`serve` is called with each request, as the front door is."""
    loop = asyncio.get_running_loop()
    noting = _Noting(serve)
    clients = Clients(noting, ("127.0.0.1", 0), limits)
    server = await loop.create_server(clients.protocol, "127.0.0.1", 0)
    clients.start_sweeping()
    served = Served(clients, server.sockets[0].getsockname()[1])
    served.calls = noting.calls
    try:
        yield served
    finally:
        served.close()
        clients.stop_sweeping()
        server.close()
        await clients.drain(5)


def answer(call: Call, body: bytes = b"ok", status: int = 200) -> None:
    """Answer at once, as the fast path does."""
    problem = call.scope.get("problem")
    if problem is not None:
        status, body = problem.status, problem.code.encode()
    call.respond({"status": status, "headers": []}, body)
