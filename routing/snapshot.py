"""Compile configuration rows to one immutable Snapshot. Pure: rows come in as plain values.

A row that can't be compiled spoils its own route (which then answers 503), never the snapshot.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from routing.pipeline.client_address import Network
from routing.pipeline.headers import HOP_BY_HOP, SECURITY_HEADERS
from routing.pipeline.matching import RouteIndex
from routing.relay.options import WebSocketOptions, compile_options

HeaderList = tuple[tuple[bytes, bytes], ...]


class TargetAddress(NamedTuple):
    """Where to connect; the key of a connection pool."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CompiledTarget:
    address: TargetAddress
    authority: bytes  # what the Host header says
    url: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class CompiledService:
    id: int
    name: str
    targets: tuple[CompiledTarget, ...]
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    retries: int
    identity: str


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """A route in the form that requests are decided and forwarded by."""

    id: int
    name: str
    pattern: str
    segments: tuple[bytes | None, ...]  # None stands for one segment of any value
    hosts: tuple[str, ...]
    methods: frozenset[str] | None
    priority: int
    service: CompiledService
    access: str
    asset: str
    asset_id: int
    required_roles: frozenset[str]
    authenticators: tuple[str, ...]
    prefix_segments: int | None  # how many leading segments go upstream as `replacement` instead
    replacement: bytes
    replacement_takes_rest: bool
    websocket: bool
    websocket_options: WebSocketOptions
    query_api_key: bool
    max_body_bytes: int
    allow_encoded_slashes: bool
    request_set: HeaderList
    request_drop: frozenset[bytes]
    response_set: HeaderList
    response_lines: tuple[bytes, ...]  # the same, as they stand in a response
    response_drop: frozenset[bytes]
    broken: str = ""

    def same_rules(self, other: "CompiledRoute") -> bool:
        """Whether both say the same; equality itself is identity, as routes are keys on the hot path."""
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(self))

    @property
    def depth(self) -> int:
        return len(self.segments)

    @property
    def resource(self) -> str:
        """What a credential's scopes speak of: the asset, or the service where there is none."""
        return self.asset or self.service.name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision of everything that requests are routed by."""

    revision: int
    index: RouteIndex
    routes: tuple[CompiledRoute, ...]
    services: tuple[CompiledService, ...]
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()

    def at_revision(self, revision: int) -> "Snapshot":
        """The same routes under a later revision, which changed none of them."""
        return replace(self, revision=revision)


class CompileDefaults(NamedTuple):
    """Settings of the process that rows leave open."""

    max_body_bytes: int = 1_048_576
    response_timeout: float = 15.0
    cors_origins: tuple[str, ...] = ()


@dataclass(slots=True)
class Rows:
    """Configuration rows as plain JSON-able values, from the database or from the copy on disk."""

    revision: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    services: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)


class RowBroken(ValueError):
    """A row says something that can't be compiled."""


def compile_snapshot(rows: Rows, defaults: CompileDefaults = CompileDefaults()) -> Snapshot:  # noqa: B008 - immutable
    """Compile every row; faults are collected in `problems` and in the routes they spoil."""
    problems: list[str] = []
    services = {row["id"]: _compile_service(row, defaults, problems) for row in rows.services}
    routes = tuple(_compile_route_safely(row, services, defaults, problems) for row in rows.routes)
    return Snapshot(
        revision=rows.revision,
        index=RouteIndex(route for route in routes if route.segments or route.pattern == "/"),
        routes=routes,
        services=tuple(services.values()),
        trusted_proxies=_compile_networks(rows.settings.get("trusted_proxies"), problems),
        cors_origins=frozenset(_texts(rows.settings.get("cors_origins"))) | frozenset(defaults.cors_origins),
        problems=tuple(problems),
    )


def _compile_networks(texts: Any, problems: list[str]) -> tuple[Network, ...]:
    """A network that can't be read is not trusted."""
    networks = []
    for text in _texts(texts):
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            problems.append(f"trusted proxies: {error}")
    return tuple(networks)


def _texts(value: Any) -> tuple[str, ...]:
    """The strings of a list; of anything else, none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list | tuple) else ()


def _compile_service(
    row: Mapping[str, Any], defaults: CompileDefaults, problems: list[str]
) -> CompiledService:
    targets: list[CompiledTarget] = []
    for target in row["targets"]:
        try:
            targets.append(_compile_target(target))
        except ValueError as error:
            problems.append(f"service {row['name']}: target {target.get('url')!r}: {error}")
    return CompiledService(
        id=row["id"],
        name=row["name"],
        targets=tuple(targets),
        connect_timeout=row["connect_timeout"],
        response_timeout=row["response_timeout"] or defaults.response_timeout,
        idle_timeout=row["idle_timeout"],
        retries=row["retries"],
        identity=row["identity"],
    )


def _compile_target(row: Mapping[str, Any]) -> CompiledTarget:
    parts = urlsplit(row["url"])
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RowBroken("not an http or https URL with a host")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if row.get("weight", 1) < 1:
        raise RowBroken("a weight below 1")
    return CompiledTarget(
        address=TargetAddress(parts.scheme, parts.hostname, port),
        authority=parts.netloc.encode("ascii"),
        url=row["url"],
        weight=row.get("weight", 1),
    )


def _compile_route_safely(
    row: Mapping[str, Any],
    services: Mapping[int, CompiledService],
    defaults: CompileDefaults,
    problems: list[str],
) -> CompiledRoute:
    try:
        return _compile_route(row, services[row["service_id"]], defaults)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"route {row.get('name')!r}: {type(error).__name__}: {error}"
        problems.append(problem)
        return _broken_route(row, problem)


def _compile_route(
    row: Mapping[str, Any], service: CompiledService, defaults: CompileDefaults
) -> CompiledRoute:
    if row["access"] not in ("public", "authenticated", "granted"):
        raise RowBroken(f"access {row['access']!r}")
    if row["access"] == "granted" and row["asset_id"] is None:
        raise RowBroken("access granted without an asset")
    if len(_texts(row["hosts"])) != len(row["hosts"]):
        raise RowBroken(f"hosts {row['hosts']!r}")
    segments = compile_path(row["path"])
    strips = bool(row["strip_prefix"] or row["rewrite"])
    rewrite = row["rewrite"] or "{rest}"
    response_set = _rules(row, "response", "set")
    if row["security_headers"]:
        chosen = {name for name, _ in response_set}
        response_set += tuple(pair for pair in SECURITY_HEADERS if pair[0] not in chosen)
    response_drop = {name for name, _ in _rules(row, "response", "remove")} | {
        name for name, _ in response_set
    }
    request_set = _rules(row, "request", "set")
    request_drop = {name for name, _ in (*_rules(row, "request", "remove"), *request_set)}
    return CompiledRoute(
        id=row["id"],
        name=row["name"],
        pattern=row["path"],
        segments=segments,
        hosts=tuple(row["hosts"]),
        methods=_compile_methods(row["methods"]),
        priority=row["priority"],
        service=service,
        access=row["access"],
        asset=row["asset"] or "",
        asset_id=row["asset_id"] or 0,
        required_roles=frozenset(row["required_roles"]),
        authenticators=tuple(row["authenticators"]),
        prefix_segments=len(segments) if strips else None,
        replacement=rewrite.removesuffix("{rest}").encode("ascii"),
        replacement_takes_rest=rewrite.endswith("{rest}"),
        websocket=row["websocket"],
        websocket_options=compile_options(row),
        query_api_key=row["query_api_key"],
        max_body_bytes=defaults.max_body_bytes if row["max_body_bytes"] is None else row["max_body_bytes"],
        allow_encoded_slashes=row["allow_encoded_slashes"],
        request_set=request_set,
        request_drop=frozenset(request_drop),
        response_set=response_set,
        response_lines=_lines(response_set),
        response_drop=frozenset(response_drop | HOP_BY_HOP | _WRITTEN_BACK),
    )


# The gateway frames the response itself and answers under its own ids.
_WRITTEN_BACK = frozenset({b"content-length", b"x-request-id", b"x-trace-id"})


def _lines(headers: HeaderList) -> tuple[bytes, ...]:
    return tuple(name + b": " + value for name, value in headers)


def compile_path(path: str) -> tuple[bytes | None, ...]:
    """Segments of a path pattern: bytes for a plain one, None for {name}. Raises RowBroken."""
    if path == "/":
        return ()
    if not path.startswith("/"):
        raise RowBroken(f"path {path!r}")
    segments = path[1:].split("/")
    if not all(segments):
        raise RowBroken(f"path {path!r} has an empty segment")
    return tuple(None if re.fullmatch(r"\{\w+\}", each) else each.encode("ascii") for each in segments)


def _compile_methods(methods: Iterable[str]) -> frozenset[str] | None:
    chosen = frozenset(methods)
    if not chosen:
        return None
    # RFC 9110 9.3.2: HEAD is GET without the body.
    return chosen | {"HEAD"} if "GET" in chosen else chosen


def _rules(row: Mapping[str, Any], direction: str, operation: str) -> HeaderList:
    return tuple(
        (rule["name"].lower().encode("ascii"), rule["value"].encode("latin-1"))
        for rule in row["header_rules"]
        if rule["direction"] == direction and rule["operation"] == operation
    )


_NO_SERVICE = CompiledService(0, "", (), 2.0, 15.0, 60.0, 0, "none")


def _broken_route(row: Mapping[str, Any], problem: str) -> CompiledRoute:
    """A stand-in that keeps the broken row's place, so that no laxer route takes its requests."""
    try:
        segments = compile_path(str(row.get("path")))
    except ValueError:
        segments = (b"\x00unreachable",)
    priority = row.get("priority")
    return CompiledRoute(
        id=row.get("id", 0),
        name=str(row.get("name", "")),
        pattern=str(row.get("path", "")),
        segments=segments,
        hosts=_texts(row.get("hosts")),
        methods=_compile_methods(_texts(row.get("methods"))),
        priority=priority if isinstance(priority, int) else sys.maxsize,
        service=_NO_SERVICE,
        access="granted",
        asset="",
        asset_id=0,
        required_roles=frozenset(),
        authenticators=(),
        prefix_segments=None,
        replacement=b"",
        replacement_takes_rest=True,
        websocket=False,
        websocket_options=WebSocketOptions(),
        query_api_key=False,
        max_body_bytes=0,
        allow_encoded_slashes=False,
        request_set=(),
        request_drop=frozenset(),
        response_set=SECURITY_HEADERS,
        response_lines=_lines(SECURITY_HEADERS),
        response_drop=frozenset(),
        broken=problem,
    )
