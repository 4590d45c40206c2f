"""The products service over HTTP: `/products` and `/products/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.errors import Conflict
from examples.fields import read_object, read_query
from examples.products.catalogue import CATEGORIES, SEED, Product, change_product, read_product
from examples.records import Page, RecordStore
from examples.service import build_service

FILTERS = ("search", "category", "in_stock", *Page.NAMES)


def build_app() -> Starlette:
    """Return the service with a fresh catalogue."""
    app = build_service([Route("/products", ProductList), Route("/products/{id}", ProductItem)])
    app.state.products = RecordStore[Product]("product", SEED)
    return app


class ProductList(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        query = read_query(request, FILTERS)
        page = Page(query)
        words = query.text("search", "", longest=100, shortest=0)
        category = query.choice("category", "", CATEGORIES) if "category" in query else None
        in_stock = query.boolean("in_stock", False)
        query.check()

        def wanted(product: Product) -> bool:
            return (
                product.mentions(words)
                and category in (None, product.category)
                and (product.stock > 0 or not in_stock)
            )

        return JSONResponse(page.to_json(_products(request).matching(wanted)))

    async def post(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        product = _products(request).add(lambda new_id: _checked(request, read_product(values, new_id)))
        return JSONResponse(product.to_json(), 201, {"Location": f"/products/{product.id}"})


class ProductItem(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        return JSONResponse(_product(request).to_json())

    async def put(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        changed = read_product(values, _product(request).id)
        return JSONResponse(_products(request).replace(_checked(request, changed)).to_json())

    async def patch(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        changed = change_product(values, _product(request))
        return JSONResponse(_products(request).replace(_checked(request, changed)).to_json())

    async def delete(self, request: Request) -> Response:
        _products(request).remove(_product(request))
        return Response(status_code=204)


def _checked(request: Request, product: Product) -> Product:
    """Return the product if no other one has its SKU. Raises Conflict."""
    twins = _products(request).matching(lambda other: other.sku == product.sku and other.id != product.id)
    if twins:
        raise Conflict(f"Product {twins[0].id} has the SKU {product.sku} already.")
    return product


def _product(request: Request) -> Product:
    return _products(request).get(request.path_params["id"])


def _products(request: Request) -> RecordStore[Product]:
    products: Any = request.app.state.products
    assert isinstance(products, RecordStore)
    return products
