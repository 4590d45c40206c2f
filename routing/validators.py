"""Say in words what is wrong with a path, host, method, URL or header that an administrator typed."""

import re
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from accounts.validators import validate_text_list
from routing.pipeline.headers import is_reserved_request_header, is_reserved_response_header

# Paths the control plane answers itself; a route there would never be reached.
CONTROL_PLANE_PREFIXES = (
    "/admin",
    "/v1",
    "/auth",
    "/static",
    "/health",
    "/healthz",
    "/metrics",
    "/.well-known",
)
AUTHENTICATORS = ("api_key", "jwt")

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"\A(\*\.)?{_LABEL}(\.{_LABEL})*\Z|\A\[[0-9a-f:.]+\]\Z")
_SEGMENT = re.compile(r"\A(\{[a-z_][a-z0-9_]*\}|[A-Za-z0-9._~!$&'()*+,=:@-]+)\Z")
_METHOD = re.compile(r"\A[A-Z]{3,20}\Z")
_HEADER_NAME = re.compile(r"\A[A-Za-z0-9!#$%&'*+.^`|~-]+\Z")


def validate_path(value: str) -> None:
    """A prefix such as /api/orders or /users/{id}/orders, in its one canonical form."""
    if not value.startswith("/"):
        raise ValidationError("A path starts with /.")
    if value == "/":
        return
    if value.endswith("/"):
        raise ValidationError("Leave the last / away: a prefix covers /x, /x/ and all below.")
    for segment in value[1:].split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.match(segment):
            raise ValidationError(
                f"{segment!r} is not a usable segment: plain characters, or one {{name}} as a whole segment."
            )
    names = re.findall(r"\{(\w+)\}", value)
    if len(names) != len(set(names)):
        raise ValidationError("Each {name} may stand once in a path.")
    first = "/" + value[1:].split("/")[0]
    if first in CONTROL_PLANE_PREFIXES:
        raise ValidationError(f"{first} belongs to the gateway itself: such a route would never be reached.")


def validate_hosts(value: Any) -> None:
    validate_text_list(value)
    for host in value:
        if not _HOST.match(host):
            raise ValidationError(
                f"{host!r} is not a host name: lower case, no port, at most one *. at the start."
            )


def validate_methods(value: Any) -> None:
    validate_text_list(value)
    for method in value:
        if not _METHOD.match(method) or method in ("CONNECT", "TRACE"):
            raise ValidationError(
                f"{method!r} is not a method a route can take (upper case; no CONNECT, TRACE)."
            )


def validate_authenticators(value: Any) -> None:
    validate_text_list(value)
    for name in value:
        if name not in AUTHENTICATORS:
            raise ValidationError(
                f"{name!r} is not an authenticator; choose from: {', '.join(AUTHENTICATORS)}."
            )


def validate_origins(value: Any) -> None:
    validate_text_list(value)
    for origin in value:
        parts = urlsplit(origin)
        if origin != "*" and (
            parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin
        ):
            raise ValidationError(f"{origin!r} is not an origin: scheme://host[:port], nothing after it.")


def validate_target_url(value: str) -> None:
    """http or https, a host, nothing that a redirect or a parser could read in two ways."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"{value!r} can't be read as a URL: {error}.") from error
    if parts.scheme not in ("http", "https"):
        raise ValidationError("A target's URL starts with http:// or https://.")
    if not parts.hostname or port == 0:
        raise ValidationError("A target's URL needs a host (and a port other than 0).")
    if "@" in parts.netloc:
        raise ValidationError("A target's URL holds no user name or password.")
    if parts.query or parts.fragment or "#" in value or "?" in value:
        raise ValidationError("A target's URL holds no query and no fragment.")
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", parts.netloc):
        raise ValidationError("A target's host holds letters, digits, dots and hyphens only.")
    if parts.path not in ("", "/"):
        raise ValidationError("A target's URL has no path: use the route's rewrite for that.")


def validate_header_name(value: str) -> None:
    if not _HEADER_NAME.match(value):
        raise ValidationError(f"{value!r} is not a header name (letters, digits and hyphens; no underscore).")


def validate_header_value(value: str) -> None:
    if any(not (" " <= character <= "~" or character == "\t") for character in value):
        raise ValidationError("A header value holds visible ASCII, spaces and tabs only.")


def validate_rule_target(direction: str, name: str) -> None:
    reserved = is_reserved_request_header if direction == "request" else is_reserved_response_header
    if reserved(name.lower().encode("ascii", "replace")):
        raise ValidationError(
            {"name": f"{name} is set by the gateway itself and can't be changed by a rule."}
        )


def validate_rewrite(value: str | None) -> None:
    if not value:
        return
    if not value.startswith("/") and not value.startswith("{rest}"):
        raise ValidationError("A rewrite starts with / or {rest}.")
    if value.count("{rest}") > 1 or ("{rest}" in value and not value.endswith("{rest}")):
        raise ValidationError("{rest} may stand once, at the end.")
    fixed = value.removesuffix("{rest}")
    if fixed and fixed != "/":
        for segment in fixed.strip("/").split("/"):
            if segment in ("", ".", "..") or not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,=:@-]+", segment):
                raise ValidationError(f"{segment!r} is not a usable segment of a rewrite.")
    if "{rest}" in value and fixed.endswith("/"):
        raise ValidationError("{rest} begins with / itself: leave the / before it away.")
