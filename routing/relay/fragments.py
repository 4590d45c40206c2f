"""A message that comes in parts: its size and its text are looked at with each of them. Pure."""

from codecs import getincrementaldecoder

from routing.relay import close_codes

_TextDecoder = getincrementaldecoder("utf-8")


class Fragments:
    """The parts of one message so far."""

    __slots__ = ("_data", "_limit", "_text")

    def __init__(self, is_text: bool, max_bytes: int) -> None:
        self._data = bytearray()
        self._limit = max_bytes
        self._text = _TextDecoder() if is_text else None

    def add(self, part: memoryview, final: bool) -> tuple[int, str] | None:
        """Take the next part; close code and words for what is wrong with it, None for nothing.

        Text that no later part can mend is refused at once (RFC 6455 8.1); a character may be cut in two.
        """
        if len(self._data) + len(part) > self._limit:
            return close_codes.MESSAGE_TOO_BIG, f"messages may have {self._limit} bytes"
        if self._text is not None:
            try:
                self._text.decode(part, final)
            except UnicodeDecodeError:
                return close_codes.INVALID_DATA, "text that is not UTF-8"
        self._data += part
        return None

    def whole(self) -> bytes:
        return bytes(self._data)
