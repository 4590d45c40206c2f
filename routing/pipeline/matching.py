"""Match a request to a compiled route. Pure: no I/O, no ORM.

A trie of path segments for each host pattern: the cost of a match grows with the number of
segments in the path, not with the number of routes.

Which route wins: an exact host before a wildcard (longer suffix first) before any host; within a
host the longest path, and between equally long ones the one with a plain segment where the other
has a {name}, from the left; then priority, then the name. The method is looked at last and among
equally exact paths only: a route that guards one method of a path is never by-passed through a
shorter, laxer route by using another method.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from routing.pipeline.errors import MethodNotAllowed, RouteNotFound

if TYPE_CHECKING:
    from routing.snapshot import CompiledRoute


_HOSTS_REMEMBERED = 1024
# A leaf's: most nodes are leaves, and a dict of its own for each would cost memory and cache misses.
_NO_CHILDREN: dict[bytes, "Node"] = {}


class Node:
    """A place in the trie: routes that end here, and what may follow."""

    __slots__ = ("literals", "parameter", "routes")

    def __init__(self) -> None:
        self.literals: dict[bytes, Node] = _NO_CHILDREN
        self.parameter: Node | None = None
        self.routes: tuple[CompiledRoute, ...] = ()

    def child(self, segment: bytes) -> "Node":
        """The node that a plain segment leads to, made when there is none."""
        if self.literals is _NO_CHILDREN:
            self.literals = {}
        node = self.literals.get(segment)
        if node is None:
            node = self.literals[segment] = Node()
        return node


class RouteIndex:
    """Every compiled route, by host pattern and path."""

    def __init__(self, routes: Iterable["CompiledRoute"]) -> None:
        self._exact: dict[str, Node] = {}
        self._wildcard: dict[str, Node] = {}
        self._any = Node()
        self._roots: dict[str, tuple[Node, ...]] = {}
        for route in routes:
            for host in route.hosts or ("",):
                self._insert(self._root(host), route)

    def _root(self, host: str) -> Node:
        if not host:
            return self._any
        if host.startswith("*."):
            return self._wildcard.setdefault(host[2:], Node())
        return self._exact.setdefault(host, Node())

    @staticmethod
    def _insert(node: Node, route: "CompiledRoute") -> None:
        for segment in route.segments:
            if segment is None:
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                node = node.child(segment)
        ranked = sorted((*node.routes, route), key=lambda each: (-each.priority, each.name))
        node.routes = tuple(ranked)

    def roots(self, host: str) -> tuple[Node, ...]:
        """The tries to search for a Host header, the most exact pattern first."""
        found = self._roots.get(host)
        if found is None:
            found = tuple(self._find_roots(without_port(host)))
            if len(self._roots) < _HOSTS_REMEMBERED:
                self._roots[host] = found
        return found

    def _find_roots(self, host: str) -> Iterable[Node]:
        exact = self._exact.get(host)
        if exact is not None:
            yield exact
        if self._wildcard:
            rest = host
            while rest:
                rest = rest.partition(".")[2]
                node = self._wildcard.get(rest)
                if node is not None:
                    yield node
        yield self._any


def without_port(host: str) -> str:
    """The host of a Host header: no port, no final dot."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


def match_route(index: RouteIndex, host: str, method: str, path: bytes) -> "CompiledRoute":
    """Return the route for a canonical path. Raises RouteNotFound or MethodNotAllowed."""
    segments = path.split(b"/")
    for root in index.roots(host):
        routes = _deepest(root, segments, 1)
        if routes:
            return _by_method(routes, method)
    raise RouteNotFound(f"no route for {method} {path.decode()} on {host}")


def _deepest(node: Node, segments: list[bytes], position: int) -> tuple["CompiledRoute", ...]:
    """The routes at the deepest node that a prefix of the segments leads to."""
    best = node.routes
    for here in range(position, len(segments)):
        if node.parameter is not None:
            return _deeper_of(node, segments, here) or best
        child = node.literals.get(segments[here])
        if child is None:
            return best
        node = child
        best = node.routes or best
    return best


def _deeper_of(node: Node, segments: list[bytes], position: int) -> tuple["CompiledRoute", ...]:
    """The same below a node from which a {name} leads on too: the deeper of the two, else the plain one."""
    segment = segments[position]
    child = node.literals.get(segment)
    literal = _deepest(child, segments, position + 1) if child is not None else ()
    # An empty segment (/users/) is no value for {id}.
    by_name = _deepest(node.parameter, segments, position + 1) if node.parameter and segment else ()
    if literal and by_name and by_name[0].depth > literal[0].depth:
        return by_name
    return literal or by_name


def _by_method(routes: tuple["CompiledRoute", ...], method: str) -> "CompiledRoute":
    for route in routes:
        if route.methods is None or method in route.methods:
            return route
    allow = sorted({name for route in routes for name in route.methods or ()})
    raise MethodNotAllowed(tuple(allow), f"{method} is not among {', '.join(allow)}")
