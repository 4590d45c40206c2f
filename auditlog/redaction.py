"""Take secrets and, by policy, personal data out of a record before it is written anywhere.

Owns what may be kept of a query, an e-mail address, a client address and a path. Knows nothing of
files or sinks: a value that this module lets through is on disk a microsecond later.
"""

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

REMOVED = "***"
ACTIONS = ("keep", "hash", "truncate", "drop")

_NAME_OF_ONE = r"(?i:\b\w*(?:password|passwd|pwd|secret|token|api[_\-]?key|authorization))"
_NAMES_IN_LOWER_CASE = ("passw", "pwd", "secret", "token", "api", "authorization")
# Secrets that show by their form, wherever a client put them: the lower-case text that any match
# has in it (a substring search, so that clean text never meets the pattern) and the pattern. What
# group 1 matches is kept.
SECRET_FORMS = (
    ("gw_", r"(\bgw_[A-Za-z0-9]{1,64}_)[A-Za-z0-9_\-]{8,}"),  # our API keys: the public id stays
    # JWT; a host is written in lower case.
    ("eyj", r"()\bey[Jj][A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4}"),
    ("bearer", r"((?i:\bbearer(?:[ +\t]|%20)+))[A-Za-z0-9_\-.~+/=%]{6,}"),
    ("basic", r"((?i:\bbasic(?:[ +\t]|%20)+))[A-Za-z0-9_\-.~+/=%]{6,}"),
    # scheme://user:password@host, scheme://token@host
    ("@", r"(://(?:[^/\s:@]{0,100}:)?)[^/\s@]{1,300}(?=@)"),
    ("=", rf"({_NAME_OF_ONE}=)[^&;\s/]+"),
    ("%3d", rf"({_NAME_OF_ONE}%3[dD])[^&;\s/]+"),
    (":", rf"({_NAME_OF_ONE}[\"']?\s*:\s*[\"']?)(?!//)[^&;,\s/\"'{{}}]+"),  # a header, or JSON
)
_MAIL = re.compile(
    # Starts only where such a run starts, so that long runs without @ cost one pass.
    r"(?<![A-Za-z0-9._%+\-])(?:[A-Za-z0-9._+\-]|%(?!40))+(?:@|%40)"
    r"[A-Za-z0-9](?:[A-Za-z0-9\-]*\.)+[A-Za-z]{2,24}"
)
# Registered (RFC 9110 16.1) or well known; anything else in their place may be anything.
METHODS = frozenset(
    {"ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET"}
    | {"HEAD", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF"}
    | {"MKWORKSPACE", "MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH"}
    | {"PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT"}
    | {"UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL"}
    | {""}
)
# A word or several, with a number behind: a secret in the place of a name hardly looks so.
_NAME = re.compile(r"(?=.{1,32}\Z)(?:[A-Za-z]+[0-9]{0,3}(?:[_.\-\[\]]+|\Z))+")
# Whoever reads a value may decode it again.
DECODED_AT_MOST = 4

# Query parameters whose values say how much is asked for, never who or with what right.
DEFAULT_QUERY_NAMES = frozenset(
    {"limit", "offset", "page", "page_size", "per_page", "cursor", "sort", "order", "order_by"}
    | {"state", "status", "format", "fields", "from", "to", "since", "until", "version"}
)


ADDRESSES_REMEMBERED = 10_000


class RedactionMisconfigured(ValueError):
    """A redaction policy names no known action or an invalid pattern."""


@dataclass(frozen=True, slots=True, eq=False)
class Redaction:
    """What is kept. `salt` keys the hashes: without it a hash of an address can't be looked up."""

    salt: bytes
    email: str = "hash"
    ip: str = "keep"
    principal: str = "keep"
    path: str = "hash"
    path_patterns: tuple[re.Pattern[str], ...] = ()
    query_names: frozenset[str] = DEFAULT_QUERY_NAMES
    secret_forms: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
        (mark, re.compile(form)) for mark, form in SECRET_FORMS
    )
    extra_forms: tuple[re.Pattern[str], ...] = ()
    looks_always: bool = False
    # Instance-wide and bounded: addresses repeat, and a keyed hash costs more than a look-up.
    _addresses: dict[str, str | None] = field(default_factory=dict, init=False)

    def needs_look(self, text: str) -> bool:
        """Whether a client's text may hold something to take out; cheap, errs towards True.

        Spelled out: a loop over the marks of SECRET_FORMS costs three times as much, on every record.
        """
        lower = text.lower()
        return (
            "@" in text
            or "=" in text
            or "%3" in text
            or "%4" in text
            or "gw_" in lower
            or "eyj" in lower
            or "bearer" in lower
            or "basic" in lower
            or (":" in text and any(name in lower for name in _NAMES_IN_LOWER_CASE))
            or self.looks_always
        )

    def may_hide(self, text: str) -> bool:
        """`needs_look` for text that is not in a canonical form, as a path is: it may be encoded."""
        return "%" in text or self.needs_look(text)

    def text(self, text: str) -> str:
        """Free text of a client or of an error: secrets out, e-mail by policy.

        Where an encoding hid one, the text is kept as it is without that encoding.
        """
        text = self._without_secrets(text)
        if "%" in text:
            decoded = _decoded(text)
            clean = self._without_secrets(decoded)
            text = text if clean == decoded else clean
        if self.email != "keep" and ("@" in text or "%40" in text):
            text = _MAIL.sub(lambda match: self.apply(self.email, match.group()), text)
        return text

    def _without_secrets(self, text: str) -> str:
        for pattern in self.extra_forms:
            text = pattern.sub(REMOVED, text)
        lower = text.lower()
        for mark, form in self.secret_forms:
            if mark in lower:
                text = form.sub(rf"\g<1>{REMOVED}", text)
        return text

    def method(self, method: str) -> str:
        return method if method in METHODS else REMOVED

    def log_words(
        self, method: str, path: str, request_id: str, more: dict[str, Any] | None
    ) -> tuple[str, str, str, dict[str, Any] | None]:
        """A client's words as a line of the access log may show them; `more` may quote it, too."""
        if self.needs_look(path):
            path = self.path_text(path)
        if self.may_hide(request_id):
            request_id = self.text(request_id)
        if more:
            more = {name: self.text(word) if isinstance(word, str) else word for name, word in more.items()}
        return self.method(method), path, request_id, more

    def path_text(self, path: str) -> str:
        """A path: as free text, then the segments that match a configured pattern by policy."""
        path = self.text(path)
        if not self.path_patterns or self.path == "keep":
            return path
        return "/".join(self._segment(segment) for segment in path.split("/"))

    def query(self, raw: bytes | str) -> str:
        """A query string with the values of all parameters but the allowed ones replaced.

        A part without `=` may be a secret on its own: nothing of it is kept.
        """
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        kept = []
        for part in text[:4096].split("&"):
            name, separator, value = part.partition("=")
            if name in self.query_names and separator:
                kept.append(f"{name}={self.text(value)}")
            elif separator and _NAME.fullmatch(name):
                kept.append(f"{self.text(name)}={REMOVED}")
            elif part:
                kept.append(REMOVED)
        return "&".join(kept)

    def address(self, address: str) -> str | None:
        if self.ip == "keep":
            return address
        try:
            return self._addresses[address]
        except KeyError:
            # Another thread may empty it at any moment: what was found is not read from there again.
            redacted = self._redact_address(address)
            if len(self._addresses) >= ADDRESSES_REMEMBERED:
                self._addresses.clear()
            self._addresses[address] = redacted
            return redacted

    def _redact_address(self, address: str) -> str | None:
        if self.ip == "drop":
            return None
        return _truncate_address(address) if self.ip == "truncate" else self.apply(self.ip, address)

    def principal_name(self, name: str) -> str:
        """A principal's own name is the answer to "who": e-mail form or not, it has its own policy."""
        return name if self.principal == "keep" else self.apply(self.principal, name)

    def apply(self, action: str, value: str) -> str:
        if action == "keep":
            return value
        if action == "hash":
            return f"h:{self.digest(value)}"
        if action == "truncate":
            return _truncate(value)
        return REMOVED

    def digest(self, value: str) -> str:
        """Keyed hash, 96 bits: equal values stay equal, and only the key's holder can test a guess."""
        normal = unquote_to_bytes(value).lower()
        return hmac.digest(self.salt, normal, hashlib.sha256)[:12].hex()

    def _segment(self, segment: str) -> str:
        if any(pattern.fullmatch(segment) for pattern in self.path_patterns):
            return self.apply(self.path, segment)
        return segment


def _decoded(text: str) -> str:
    for _ in range(DECODED_AT_MOST):
        decoded = unquote(text, errors="replace")
        if decoded == text:
            break
        text = decoded
    return text


def _truncate(value: str) -> str:
    local, at, domain = value.replace("%40", "@").partition("@")
    return f"{local[:1]}…@{domain}" if at else f"{value[:2]}…"


def _truncate_address(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return REMOVED
    network = ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False)
    return str(network.network_address)
