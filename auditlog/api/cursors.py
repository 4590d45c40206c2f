"""The opaque cursor of the audit API: where the next page begins. Pure."""

import base64
import binascii
import uuid


class CursorInvalid(ValueError):
    """The text was not made by `make_cursor`."""


def make_cursor(last: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def read_cursor(text: str) -> uuid.UUID:
    """The event id after which the page begins. Raises CursorInvalid."""
    try:
        raw = base64.b64decode(f"{text}==".encode("ascii"), altchars=b"-_", validate=True)
        return uuid.UUID(bytes=raw)
    except (ValueError, binascii.Error, UnicodeEncodeError) as error:
        raise CursorInvalid("not a cursor of this API") from error
