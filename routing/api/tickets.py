"""POST /auth/ws-ticket: a single-use ticket for `?ticket=`, in exchange for a credential in a header."""

from typing import Any

from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.identity import Presented
from accounts.tickets import LIFETIME_SECONDS, TicketsUnavailable, ticket_book
from routing.api.identification import identify, read_request
from routing.api.records import record
from routing.pipeline.errors import CredentialsUnavailable


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class WebSocketTicketView(APIView):
    """Authenticated as the data plane is, by key, not by the admin's session: see routing.consumers."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def post(self, request: Request) -> Response:
        exchange = read_request(request._request)
        exchange.identity = identify(exchange.presented)
        ticket = _issue(exchange.presented)
        record(request._request, "ticket_issued", 201, {})
        body = {"ticket": ticket, "expires_in": LIFETIME_SECONDS}
        return Response(body, 201, headers={"Cache-Control": "no-store"})


def _issue(presented: Presented) -> str:
    try:
        return ticket_book().issue(presented.authorization, presented.api_key_header)
    except TicketsUnavailable as error:
        raise CredentialsUnavailable("the ticket can't be stored") from error
