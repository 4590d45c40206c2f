"""Answer whether the process lives, and whether everything it depends on is reachable."""

import logging

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from gateway_site import draining

logger = logging.getLogger("gatehouse.health")


@transaction.non_atomic_requests
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "healthy", "version": settings.VERSION})


@transaction.non_atomic_requests
def health(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@transaction.non_atomic_requests
def readiness(request: HttpRequest) -> HttpResponse:
    """200 when every configured dependency answers; else 503 with the failing ones named."""
    checks = {"database": _database_problem()}
    if settings.GATEWAY_REDIS_URL:
        checks["redis"] = _redis_problem()
    if draining.state.announced:
        checks["draining"] = True
    failing = sorted(name for name, problem in checks.items() if problem)
    body = {
        "status": "unavailable" if failing else "ready",
        "version": settings.VERSION,
        "dependencies": {name: "unreachable" if problem else "ok" for name, problem in checks.items()},
        "failing": failing,
    }
    return JsonResponse(body, status=503 if failing else 200)


def _database_problem() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("database unreachable: %s", type(error).__name__)
        return True
    return False


def _redis_problem() -> bool:
    import redis

    try:
        redis.Redis.from_url(settings.GATEWAY_REDIS_URL, socket_timeout=1, socket_connect_timeout=1).ping()
    except redis.RedisError as error:
        logger.warning("redis unreachable: %s", type(error).__name__)
        return True
    return False
