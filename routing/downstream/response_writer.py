"""Turn an ASGI response into the bytes of an HTTP/1.1 response (RFC 9112). Pure but for the clock of Date."""

from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from time import time

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_REASONS.get(status, '')}".encode() for status in range(100, 1000)
}
# Fields that the framing depends on, in the two spellings that applications use.
_LENGTH, _CODING, _CONNECTION, _DATE = range(1, 5)
_WATCHED = {
    spelling: kind
    for name, kind in (
        (b"content-length", _LENGTH),
        (b"transfer-encoding", _CODING),
        (b"connection", _CONNECTION),
        (b"date", _DATE),
    )
    for spelling in (name, name.title())
}
WITHOUT_BODY = frozenset({204, 304})


class UnsafeHeader(ValueError):
    """A field that would end its line early: somebody else's words would become a header, or a body."""


class ResponseHead:
    """What the fields of a response say about its framing, and the lines that carry them."""

    __slots__ = ("_lines", "closes", "length", "stays")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.length: int | None = None
        self.closes = False
        self.stays = False  # an HTTP/1.0 client has to be told
        self._lines = lines = [_STATUS_LINES[status]]
        dated = False
        for name, value in headers:
            kind = _WATCHED.get(name)
            if kind is not None:
                if kind == _CODING:
                    continue  # the framing is the server's own
                if kind == _CONNECTION:
                    self.closes = value.lower() == b"close"
                    continue
                if kind == _LENGTH:
                    self.length = int(value)
                    continue
                dated = True
            lines.append(name + b": " + value)
        if not dated:
            lines.append(date_line())

    def encode(self, framing: bytes) -> bytes:
        """The head with this framing field (b"" for none). Raises UnsafeHeader."""
        lines = self._lines
        if framing:
            lines.append(framing)
        if self.closes:
            lines.append(b"connection: close")
        elif self.stays:
            lines.append(b"connection: keep-alive")
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        ends = len(lines) + 1
        if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
            raise UnsafeHeader("a response header holds a line break or NUL")
        return head


def whole_head(status: int, lines: list[bytes], length: int) -> bytes:
    """The head of a response whose body is at hand. Raises UnsafeHeader."""
    head = b"%b\r\n%b\r\ncontent-length: %d\r\n\r\n" % (_STATUS_LINES[status], b"\r\n".join(lines), length)
    ends = len(lines) + 3
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise UnsafeHeader("a response header holds a line break or NUL")
    return head


_dated_at = 0
_date_line = b""


def date_line() -> bytes:
    global _dated_at, _date_line
    now = int(time())
    if now != _dated_at:
        _dated_at, _date_line = now, b"date: " + formatdate(now, usegmt=True).encode()
    return _date_line
