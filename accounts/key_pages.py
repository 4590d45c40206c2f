"""The admin pages that show a key's secret: in the answer to the POST that made it, and nowhere else.

No redirect, message, session, cookie or log ever holds it. The page may not be stored by the browser,
and repeating the POST (reload) can't make or show a second key: see the guards of its callers.
"""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.keys import IssuedKey
from accounts.models import ApiKey


def remember_issued(request: HttpRequest, issued: IssuedKey) -> None:
    """Keep the secret for the rest of this request."""
    issued_keys(request).append(issued)


def issued_keys(request: HttpRequest) -> list[IssuedKey]:
    return request.__dict__.setdefault("_issued_keys", [])


def instead_of_redirect(site: AdminSite, request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Show the secrets that this request made, then let the user go on to where it would have led."""
    issued = issued_keys(request)
    if not issued:
        return response
    return secret_page(site, request, issued, getattr(response, "url", "") or request.path)


def secret_page(
    site: AdminSite, request: HttpRequest, issued: list[IssuedKey], continue_url: str
) -> HttpResponse:
    if not url_has_allowed_host_and_scheme(continue_url, {request.get_host()}):
        continue_url = "/admin/"
    context = {
        **site.each_context(request),
        "title": "Keep this key now" if len(issued) == 1 else "Keep these keys now",
        "issued": issued,
        "continue_url": continue_url,
        "opts": ApiKey._meta,
    }
    return _unstored(TemplateResponse(request, "admin/accounts/apikey/secret.html", context))


def confirmation_page(site: AdminSite, request: HttpRequest, **context: Any) -> HttpResponse:
    """Ask before revoking or rotating: a link alone changes nothing."""
    context = {**site.each_context(request), "opts": ApiKey._meta, **context}
    return TemplateResponse(request, "admin/accounts/apikey/confirm.html", context)


def _unstored(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response["Pragma"] = "no-cache"
    return response
