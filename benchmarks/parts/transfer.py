"""A 1 GB upload and a 1 GB download through the gateway, and the memory it takes meanwhile."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from benchmarks.gateway import ROOT, Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.servers import Launch, Server, ServerFailed, fetch, free_port
from benchmarks.streaming_upstream import PIECE, PIECE_SIZE_BYTES

MEGABYTE = 1024 * 1024
SIZE_BYTES, QUICK_SIZE_BYTES = 1024 * MEGABYTE, 128 * MEGABYTE
WARM_UP_REQUESTS = 200
SAMPLE_SECONDS = 0.02
WANTED_MEGABYTES = 10


@dataclass(frozen=True)
class Transfer:
    """One direction: how long it took, and the gateway's memory before it and at its highest."""

    seconds: float
    before_bytes: int
    peak_bytes: int

    @property
    def added_megabytes(self) -> float:
        return (self.peak_bytes - self.before_bytes) / MEGABYTE


@dataclass(frozen=True)
class Body:
    """What is sent, told by its size and CRC-32."""

    size_bytes: int
    checksum: int


class MemoryWatch:
    """Samples the resident size of a server's processes in a thread; `peak_bytes` is the highest sum."""

    def __init__(self, server: Server) -> None:
        self.processes = server.processes()
        self.before_bytes = self.peak_bytes = self._resident_bytes()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._resident_bytes())

    def _resident_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.processes)


def measure(run: Run) -> Outcome:
    size_bytes = QUICK_SIZE_BYTES if run.quick else SIZE_BYTES
    folder = run.folder("transfer")
    upstream_port, port = free_port(), free_port()
    service = [sys.executable, "-m", "benchmarks.streaming_upstream", "--port", str(upstream_port)]
    installation = Installation(folder)
    installation.set_up(run.api_key, upstream_port, max_body_bytes=2 * SIZE_BYTES)
    key = {"X-API-Key": run.api_key}
    service_launch = Launch(command=service, log=folder / "service.log", directory=ROOT)
    with (
        Server(service_launch, None, ready=lambda: fetch(upstream_port, "/orders/7")[0] == 200),
        Server(
            installation.serve(port), None, ready=lambda: fetch(port, "/orders/7", key)[0] == 200
        ) as server,
    ):
        _warm_up(port, key)
        body = Body(size_bytes, _checksum(size_bytes))
        run.say("download")
        download = _timed(server, lambda: _download(port, key, body))
        run.say("upload, length known")
        upload = _timed(server, lambda: _upload(port, key, body, chunked=False))
        run.say("upload, chunked")
        chunked = _timed(server, lambda: _upload(port, key, body, chunked=True))
    return _report(size_bytes, {"download": download, "upload": upload, "chunked upload": chunked})


def _warm_up(port: int, key: dict[str, str]) -> None:
    for _ in range(WARM_UP_REQUESTS):
        if fetch(port, "/orders/7", key)[0] != 200:
            raise ServerFailed("a small request failed")


def _timed(server: Server, transfer: Callable[[], None]) -> Transfer:
    with MemoryWatch(server) as watch:
        began = time.monotonic()
        transfer()
        seconds = time.monotonic() - began
    return Transfer(seconds, watch.before_bytes, watch.peak_bytes)


def _pieces(size_bytes: int) -> Iterator[bytes]:
    for start in range(0, size_bytes, PIECE_SIZE_BYTES):
        yield PIECE[: size_bytes - start]


def _checksum(size_bytes: int) -> int:
    checksum = 0
    for piece in _pieces(size_bytes):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _download(port: int, key: dict[str, str], body: Body) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/orders/bytes/{body.size_bytes}", headers=key)
    response = connection.getresponse()
    received = checksum = 0
    while piece := response.read1(PIECE_SIZE_BYTES):
        received += len(piece)
        checksum = zlib.crc32(piece, checksum)
    connection.close()
    if (response.status, received, checksum) != (200, body.size_bytes, body.checksum):
        raise ServerFailed(f"the download gave status {response.status} and {received} bytes")


def _upload(port: int, key: dict[str, str], body: Body, chunked: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = dict(key) if chunked else {**key, "Content-Length": str(body.size_bytes)}
    connection.request(
        "PUT", "/orders/upload", body=_pieces(body.size_bytes), headers=headers, encode_chunked=chunked
    )
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != 200:
        raise ServerFailed(f"the upload was answered with status {response.status}")
    if json.loads(answer) != asdict(body):
        raise ServerFailed("the service received other bytes than were sent")


def _report(size_bytes: int, transfers: dict[str, Transfer]) -> Outcome:
    outcome = Outcome(
        title=PART.title,
        parameters=[
            f"{size_bytes // MEGABYTE} MB in pieces of {PIECE_SIZE_BYTES // 1024} KB from and to a streaming "
            "service; one client, `--role data --workers 1`, nothing pinned; checksums compared.",
            f"Resident size of parent and worker, every {SAMPLE_SECONDS * 1000:g} ms: highest during the "
            f"transfer less that before it (after {WARM_UP_REQUESTS} small requests).",
        ],
        columns=["transfer", "MB/s", "memory before MB", "at most MB", "added MB"],
    )
    for name, transfer in transfers.items():
        outcome.rows.append(
            [
                name,
                f"{size_bytes / MEGABYTE / transfer.seconds:.0f}",
                f"{transfer.before_bytes / MEGABYTE:.1f}",
                f"{transfer.peak_bytes / MEGABYTE:.1f}",
                f"{transfer.added_megabytes:.1f}",
            ]
        )
        outcome.figures.append(
            Figure(
                f"Memory added by {name}",
                transfer.added_megabytes,
                "MB",
                at_most=WANTED_MEGABYTES,
                digits=1,
            )
        )
    return outcome


PART = Part(name="transfer", title="1 GB up and down", measure=measure)
