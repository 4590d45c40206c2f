"""GET /metrics and /v1/metrics: the metrics in the form that a Prometheus server asks for."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from prometheus_client.exposition import choose_encoder
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from auditlog.api.permissions import MayView
from gateway_site.metrics import REGISTRY


class ErrorsInJson(BaseContentNegotiation):  # type: ignore[misc]  # DRF carries no types
    """`Accept` chooses among the forms of metrics: it is no ground to refuse a request as not acceptable."""

    def select_parser(self, request: Request, parsers: list[Any]) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: list[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Metrics(APIView):  # type: ignore[misc]
    """All of them, to staff who may see the audit deliveries."""

    http_method_names = ["get", "head", "options"]
    content_negotiation_class = ErrorsInJson
    permission_classes = [MayView]
    permission = "auditlog.view_shipperstatus"

    def get(self, request: Request) -> HttpResponse:
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(REGISTRY), content_type=content_type)


def _encoder(accept: str) -> tuple[Any, str]:
    try:
        return choose_encoder(accept)
    except TypeError:
        # A version that is no number.
        return choose_encoder("")
