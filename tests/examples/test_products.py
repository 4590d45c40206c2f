"""The products service, as a process."""

import itertools
from typing import Any

import httpx
import pytest

_numbers = itertools.count(1)


def product_body(**fields: Any) -> dict[str, Any]:
    return {
        "sku": f"TST-{next(_numbers)}",
        "name": "Folding ruler",
        "category": "office",
        "price_cents": 790,
        **fields,
    }


def new_product(products: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = products.post("/products", json=product_body(**fields))
    assert answer.status_code == 201
    return answer.json()


def test_search_finds_every_word_in_any_case_in_name_or_description(products: httpx.Client) -> None:
    found = products.get("/products", params={"search": "KEYS mechanical"}).json()
    assert [product["sku"] for product in found["items"]] == ["OFF-KB-087"]


def test_category_and_stock_filter_together(products: httpx.Client) -> None:
    kitchen = products.get("/products", params={"category": "kitchen"}).json()["items"]
    in_stock = products.get("/products", params={"category": "kitchen", "in_stock": "true"}).json()["items"]
    assert {product["category"] for product in kitchen} == {"kitchen"}
    sold_out = [product["sku"] for product in kitchen if product not in in_stock]
    assert sold_out == ["KIT-MG-006"]


def test_new_product_is_found_again(products: httpx.Client) -> None:
    product = new_product(products, description="Beech, two metres")
    assert product["stock"] == 0
    assert products.get(f"/products/{product['id']}").json() == product


def test_second_product_with_the_same_sku_is_a_conflict(products: httpx.Client) -> None:
    sku = new_product(products)["sku"]
    assert products.post("/products", json=product_body(sku=sku.lower())).status_code == 409


def test_patch_changes_only_what_it_names(products: httpx.Client) -> None:
    before = new_product(products)
    after = products.patch(f"/products/{before['id']}", json={"price_cents": 990}).json()
    assert after == {**before, "price_cents": 990}


def test_put_replaces_the_whole_product(products: httpx.Client) -> None:
    before = new_product(products, description="old", stock=4)
    after = products.put(f"/products/{before['id']}", json=product_body(sku=before["sku"])).json()
    assert (after["id"], after["description"], after["stock"]) == (before["id"], "", 0)


def test_deleted_product_is_gone(products: httpx.Client) -> None:
    path = f"/products/{new_product(products)['id']}"
    assert products.delete(path).status_code == 204
    assert products.get(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        pytest.param({"price_cents": -1}, "price_cents", id="negative price"),
        pytest.param({"price_cents": "790"}, "price_cents", id="price as text"),
        pytest.param({"price_cents": 7.5}, "price_cents", id="fraction of a cent"),
        pytest.param({"price_cents": True}, "price_cents", id="boolean price"),
        pytest.param({"category": "boats"}, "category", id="unknown category"),
        pytest.param({"name": ""}, "name", id="empty name"),
        pytest.param({"name": None}, "name", id="null name"),
        pytest.param({"id": 5}, "id", id="own id"),
    ],
)
def test_wrong_product_is_refused_naming_the_field(products: httpx.Client, fields: dict, wrong: str) -> None:
    answer = products.post("/products", json=product_body(**fields))
    assert answer.status_code == 422
    assert list(answer.json()["error"]["details"]["fields"]) == [wrong]


@pytest.mark.parametrize("identifier", ["0", "999999", "x", "1e0", "%C2%B2", "-1", "9" * 40])
def test_unknown_id_is_not_found(products: httpx.Client, identifier: str) -> None:
    answer = products.get(f"/products/{identifier}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
