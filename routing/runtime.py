"""What a process needs to decide and forward requests: the world, the pools and the recorder."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from accounts.directory import Directory
from accounts.identity import Credential, Identity, Presented
from accounts.tickets import TicketBook, TicketsUnavailable
from routing.access_log import AccessLog
from routing.configuration_source import FoundCredential
from routing.connection_places import ConnectionPlaces
from routing.live import LiveConnections
from routing.pipeline.errors import CredentialInvalid, CredentialsUnavailable
from routing.pipeline.hygiene import Hygiene, HygieneLimits
from routing.record import Recorder
from routing.snapshot import Snapshot
from routing.upstream.forward import Forwarder

logger = logging.getLogger("gatehouse.runtime")

SWEEP_SECONDS = 0.05
EVERYTHING = frozenset({"*:*"})
LOOKUP_ATTEMPTS = 3
FindCredential = Callable[[bytes], "FoundCredential | None"]


@dataclass(slots=True)
class Runtime:
    """One process's view of the world (see routing.pipeline.decide.World)."""

    directory: Directory
    forwarder: Forwarder
    recorder: Recorder
    limits: HygieneLimits
    access_log: AccessLog | None = None
    find_credential: FindCredential | None = None
    executor: Executor | None = None
    default_identity: Identity | None = None
    snapshot: Snapshot | None = None
    tickets: TicketBook = field(default_factory=TicketBook)
    places: ConnectionPlaces = field(default_factory=lambda: ConnectionPlaces(""))
    live: LiveConnections = field(default_factory=LiveConnections)
    hygiene: Hygiene = field(default_factory=Hygiene)
    _lookups: dict[bytes, "asyncio.Future[None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hygiene = Hygiene(self.limits)
        self.forwarder.live = self.live

    def serve_snapshot(self, snapshot: Snapshot) -> None:
        """Obey this snapshot from the next request on."""
        self.hygiene = Hygiene(self.limits, snapshot.trusted_proxies)
        self.snapshot = snapshot
        addresses = {target.address for service in snapshot.services for target in service.targets}
        self.forwarder.pools.keep_only(addresses)

    async def load_credential(self, digest: bytes) -> None:
        """Bring a credential beyond the index into it. Raises CredentialsUnavailable.

        Requests with the same credential share one look-up.
        """
        under_way = self._lookups.get(digest)
        if under_way is None:
            under_way = asyncio.ensure_future(self._look_up(digest))
            self._lookups[digest] = under_way
            under_way.add_done_callback(lambda ended: self._looked_up(digest, ended))
        await asyncio.shield(under_way)

    def _looked_up(self, digest: bytes, ended: "asyncio.Future[None]") -> None:
        self._lookups.pop(digest, None)
        if not ended.cancelled():
            # Whoever waits is told; when all have left, nobody is, and asyncio would complain.
            ended.exception()

    async def _look_up(self, digest: bytes) -> None:
        if self.find_credential is None:
            raise CredentialsUnavailable("no database to look credentials up in")
        loop = asyncio.get_running_loop()
        for _ in range(LOOKUP_ATTEMPTS):
            try:
                found = await loop.run_in_executor(self.executor, self.find_credential, digest)
            except Exception as error:
                # Whatever the database's driver raises: without an answer the request is refused.
                logger.warning("credential can't be looked up: %s", type(error).__name__)
                raise CredentialsUnavailable(type(error).__name__) from error
            if found is None:
                return
            # Rows older than what is served could bring a revoked key back to life.
            if self.snapshot is None or found.revision >= self.snapshot.revision:
                self.directory.put_credential(found.credential)
                for principal in found.principals:
                    self.directory.put_principal(principal)
                return
        raise CredentialsUnavailable("the database is behind the configuration that is served")

    async def redeem_ticket(self, ticket: bytes, client_ip: str) -> Presented:
        """What the ticket was issued for. Raises CredentialInvalid, or CredentialsUnavailable without Redis."""
        try:
            authorization_and_key = await self.tickets.redeem(ticket)
        except TicketsUnavailable as error:
            raise CredentialsUnavailable("tickets can't be looked up") from error
        if authorization_and_key is None:
            raise CredentialInvalid("ticket unknown, spent or expired")
        return Presented(*authorization_and_key, client_ip=client_ip)

    async def sweep_forever(self) -> None:
        """Deadlines, clients that left, the access log: looked at twenty times a second."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.forwarder.sweep()
                self.live.tick(self)
                if self.access_log is not None:
                    self.access_log.flush()
            except Exception:
                # The sweep keeps every request's deadline: it must outlive any one fault.
                logger.exception("sweep failed")


def static_identities(directory: Directory, keys: Iterable[str]) -> None:
    """Let the keys of GATEWAY_API_KEY act as one principal that may do everything."""
    for number, key in enumerate((key.strip() for key in keys if key.strip()), start=1):
        credential = Credential(id=0, public_id=f"env-{number}", name="GATEWAY_API_KEY", principal_id=0)
        identity = Identity(
            principal_id=0,
            name="bootstrap",
            kind="service_account",
            roles=("admin",),
            permissions=EVERYTHING,
            credential=credential,
            authenticator="api_key",
        )
        directory.put_static(directory.digest(key.encode()), identity)


def development_identity() -> Identity:
    return Identity(
        principal_id=0,
        name="dev",
        kind="user",
        roles=("admin",),
        permissions=EVERYTHING,
        authenticator="dev",
    )


_current: Runtime | None = None


def set_runtime(runtime: Runtime | None) -> None:
    global _current
    _current = runtime


def current_runtime() -> Runtime:
    """The runtime of this process. Raises RuntimeError before it has been started."""
    if _current is None:
        raise RuntimeError("the data plane has not been started in this process")
    return _current
