"""Single-use tickets that stand for a credential, for browsers' WebSockets, which can't carry a header.

A ticket is 256 random bits. What it stands for is kept under the ticket's digest and encrypted with a
key made from the ticket: whoever reads the store can use nothing of it.
"""

import base64
import hashlib
import secrets
import threading
from functools import lru_cache
from time import monotonic

import orjson
import redis
import redis.asyncio
from cryptography.fernet import Fernet
from django.conf import settings

LIFETIME_SECONDS = 30
# In memory, without Redis. More unspent tickets than this can only be abuse.
STORE_LIMIT = 100_000
_KEY = "gatehouse:ticket:"
_REDIS_SECONDS = 1.0

Credential = tuple[bytes | None, bytes | None]  # an Authorization value, an API key


class TicketsUnavailable(Exception):
    """The store can't be reached, or is full."""


class TicketBook:
    """Issues tickets and takes each back once. `issue` blocks on Redis: call it in a thread."""

    def __init__(self, redis_url: str = "") -> None:
        self._redis_url = redis_url
        self._asking: redis.asyncio.Redis | None = None
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()

    def issue(self, authorization: bytes | None, api_key: bytes | None) -> str:
        """Return a new ticket for this credential. Raises TicketsUnavailable."""
        ticket = secrets.token_urlsafe(32)
        parts = [None if part is None else part.decode("latin-1") for part in (authorization, api_key)]
        sealed = _cipher(ticket.encode()).encrypt(orjson.dumps(parts))
        if self._redis_url:
            self._put_in_redis(_name(ticket.encode()), sealed)
        else:
            self._keep(_name(ticket.encode()), sealed)
        return ticket

    async def redeem(self, ticket: bytes) -> Credential | None:
        """Return what the ticket stands for, and make it worthless. Raises TicketsUnavailable."""
        if not 40 <= len(ticket) <= 50:
            return None
        name = _name(ticket)
        sealed = await self._take_from_redis(name) if self._redis_url else self._take(name)
        if sealed is None:
            return None
        parts = orjson.loads(_cipher(ticket).decrypt(sealed))
        authorization, api_key = (None if part is None else part.encode("latin-1") for part in parts)
        return authorization, api_key

    def _keep(self, name: str, sealed: bytes) -> None:
        now = monotonic()
        with self._lock:
            if len(self._kept) >= STORE_LIMIT:
                self._kept = {name: entry for name, entry in self._kept.items() if entry[0] > now}
            if len(self._kept) >= STORE_LIMIT:
                raise TicketsUnavailable("too many unspent tickets")
            self._kept[name] = (now + LIFETIME_SECONDS, sealed)

    def _take(self, name: str) -> bytes | None:
        with self._lock:
            entry = self._kept.pop(name, None)
        return None if entry is None or entry[0] <= monotonic() else entry[1]

    def _put_in_redis(self, name: str, sealed: bytes) -> None:
        try:
            with redis.Redis.from_url(
                self._redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
            ) as client:
                client.set(name, sealed, ex=LIFETIME_SECONDS)
        except redis.RedisError as error:
            raise TicketsUnavailable(type(error).__name__) from error

    async def _take_from_redis(self, name: str) -> bytes | None:
        if self._asking is None:
            self._asking = redis.asyncio.Redis.from_url(
                self._redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
            )
        try:
            # One step: of two that come with the same ticket, one gets nothing.
            taken: bytes | None = await self._asking.getdel(name)
        except (redis.RedisError, OSError) as error:
            raise TicketsUnavailable(type(error).__name__) from error
        return taken

    async def close(self) -> None:
        if self._asking is not None:
            await self._asking.aclose()
            self._asking = None


def _name(ticket: bytes) -> str:
    return _KEY + hashlib.sha256(ticket).hexdigest()


def _cipher(ticket: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"gatehouse ticket " + ticket).digest()))


@lru_cache(maxsize=1)
def ticket_book() -> TicketBook:
    """The one of this process: the page that issues and the relay that redeems share its memory."""
    return TicketBook(settings.GATEWAY_REDIS_URL)
