"""What an order is, how one is read from JSON, and which status may follow which."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from examples.errors import Conflict, InvalidFields
from examples.fields import Fields

NEXT_STATUS = {
    "pending": ("paid", "cancelled"),
    "paid": ("shipped", "cancelled"),
    "shipped": ("delivered",),
    "delivered": (),
    "cancelled": (),
}
STATUSES = tuple(NEXT_STATUS)
MAX_LINES = 50


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    quantity: int
    unit_price_cents: int


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    status: str
    created_by: str | None
    created_at: str
    lines: tuple[Line, ...]
    ship_to: str
    note: str

    @property
    def total_cents(self) -> int:
        return sum(line.quantity * line.unit_price_cents for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "total_cents": self.total_cents}


def read_order(values: dict[str, Any], order_id: int, created_by: str | None, created_at: str) -> Order:
    """Read a new order; lines and ship_to are required. Raises InvalidFields."""
    fields = Fields(values, ("lines", "ship_to", "note"))
    lines = fields.items("lines", None, MAX_LINES)
    order = Order(
        id=order_id,
        status="pending",
        created_by=created_by,
        created_at=created_at,
        lines=tuple(_read_line(fields, f"lines[{number}]", line) for number, line in enumerate(lines)),
        ship_to=fields.text("ship_to", None, longest=200),
        note=fields.text("note", "", longest=500, shortest=0),
    )
    fields.check()
    return order


def change_order(values: dict[str, Any], order: Order) -> Order:
    """Return the order with status, ship_to or note changed. Raises InvalidFields, Conflict."""
    fields = Fields(values, ("status", "ship_to", "note"))
    changed = replace(
        order,
        status=fields.choice("status", order.status, STATUSES),
        ship_to=fields.text("ship_to", order.ship_to, longest=200),
        note=fields.text("note", order.note, longest=500, shortest=0),
    )
    fields.check()
    if changed.status != order.status and changed.status not in NEXT_STATUS[order.status]:
        allowed = " or ".join(NEXT_STATUS[order.status]) or "nothing"
        raise Conflict(
            f"Order {order.id} is {order.status}: it can become {allowed}, not {changed.status}.",
            {"status": order.status, "allowed": list(NEXT_STATUS[order.status])},
        )
    return changed


def _read_line(fields: Fields, place: str, value: Any) -> Line:
    if not isinstance(value, dict):
        fields.reject(place, "must be an object with sku, quantity and unit_price_cents")
        return Line("", 0, 0)
    own = Fields(value, ("sku", "quantity", "unit_price_cents"))
    line = Line(
        sku=own.text("sku", None, longest=32),
        quantity=own.integer("quantity", 1, 1, 1_000),
        unit_price_cents=own.integer("unit_price_cents", None, 0, 100_000_000),
    )
    try:
        own.check()
    except InvalidFields as exc:
        for name, why in exc.details["fields"].items():
            fields.reject(f"{place}.{name}", why)
    return line


def _seeded(
    order_id: int, status: str, by: str, at: str, ship_to: str, *lines: tuple[str, int, int]
) -> Order:
    return Order(order_id, status, by, at, tuple(Line(*line) for line in lines), ship_to, note="")


SEED = (
    _seeded(1, "delivered", "1", "2026-08-03T09:12:44Z", "Lindenweg 4, Jena", ("OFF-CH-300", 1, 31900)),
    _seeded(2, "delivered", "2", "2026-08-17T15:40:02Z", "12 Quay Street, Galway", ("BOK-DS-001", 2, 3900)),
    _seeded(3, "cancelled", "1", "2026-09-01T07:05:19Z", "Lindenweg 4, Jena", ("OUT-TN-002", 1, 27900)),
    _seeded(
        4, "delivered", "3", "2026-09-09T18:22:51Z", "Rua das Flores 88, Porto",
        ("KIT-KT-102", 1, 6900), ("KIT-MG-006", 1, 3200),
    ),
    _seeded(5, "shipped", "4", "2026-10-28T11:31:07Z", "Storgata 19, Bergen", ("AUD-HP-210", 1, 12900)),
    _seeded(
        6, "shipped", "2", "2026-11-02T08:58:33Z", "12 Quay Street, Galway",
        ("OFF-KB-087", 1, 11900), ("OFF-LM-011", 2, 5900),
    ),
    _seeded(7, "paid", "5", "2026-11-11T20:14:26Z", "Via Roma 7, Trento", ("KIT-KN-020", 1, 8450)),
    _seeded(8, "paid", "3", "2026-11-15T13:47:55Z", "Rua das Flores 88, Porto", ("AUD-MC-017", 3, 8900)),
    _seeded(9, "pending", "1", "2026-11-19T10:03:12Z", "Lindenweg 4, Jena", ("OUT-BT-024", 4, 2490)),
    _seeded(10, "pending", "6", "2026-11-20T16:29:40Z", "Hauptstraße 3, Graz", ("BOK-CK-014", 1, 2450)),
)  # fmt: skip
