"""Make a client's text safe to keep: escaped, valid Unicode, bounded. Pure.

A record is one line in every sink. What a client sent may hold line ends, terminal escapes, text
direction overrides or bytes that are not UTF-8: each is written as a visible escape, so that it
can neither break a line nor look like a second record.
"""

DEFAULT_LIMIT = 1024
# Longest text kept of a field, in characters; everything else is cut at DEFAULT_LIMIT.
FIELD_LIMITS = {
    "user_agent": 512,
    "path": 2048,
    "query": 2048,
    "host": 255,
    "request_id": 128,
    "trace_id": 128,
    "method": 32,
}

_SURROGATE_ESCAPED = range(0xDC80, 0xDD00)


def escape_text(text: str | bytes, limit: int = DEFAULT_LIMIT, whole: int | None = None) -> str:
    r"""Return printable text of at most `limit` characters and, when cut, the length it had.

    `whole` is that length when the caller has cut it already.

    A byte that is not UTF-8 becomes \xNN, a character that does not print \uNNNN, and a backslash
    two of them, so that the original can be told from its escape.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    length = whole or len(text)
    if length > limit:
        text = text[:limit]
    if not text.isprintable() or "\\" in text:
        text = text.translate(_ESCAPES)
    return text if length <= limit else f"{text}…[{length}]"


def is_plain_line(encoded: bytes) -> bool:
    """Whether a whole encoded record is ASCII without anything that JSON or this module escapes.

    One look at the line instead of one at every field: JSON writes a control character, a quote
    and a backslash with a backslash, and DEL is the only other ASCII character that is not printed.
    """
    return encoded.isascii() and b"\\" not in encoded and b"\x7f" not in encoded


def _escape(point: int) -> str | int:
    if point == 0x5C:
        return "\\\\"
    if chr(point).isprintable():
        return point
    if point in _SURROGATE_ESCAPED:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


class _EscapeTable(dict[int, str | int]):
    """What `str.translate` looks up; the first 256 characters and undecodable bytes are ready."""

    def __missing__(self, point: int) -> str | int:
        return _escape(point)


_ESCAPES = _EscapeTable((point, _escape(point)) for point in (*range(256), *_SURROGATE_ESCAPED))
