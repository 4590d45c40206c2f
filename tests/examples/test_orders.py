"""The orders service, as a process."""

from typing import Any

import httpx
import pytest

LINE = {"sku": "OUT-BT-024", "quantity": 2, "unit_price_cents": 2490}


def new_order(orders: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"lines": [LINE], "ship_to": "Lindenweg 4, Jena", **fields}
    answer = orders.post("/orders", json=body, headers={"X-User-Id": "alice"})
    assert answer.status_code == 201
    return answer.json()


def test_order_7_is_there_from_the_start(orders: httpx.Client) -> None:
    order = orders.get("/orders/7").json()
    assert (order["id"], order["status"], order["total_cents"]) == (7, "paid", 8450)


def test_new_order_is_pending_with_its_total_and_its_creator(orders: httpx.Client) -> None:
    order = new_order(orders, note="ring twice")
    assert order["status"] == "pending"
    assert order["total_cents"] == 4980
    assert order["created_by"] == "alice"
    assert orders.get(f"/orders/{order['id']}").json() == order


def test_location_of_a_new_order_leads_to_it(orders: httpx.Client) -> None:
    answer = orders.post("/orders", json={"lines": [LINE], "ship_to": "here"})
    assert orders.get(answer.headers["location"]).json() == answer.json()


def test_order_without_identity_headers_has_no_creator(orders: httpx.Client) -> None:
    assert orders.post("/orders", json={"lines": [LINE], "ship_to": "here"}).json()["created_by"] is None


def test_creator_in_the_body_is_refused(orders: httpx.Client) -> None:
    answer = orders.post("/orders", json={"lines": [LINE], "ship_to": "here", "created_by": "eve"})
    assert answer.status_code == 422
    assert "created_by" in answer.json()["error"]["details"]["fields"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"ship_to": "x"}, "lines", id="no lines"),
        pytest.param({"ship_to": "x", "lines": []}, "lines", id="empty lines"),
        pytest.param({"ship_to": "x", "lines": [LINE] * 51}, "lines", id="too many lines"),
        pytest.param({"ship_to": "x", "lines": [7]}, "lines[0]", id="line is no object"),
        pytest.param(
            {"ship_to": "x", "lines": [LINE, {**LINE, "quantity": 0}]}, "lines[1].quantity", id="zero"
        ),
        pytest.param({"ship_to": "x", "lines": [{"sku": "A"}]}, "lines[0].unit_price_cents", id="no price"),
        pytest.param({"ship_to": "x", "lines": [{**LINE, "vat": 1}]}, "lines[0].vat", id="unknown in line"),
        pytest.param({"lines": [LINE]}, "ship_to", id="no address"),
        pytest.param({"lines": [LINE], "ship_to": "  "}, "ship_to", id="blank address"),
        pytest.param({"lines": [LINE], "ship_to": "x", "note": 5}, "note", id="note is no text"),
    ],
)
def test_wrong_order_is_refused_naming_the_field(orders: httpx.Client, body: dict, field: str) -> None:
    answer = orders.post("/orders", json=body)
    assert answer.status_code == 422
    assert list(answer.json()["error"]["details"]["fields"]) == [field]


def test_orders_are_filtered_by_status_and_creator(orders: httpx.Client) -> None:
    shipped = orders.get("/orders", params={"status": "shipped", "created_by": "2"}).json()
    assert [order["id"] for order in shipped["items"]] == [6]


def test_listing_is_cut_by_limit_and_offset_and_says_how_many_there_are(orders: httpx.Client) -> None:
    page = orders.get("/orders", params={"status": "delivered", "limit": 1, "offset": 1}).json()
    assert [order["id"] for order in page["items"]] == [2]
    assert page["total"] >= 3


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "status=lost", "colour=red"]
)
def test_wrong_filter_is_refused_naming_it(orders: httpx.Client, query: str) -> None:
    answer = orders.get(f"/orders?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["error"]["details"]["fields"]) == [query.partition("=")[0]]


def test_order_moves_through_its_states(orders: httpx.Client) -> None:
    path = f"/orders/{new_order(orders)['id']}"
    for status in ("paid", "shipped", "delivered"):
        assert orders.patch(path, json={"status": status}).json()["status"] == status


def test_order_does_not_move_back(orders: httpx.Client) -> None:
    answer = orders.patch("/orders/1", json={"status": "paid"})
    assert answer.status_code == 409
    assert answer.json()["error"]["details"] == {"status": "delivered", "allowed": []}


def test_lines_of_an_order_cannot_be_changed(orders: httpx.Client) -> None:
    assert orders.patch("/orders/9", json={"lines": [LINE]}).status_code == 422


def test_pending_order_is_deleted_and_its_id_stays_free(orders: httpx.Client) -> None:
    first = new_order(orders)["id"]
    assert orders.delete(f"/orders/{first}").status_code == 204
    assert orders.get(f"/orders/{first}").status_code == 404
    assert new_order(orders)["id"] > first


def test_shipped_order_is_not_deleted(orders: httpx.Client) -> None:
    assert orders.delete("/orders/5").status_code == 409
    assert orders.get("/orders/5").status_code == 200
