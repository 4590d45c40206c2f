"""The orders service over HTTP: `/orders` and `/orders/{id}`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.errors import Conflict
from examples.fields import read_object, read_query
from examples.orders.order import SEED, STATUSES, Order, change_order, read_order
from examples.records import Page, RecordStore
from examples.service import build_service

FILTERS = ("status", "created_by", *Page.NAMES)


def build_app() -> Starlette:
    """Return the service with the orders it starts with."""
    app = build_service([Route("/orders", OrderList), Route("/orders/{id}", OrderItem)])
    app.state.orders = RecordStore[Order]("order", SEED)
    return app


class OrderList(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        query = read_query(request, FILTERS)
        page = Page(query)
        status = query.choice("status", "", STATUSES) if "status" in query else None
        created_by = query.text("created_by", "", longest=64) if "created_by" in query else None
        query.check()

        def wanted(order: Order) -> bool:
            return status in (None, order.status) and created_by in (None, order.created_by)

        return JSONResponse(page.to_json(_orders(request).matching(wanted)))

    async def post(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        # The gateway drops this header from clients and sets its own, so behind it the value can be trusted.
        created_by = request.headers.get("x-user-id")
        created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        order = _orders(request).add(lambda new_id: read_order(values, new_id, created_by, created_at))
        return JSONResponse(order.to_json(), 201, {"Location": f"/orders/{order.id}"})


class OrderItem(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        return JSONResponse(_order(request).to_json())

    async def patch(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        return JSONResponse(_orders(request).replace(change_order(values, _order(request))).to_json())

    async def delete(self, request: Request) -> Response:
        order = _order(request)
        if order.status not in ("pending", "cancelled"):
            raise Conflict(f"Order {order.id} is {order.status}: only pending and cancelled ones can go.")
        _orders(request).remove(order)
        return Response(status_code=204)


def _order(request: Request) -> Order:
    return _orders(request).get(request.path_params["id"])


def _orders(request: Request) -> RecordStore[Order]:
    orders: Any = request.app.state.orders
    assert isinstance(orders, RecordStore)
    return orders
