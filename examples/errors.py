"""The refusals of the example services, and how one is written to the client.

    ServiceError
    ├── InvalidJson       400  the body is not a JSON object
    ├── InvalidFields     422  names every wrong field, of a body or of a query string
    ├── IdentityMissing   401  the caller came without the identity headers of a gateway
    ├── NotFound          404
    ├── Conflict          409  right request, wrong moment: not finished, already taken, already shipped
    ├── StoreFull         507  the in-memory store holds as many records as it may
    └── Busy              503  too many runs at once

The JSON has the shape of the gateway's own errors, so a client has one shape to read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

logger = logging.getLogger("examples")

CODES_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class ServiceError(Exception):
    """A refusal with its status, a stable code and a text that is safe to show."""

    status, code, message = 500, "internal_error", "The service failed."

    def __init__(self, message: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.details = dict(details or {})


class InvalidJson(ServiceError):
    status, code, message = 400, "invalid_json", "The body must be one JSON object."


class InvalidFields(ServiceError):
    status, code = 422, "invalid_fields"

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in wrong.items()), {"fields": dict(wrong)})


class IdentityMissing(ServiceError):
    status, code, message = 401, "identity_missing", "No X-User-Id header: call this through the gateway."


class NotFound(ServiceError):
    status, code, message = 404, "not_found", "There is no such thing."


class Conflict(ServiceError):
    status, code, message = 409, "conflict", "That cannot be done in the present state."


class StoreFull(ServiceError):
    status, code, message = 507, "store_full", "The store is full: delete something first."


class Busy(ServiceError):
    status, code, message = 503, "busy", "Too many runs are active: try again later."


def error_response(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Write one error envelope. `request_id` is null unless the caller sent one."""
    body = {
        "code": code,
        "message": message,
        "request_id": request.headers.get("x-request-id"),
        "details": dict(details or {}),
    }
    return JSONResponse({"error": body}, status_code=status, headers=headers)


async def answer_service_error(request: Request, exc: Exception) -> JSONResponse:
    """Answer a refusal that a service raised by name."""
    assert isinstance(exc, ServiceError)
    return error_response(request, exc.status, exc.code, exc.message, details=exc.details)


async def answer_http_error(request: Request, exc: Exception) -> JSONResponse:
    """Answer what the framework refused: no such path, wrong method, body too large."""
    assert isinstance(exc, HTTPException)
    code = CODES_OF_STATUS.get(exc.status_code, "refused")
    return error_response(request, exc.status_code, code, f"{exc.detail}.", headers=exc.headers)


async def answer_crash(request: Request, exc: Exception) -> JSONResponse:
    """Answer anything unforeseen without showing its cause, which goes to the log."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return error_response(request, 500, ServiceError.code, ServiceError.message)
