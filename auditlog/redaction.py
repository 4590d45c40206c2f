"""Take secrets and, by policy, personal data out of a record before it is written anywhere.

Owns what may be kept of a query, an e-mail address, a client address and a path. Knows nothing of
files or sinks: a value that this module lets through is on disk a microsecond later.
"""

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

REMOVED = "***"
ACTIONS = ("keep", "hash", "truncate", "drop")

# Secrets that show by their form, wherever a client put them: the lower-case text that any match
# has in it (a substring search, so that clean text never meets the pattern) and the pattern. What
# group 1 matches is kept.
SECRET_FORMS = (
    ("gw_", r"(\bgw_[A-Za-z0-9]{1,64}_)[A-Za-z0-9_\-]{8,}"),  # our API keys: the public id stays
    ("eyj", r"()\beyJ[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4}"),  # JWT
    ("bearer", r"((?i:\bbearer(?:[ +]|%20)+))[A-Za-z0-9_\-.~+/=%]{6,}"),
    ("basic", r"((?i:\bbasic(?:[ +]|%20)+))[A-Za-z0-9_\-.~+/=%]{6,}"),
    ("@", r"(://[^/\s:@]{1,100}:)[^/\s@]{1,200}(?=@)"),  # scheme://user:password@host
    ("=", r"((?i:\b(?:password|passwd|pwd|secret|\w*token|api[_\-]?key|authorization))=)[^&;\s/]+"),
    ("%3d", r"((?i:\b(?:password|passwd|pwd|secret|\w*token|api[_\-]?key|authorization))%3[dD])[^&;\s/]+"),
)
_MAIL = re.compile(
    # Starts only where such a run starts, so that long runs without @ cost one pass.
    r"(?<![A-Za-z0-9._%+\-])(?:[A-Za-z0-9._+\-]|%(?!40))+(?:@|%40)"
    r"[A-Za-z0-9](?:[A-Za-z0-9\-]*\.)+[A-Za-z]{2,24}"
)
# Registered methods look so (RFC 9110 9.1); anything else in their place may be anything.
_METHOD = re.compile(r"[A-Z][A-Z_\-]{0,19}|")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,31}")

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
        return (
            "@" in text
            or "=" in text
            or "%3" in text
            or "%4" in text
            or "gw_" in text
            or "eyJ" in text
            or "earer" in text
            or "asic" in text
            or "EARER" in text
            or "ASIC" in text
            or self.looks_always
        )

    def text(self, text: str) -> str:
        """Free text of a client or of an error: secrets out, e-mail by policy."""
        for pattern in self.extra_forms:
            text = pattern.sub(REMOVED, text)
        lower = text.lower()
        for mark, form in self.secret_forms:
            if mark in lower:
                text = form.sub(rf"\g<1>{REMOVED}", text)
        if self.email != "keep" and ("@" in text or "%40" in text):
            text = _MAIL.sub(lambda match: self.apply(self.email, match.group()), text)
        return text

    def method(self, method: str) -> str:
        return method if _METHOD.fullmatch(method) else REMOVED

    def log_words(self, method: str, path: str, request_id: str) -> tuple[str, str, str]:
        """A client's words as a line of the access log may show them."""
        if self.needs_look(path):
            path = self.path_text(path)
        if self.needs_look(request_id):
            request_id = self.text(request_id)
        return self.method(method), path, request_id

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
