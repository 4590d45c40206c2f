"""What a product is, how one is read from JSON, and the catalogue that the service starts with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from examples.fields import Fields

CATEGORIES = ("audio", "books", "kitchen", "office", "outdoor")
FIELD_NAMES = ("sku", "name", "category", "price_cents", "stock", "description")


@dataclass(frozen=True, slots=True)
class Product:
    id: int
    sku: str
    name: str
    category: str
    price_cents: int
    stock: int
    description: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def mentions(self, words: str) -> bool:
        """Whether every word stands in the name, the description or the SKU, in any case."""
        text = f"{self.name} {self.description} {self.sku}".casefold()
        return all(word in text for word in words.casefold().split())


BLANK = Product(id=0, sku="", name="", category="", price_cents=0, stock=0, description="")


def read_product(values: dict[str, Any], product_id: int) -> Product:
    """Read a whole product; sku, name, category and price are required. Raises InvalidFields."""
    required = dict.fromkeys(("sku", "name", "category", "price_cents"))
    return _read(values, {"stock": 0, "description": "", **required}, replace(BLANK, id=product_id))


def change_product(values: dict[str, Any], product: Product) -> Product:
    """Return the product with the given fields changed. Raises InvalidFields."""
    return _read(values, asdict(product), product)


def _read(values: dict[str, Any], defaults: dict[str, Any], product: Product) -> Product:
    fields = Fields(values, FIELD_NAMES)
    changed = replace(
        product,
        sku=fields.text("sku", defaults["sku"], longest=32).upper(),
        name=fields.text("name", defaults["name"], longest=120),
        category=fields.choice("category", defaults["category"], CATEGORIES),
        price_cents=fields.integer("price_cents", defaults["price_cents"], 0, 100_000_000),
        stock=fields.integer("stock", defaults["stock"], 0, 1_000_000),
        description=fields.text("description", defaults["description"], longest=2_000, shortest=0),
    )
    fields.check()
    return changed


SEED = tuple(
    Product(number, *row)
    for number, row in enumerate(
        [
            ("AUD-HP-210", "Over-ear headphones", "audio", 12900, 42, "Closed back, 38 hours on one charge."),
            ("AUD-SP-055", "Bookshelf speakers, pair", "audio", 24900, 9, "Two-way, walnut veneer."),
            ("AUD-MC-017", "USB condenser microphone", "audio", 8900, 31, "Cardioid, with a desk stand."),
            ("BOK-DS-001", "Notes on distributed systems", "books", 3900, 120, "Paperback, 412 pages."),
            ("BOK-CK-014", "One pot, forty suppers", "books", 2450, 64, "Hardback with photographs."),
            ("BOK-MP-003", "Walking map of the Harz", "books", 1190, 75, "1:50 000, waterproof."),
            ("KIT-KT-102", "Gooseneck kettle, 1 litre", "kitchen", 6900, 18, "Holds a set temperature."),
            ("KIT-KN-020", "Chef's knife, 20 cm", "kitchen", 8450, 27, "Carbon steel, beech handle."),
            ("KIT-MG-006", "Stoneware mugs, set of 4", "kitchen", 3200, 0, "Glazed by hand. Sold out."),
            ("OFF-CH-300", "Desk chair", "office", 31900, 6, "Mesh back, arms in four directions."),
            ("OFF-KB-087", "Mechanical keyboard", "office", 11900, 23, "87 keys, quiet switches."),
            ("OFF-LM-011", "Desk lamp", "office", 5900, 37, "Dimmable, 2700 to 5000 K."),
            ("OUT-TN-002", "Two-person tent", "outdoor", 27900, 11, "1.9 kg, three seasons."),
            ("OUT-BT-024", "Steel bottle, 0.75 litre", "outdoor", 2490, 88, "Keeps tea hot for a day."),
        ],
        start=1,
    )
)
