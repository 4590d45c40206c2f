"""One file a gateway that is measured, registered in one list in the order of the rounds."""

from __future__ import annotations

from benchmarks.contestants import envoy, fastapi_httpx, gatehouse, granian_hello, nginx
from benchmarks.contestants.contestant import Contestant

CONTESTANTS: list[Contestant] = [
    nginx.CONTESTANT,
    envoy.CONTESTANT,
    fastapi_httpx.CONTESTANT,
    gatehouse.DATA_PLANE,
    gatehouse.BOTH_PLANES,
    granian_hello.CONTESTANT,
]
