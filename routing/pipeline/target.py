"""Make the one canonical request target, or refuse it. Pure: no I/O.

RFC 3986 6.2.2: percent-encoded characters that need no encoding are decoded, the others are
written in upper-case hexadecimal. What two parsers could read in two ways is refused, not mended.
"""

import re
from urllib.parse import unquote_to_bytes

from routing.pipeline.errors import BadTarget

# Letters, digits and marks of RFC 3986 pchar, less ";" (matrix parameters) and "%".
_PLAIN = rb"A-Za-z0-9\-._~!$&'()*+,=:@/"
_PLAIN_PATH = re.compile(rb"/[" + _PLAIN + rb"]*").fullmatch
_PLAIN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@")
# Encoded, these would be decoded by some later parser into a separator, a dot segment or an end of string.
_FORBIDDEN_ENCODED = frozenset(b"/\\.;?#%") | frozenset(range(0x20)) | {0x7F}
_DOT_SEGMENT = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)").search
_HEX = re.compile(rb"[0-9A-Fa-f]{2}").fullmatch
_BAD_IN_QUERY = re.compile(rb"[\x00-\x20\x7f#]").search

# Query parameters that carry a credential: read by the gateway, never passed on.
CREDENTIAL_PARAMETERS = frozenset({b"api_key", b"ticket"})


def canonical_path(raw: bytes) -> tuple[bytes, bool]:
    """Return the canonical path, and whether it holds an encoded slash (which a route may allow).

    Raises BadTarget.
    """
    if _PLAIN_PATH(raw) is not None:
        if b"//" in raw or (b"/." in raw and _DOT_SEGMENT(raw)):
            raise BadTarget("dot segment or empty segment")
        return raw, False
    return _canonical_slowly(raw)


def _canonical_slowly(raw: bytes) -> tuple[bytes, bool]:
    if not raw.startswith(b"/"):
        raise BadTarget("not in origin form")
    path, encoded_slash = _rewrite_escapes(raw)
    seen_by_a_decoder = path.replace(b"%2F", b"/")
    if b"//" in seen_by_a_decoder or _DOT_SEGMENT(seen_by_a_decoder):
        raise BadTarget("dot segment or empty segment")
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise BadTarget("not UTF-8") from error
    return path, encoded_slash


def _rewrite_escapes(raw: bytes) -> tuple[bytes, bool]:
    out = bytearray()
    encoded_slash = False
    position = 0
    while position < len(raw):
        byte = raw[position]
        position += 1
        if byte != 0x25:
            _append_raw(out, byte)
            continue
        digits = raw[position : position + 2]
        if _HEX(digits) is None:
            raise BadTarget("broken percent-encoding")
        position += 2
        decoded = int(digits, 16)
        if decoded == 0x2F:
            encoded_slash = True
            out += b"%2F"
        elif decoded in _FORBIDDEN_ENCODED:
            raise BadTarget(f"encoded %{decoded:02X}")
        elif decoded in _PLAIN_BYTES:
            out.append(decoded)
        else:
            out += b"%%%02X" % decoded
    return bytes(out), encoded_slash


def _append_raw(out: bytearray, byte: int) -> None:
    if byte in _PLAIN_BYTES or byte == 0x2F:
        out.append(byte)
    elif byte <= 0x20 or byte == 0x7F or byte in b"\\;?#":
        raise BadTarget(f"raw byte {byte:#04x}")
    else:
        out += b"%%%02X" % byte


def canonical_query(raw: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """Return the query without credentials, then the value of `api_key` and of `ticket` (None: absent).

    Raises BadTarget, also when a credential is given twice.
    """
    if not raw:
        return raw, None, None
    if _BAD_IN_QUERY(raw):
        raise BadTarget("control character, space or # in the query")
    if not raw.isascii():
        raw = _encode_non_ascii(raw)
    lowered = raw.lower()
    if b"api_key" not in lowered and b"ticket" not in lowered and b"%" not in raw:
        return raw, None, None
    return _take_credentials(raw)


def _encode_non_ascii(raw: bytes) -> bytes:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise BadTarget("query is not UTF-8") from error
    return b"".join(bytes((byte,)) if byte < 0x80 else b"%%%02X" % byte for byte in raw)


def _take_credentials(raw: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    kept: list[bytes] = []
    found: dict[bytes, bytes] = {}
    for pair in raw.split(b"&"):
        # Some servers split at ";" too: a credential must not hide behind one.
        names = {_parameter_name(part) for part in pair.split(b";")}
        if not names & CREDENTIAL_PARAMETERS:
            kept.append(pair)
            continue
        if b";" in pair:
            raise BadTarget("credential parameter beside a ;")
        name = _parameter_name(pair)
        if name in found:
            raise BadTarget("credential parameter given twice")
        found[name] = unquote_to_bytes(pair.partition(b"=")[2].replace(b"+", b" "))
    return b"&".join(kept), found.get(b"api_key"), found.get(b"ticket")


def _parameter_name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")).strip().lower()
