"""nginx as a plain proxy with a key check: a map from key to caller, keep-alive to the upstream."""

from __future__ import annotations

import subprocess

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.servers import Launch, tool
from benchmarks.upstream import nginx_user

CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    map_hash_bucket_size 256;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_x_api_key $caller {{ default ""; "{api_key}" bench; }}
    upstream service {{
        server 127.0.0.1:{upstream_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($caller = "") {{ return 401; }}
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-API-Key "";
            proxy_set_header X-User-Id $caller;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


def launch(bout: Bout) -> Launch:
    configuration = bout.directory / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user=nginx_user(),
            directory=bout.directory,
            port=bout.port,
            upstream_port=bout.upstream_port,
            api_key=bout.api_key,
        )
    )
    command = [tool("nginx"), "-p", str(bout.directory), "-e", str(bout.directory / "nginx-error.log")]
    return Launch(command=[*command, "-c", str(configuration)], log=bout.directory / "nginx.log")


def version() -> str:
    answer = subprocess.run([tool("nginx"), "-v"], capture_output=True, text=True, check=True)
    return answer.stderr.strip().rpartition("/")[2]


CONTESTANT = Contestant(
    name="nginx",
    does="plain proxy, key check by a map, 1 worker, access log off (the harder one to measure against)",
    launch=launch,
    version=version,
)
