"""Answer the control plane's errors with the same envelope as the data plane's.

Pages of the admin keep Django's own error pages: a person reads those.
"""

import logging
import sys
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import csrf, defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from routing.api.records import record_refusal
from routing.envelope import error_body
from routing.pipeline.errors import CredentialInvalid, CredentialMissing, GatewayError

logger = logging.getLogger("gatehouse.control_plane")

CODES = {
    400: ("bad_request", "The request can't be understood."),
    401: ("credential_missing", "A credential is needed."),
    403: ("forbidden", "This may not be done."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This method is not served here."),
    409: ("conflict", "This conflicts with what is there."),
    415: ("unsupported_media_type", "Send JSON."),
    429: ("rate_limited", "Too many requests."),
    500: ("internal_error", "Something went wrong in the gateway."),
    503: ("unavailable", "The database can't be reached now."),
}
LOGIN_LOCKED_OUT = (429, "login_locked_out", "Too many failed sign-ins; try again later.")


def envelope_response(request: HttpRequest, status: int) -> HttpResponse:
    code, message = CODES[status]
    body = error_body(code, message, getattr(request, "request_id", ""))
    return HttpResponse(body, status=status, content_type="application/json")


def is_admin(request: HttpRequest) -> bool:
    return request.path.startswith("/admin")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return defaults.bad_request(request, exception) if is_admin(request) else envelope_response(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_admin(request):
        return defaults.permission_denied(request, exception)
    return envelope_response(request, 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return csrf.csrf_failure(request, reason) if is_admin(request) else envelope_response(request, 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_admin(request):
        return defaults.page_not_found(request, exception)
    return envelope_response(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    # Django calls this from within its except block: sessions, say, fail outside of any view.
    error = sys.exc_info()[1]
    unavailable = database_unavailable(request, error) if isinstance(error, Exception) else None
    if unavailable is not None:
        return unavailable
    return defaults.server_error(request) if is_admin(request) else envelope_response(request, 500)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exceptions and refusals in the envelope; the fields of a validation error stand in `details`."""
    request = context["request"]._request
    if isinstance(error, exceptions.NotAuthenticated):
        error = CredentialMissing("no key was sent in a header")
    elif isinstance(error, exceptions.AuthenticationFailed):
        error = CredentialInvalid(str(error.detail))
    response = _refused(error) if isinstance(error, GatewayError) else _excepted(error, context)
    if response is None:
        return None
    envelope = response.data["error"]
    envelope["request_id"] = getattr(request, "request_id", "")
    if not getattr(request, "axes_locked_out", False):
        # Else the middleware puts 429 in its place, and login_locked_out says so.
        record_refusal(request, response.status_code, envelope["code"], error)
    return response


def _refused(error: GatewayError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(_envelope(error.code, error.message, dict(error.details)), error.status, headers=headers)


def _excepted(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    code, message = CODES.get(response.status_code, ("error", "The request was refused."))
    details = response.data if isinstance(error, exceptions.ValidationError) else {}
    if isinstance(error, exceptions.APIException) and not details:
        message = str(error.detail)
    response.data = _envelope(code, message, details)
    return response


def _envelope(code: str, message: str, details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "request_id": "", "details": details}}


def database_unavailable(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """503 for a database that is down; None for any other error."""
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    logger.warning("database unreachable: %s", type(error).__name__)
    response = envelope_response(request, 503)
    response["Retry-After"] = "5"
    return response
