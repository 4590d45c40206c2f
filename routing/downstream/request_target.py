"""The forms a request target may have besides a plain path (RFC 9112 section 3.2). Pure."""

import re

from routing.pipeline.errors import BadHost, BadTarget, GatewayError

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.DOTALL | re.IGNORECASE).fullmatch


def split_target(
    target: bytes, method: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[bytes, GatewayError | None]:
    """The path and query to go by, and why they can't be gone by, if so.

    An absolute form must name the host that the Host field names: RFC 9112 3.2.2 lets the one overrule
    the other, and whoever looked at the other before us would have decided on another resource.
    """
    if b"#" in target:
        return target.partition(b"#")[0], BadTarget("a fragment in the target")
    if target == b"*" or method == b"CONNECT":
        return target, None
    absolute = _ABSOLUTE(target)
    if absolute is None:
        return target, BadTarget("the target is neither a path nor a URL")
    authority, rest = absolute.groups()
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) == 1 and hosts[0].lower() != authority.lower():
        return rest, BadHost("the target names another host than Host")
    return rest, None
