"""docs/errors.md lists every error that a client can be answered with, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

from gateway_site.errors import LOGIN_LOCKED_OUT
from routing.pipeline import errors
from tests.architecture.sources import text

# Never sent: nobody is there to read them, or the answer has begun already. And the abstract ones.
UNSENT = {"client_left", "upstream_abort", "unavailable", "route_changed"}


def subclasses(kind: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_every_code_is_documented_with_its_status_and_message() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \|$", text(Path("docs/errors.md")), re.MULTILINE)
    documented = {(int(status), code, message) for status, code, message in rows}
    base = {errors.Refusal, errors.UpstreamFailure, errors.Unauthenticated, errors.Forbidden}
    kinds = set(subclasses(errors.GatewayError)) - base
    sent = {(each.status, each.code, each.message) for each in kinds if each.code not in UNSENT}
    assert documented == sent | {LOGIN_LOCKED_OUT}
