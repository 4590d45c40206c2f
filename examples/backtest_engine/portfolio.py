"""Cash and one position, bought and sold whole at a bar's close. Pure.

Filling at the very close that gave the signal flatters the result a little; a real desk fills later.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill. `profit` is a sale's gain over the purchase before it, fees included; None for a purchase."""

    bar: int
    side: str
    price: float
    quantity: float
    fee: float
    cash: float
    profit: float | None

    def to_json(self) -> dict[str, object]:
        return {
            "bar": self.bar,
            "side": self.side,
            "price": round(self.price, 4),
            "quantity": round(self.quantity, 6),
            "fee": round(self.fee, 2),
            "cash": round(self.cash, 2),
            "profit": None if self.profit is None else round(self.profit, 2),
        }


class Portfolio:
    """All cash goes in and all of it comes out. `fee_rate` is a fraction of the value traded."""

    def __init__(self, cash: float, fee_rate: float) -> None:
        self.cash = cash
        self.quantity = 0.0
        self._fee_rate = fee_rate
        self._spent = 0.0

    @property
    def invested(self) -> bool:
        return self.quantity > 0

    def equity(self, price: float) -> float:
        return self.cash + self.quantity * price

    def buy(self, bar: int, price: float) -> Trade:
        self._spent, self.cash = self.cash, 0.0
        self.quantity = self._spent / (price * (1 + self._fee_rate))
        fee = self.quantity * price * self._fee_rate
        return Trade(bar, "buy", price, self.quantity, fee, self.cash, None)

    def sell(self, bar: int, price: float) -> Trade:
        quantity, self.quantity = self.quantity, 0.0
        fee = quantity * price * self._fee_rate
        self.cash += quantity * price - fee
        return Trade(bar, "sell", price, quantity, fee, self.cash, self.cash - self._spent)
