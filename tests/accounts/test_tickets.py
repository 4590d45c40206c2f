"""Tickets by themselves: their lifetime, and what the store holds of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from accounts import tickets
from accounts.tickets import LIFETIME_SECONDS, TicketBook, TicketsUnavailable
from tests.services.ports import free_port


def redeem(book: TicketBook, ticket: str) -> Any:
    return asyncio.run(book.redeem(ticket.encode()))


def at(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def test_ticket_gives_back_its_credential_once() -> None:
    book = TicketBook()
    ticket = book.issue(b"Bearer \xe4", None)
    assert redeem(book, ticket) == (b"Bearer \xe4", None)
    assert redeem(book, ticket) is None


@pytest.mark.parametrize("late, worth", [(-0.1, True), (0.1, False)], ids=["in time", "late"])
def test_ticket_lives_for_thirty_seconds(monkeypatch: pytest.MonkeyPatch, late: float, worth: bool) -> None:
    book = TicketBook()
    monkeypatch.setattr(tickets, "monotonic", at(100.0))
    ticket = book.issue(None, b"key")
    monkeypatch.setattr(tickets, "monotonic", at(100.0 + LIFETIME_SECONDS + late))
    assert (redeem(book, ticket) is not None) is worth


@pytest.mark.parametrize("ticket", ["", "short", "x" * 43, "x" * 5000])
def test_invented_ticket_is_worth_nothing(ticket: str) -> None:
    assert redeem(TicketBook(), ticket) is None


def test_store_holds_neither_ticket_nor_credential() -> None:
    book = TicketBook()
    ticket = book.issue(None, b"a-very-secret-key")
    kept = repr(book._kept)
    assert ticket not in kept
    assert "secret" not in kept


def test_store_that_is_full_refuses_until_tickets_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "STORE_LIMIT", 2)
    monkeypatch.setattr(tickets, "monotonic", at(100.0))
    book = TicketBook()
    book.issue(None, b"a")
    book.issue(None, b"b")
    with pytest.raises(TicketsUnavailable):
        book.issue(None, b"c")
    monkeypatch.setattr(tickets, "monotonic", at(131.0))
    assert redeem(book, book.issue(None, b"c")) == (None, b"c")


def test_redis_that_is_away_is_said_so() -> None:
    book = TicketBook(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(TicketsUnavailable):
        book.issue(None, b"key")
    with pytest.raises(TicketsUnavailable):
        redeem(book, "x" * 43)
