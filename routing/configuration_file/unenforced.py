"""Name what version 1 of the file can say and this version of Gatehouse stores but doesn't act on.

The one list of it: whoever builds the enforcement deletes its line.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from routing.configuration_file.shapes import Entry


class Unenforced(NamedTuple):
    what: str
    section: str
    is_used: Callable[[Entry], bool]


UNENFORCED: tuple[Unenforced, ...] = (
    Unenforced("roles' rate_limit", "roles", lambda role: role["rate_limit"] is not None),
    Unenforced("routes' rate_limits", "routes", lambda route: bool(route["rate_limits"])),
    Unenforced("compute quotas", "routes", lambda route: route["compute"]),
    Unenforced("health_check", "services", lambda service: bool(service["health_check"]["path"])),
    Unenforced("circuit_breaker", "services", lambda service: service.gave("circuit_breaker")),
    Unenforced(
        "load_balancing other than round_robin",
        "services",
        lambda service: service["load_balancing"] != "round_robin",
    ),
    Unenforced("identity jwt", "services", lambda service: service["identity"] == "jwt"),
    Unenforced("conditions (a grant that has one denies)", "grants", lambda grant: bool(grant["condition"])),
)


def unenforced_in(document: Entry) -> Iterator[str]:
    """What of the document is stored without an effect yet."""
    for item in UNENFORCED:
        if any(item.is_used(entry) for entry in document[item.section]):
            yield item.what
