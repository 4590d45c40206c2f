"""GET /v1/audit: records newest first, page by page, to staff who may view them. Query only."""

from django.db import transaction
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from auditlog.api.cursors import make_cursor
from auditlog.api.permissions import MayView
from auditlog.api.questions import QuestionInvalid, read_question
from auditlog.api.sources import choose_source


# A refused password has to stay counted, and REST framework rolls back the transaction of what it refuses.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class AuditRecords(APIView):
    """The list. Answers `{"items": [...], "next_cursor": text or null}`."""

    http_method_names = ["get", "head", "options"]
    permission_classes = [MayView]
    permission = "auditlog.view_auditrecord"

    def get(self, request: Request) -> HttpResponse:
        try:
            question = read_question(request.query_params.dict())
        except QuestionInvalid as error:
            raise exceptions.ValidationError({error.parameter: [error.reason]}) from error
        found = choose_source()(question)
        page, more = found[: question.limit], len(found) > question.limit
        cursor = f'"{make_cursor(page[-1][0])}"' if more else "null"
        # The records are JSON already, as they were signed: decoding them would only cost.
        body = b'{"items":[%s],"next_cursor":%s}' % (b",".join(line for _, line in page), cursor.encode())
        return HttpResponse(body, content_type="application/json")
