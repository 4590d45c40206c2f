"""A gateway as a competent team writes it in an afternoon: FastAPI in front, one shared httpx client behind.

It exists to be measured against. It streams both ways, as a gateway must, and it does the same job as the
measured route: key check, in-memory limit, request id, JSON access log. It is no part of the product.
"""

from __future__ import annotations

import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

UPSTREAM = os.environ["REFERENCE_UPSTREAM"]
API_KEYS = {os.environ["REFERENCE_API_KEY"]: "bench"}
LIMIT, WINDOW_SECONDS = 1_000_000_000, 60
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
NOT_FORWARDED = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "x-api-key",
        "x-user-id",
    ]
)

windows: dict[str, tuple[int, int]] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
    timeout = httpx.Timeout(15, connect=2)
    async with httpx.AsyncClient(
        base_url=UPSTREAM, limits=limits, timeout=timeout, trust_env=False
    ) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


async def caller(request: Request) -> str:
    key = request.headers.get("x-api-key", "")
    for known, name in API_KEYS.items():
        if hmac.compare_digest(known.encode(), key.encode()):
            return name
    raise HTTPException(401, "A valid key is needed.")


async def within_limit(name: Annotated[str, Depends(caller)]) -> str:
    window = int(time.time()) // WINDOW_SECONDS
    started, count = windows.get(name, (window, 0))
    windows[name] = (window, count + 1 if started == window else 1)
    if windows[name][1] > LIMIT:
        raise HTTPException(429, "Too many requests.")
    return name


@app.api_route("/{path:path}", methods=METHODS)
async def forward(request: Request, name: Annotated[str, Depends(within_limit)]) -> StreamingResponse:
    began = time.perf_counter()
    request_id = request.headers.get("x-request-id") or str(uuid.uuid4())
    headers = [(field, value) for field, value in request.headers.items() if field not in NOT_FORWARDED]
    headers += [("x-request-id", request_id), ("x-user-id", name)]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    outgoing = request.app.state.client.build_request(
        request.method,
        httpx.URL(path=request.url.path, query=request.url.query.encode()),
        headers=headers,
        content=request.stream() if has_body else None,
    )
    try:
        answer = await request.app.state.client.send(outgoing, stream=True)
    except httpx.TimeoutException as error:
        raise HTTPException(504, "The service did not answer in time.") from error
    except httpx.HTTPError as error:
        raise HTTPException(502, "The service could not be reached.") from error

    async def finish() -> None:
        await answer.aclose()
        log(request, request_id, answer.status_code, began)

    response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(finish))
    kept = [
        (field, value) for field, value in answer.headers.raw if field.lower().decode() not in NOT_FORWARDED
    ]
    if "content-length" in answer.headers:
        kept.append((b"content-length", answer.headers["content-length"].encode()))
    response.raw_headers = [*kept, (b"x-request-id", request_id.encode())]
    return response


def log(request: Request, request_id: str, status: int, began: float) -> None:
    line = {
        "timestamp": datetime.now(UTC).isoformat(),
        "event": "request_completed",
        "request_id": request_id,
        "method": request.method,
        "path": request.url.path,
        "status": status,
        "client_ip": request.client.host if request.client else None,
        "duration_ms": round((time.perf_counter() - began) * 1000, 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")
