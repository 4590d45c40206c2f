"""Long-lived connections are asked about again, in turn and after changes, and ended when refused."""

import asyncio
from typing import Any

import pytest

from routing import live as live_module
from routing.live import LOOKS_PER_QUESTION, TICKS_PER_LOOK, LiveConnections
from routing.pipeline.errors import CredentialInvalid, NotReady, Refusal, RouteNotFound
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute, Rows, Snapshot, compile_snapshot


class World:
    """The rules of now: every exchange meets `refusal`, or takes `route`."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = compile_snapshot(
            Rows(revision=1, routes=[{"path": "/x", "name": "x"}])
        )
        self.route: CompiledRoute = self.snapshot.routes[0]  # type: ignore[union-attr]
        self.refusal: Refusal | None = None
        self.questions = 0


class Connection:
    """Notes what happens to it."""

    def __init__(self, route: CompiledRoute, websocket: bool = True) -> None:
        self.exchange = Exchange("GET", b"/x", b"")
        self.exchange.websocket = websocket
        self.exchange.client_ip = "192.0.2.1"
        self.route = route
        self.ended: list[str] = []
        self.looks = 0
        self.drained = False

    def end_access(self, refusal: Refusal) -> None:
        self.ended.append(refusal.code)

    def drain(self) -> None:
        self.drained = True

    def look_after(self, now: float) -> None:
        self.looks += 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = World()

    def answer(world: World, exchange: Exchange, now: float) -> CompiledRoute:
        world.questions += 1
        if world.refusal is not None:
            raise world.refusal
        return world.route

    monkeypatch.setattr(live_module, "reconsider_in_memory", answer)
    return made


def test_every_connection_is_looked_after_at_least_once_in_a_second_of_ticks(world: Any) -> None:
    live = LiveConnections()
    connections = [Connection(world.route) for _ in range(45)]
    for connection in connections:
        live.add(connection)
    for _ in range(TICKS_PER_LOOK):
        live.tick(world)
    # The slices are whole connections, so the round is a little shorter than a second.
    assert {connection.looks for connection in connections} == {1, 2}


def test_refusal_that_comes_with_time_alone_ends_within_three_seconds_of_ticks(world: Any) -> None:
    live = LiveConnections()
    connection = Connection(world.route)
    live.add(connection)
    live.tick(world)
    world.refusal = CredentialInvalid("expired")
    for _ in range(TICKS_PER_LOOK * LOOKS_PER_QUESTION):
        live.tick(world)
    assert "credential_invalid" in connection.ended


def test_change_of_the_configuration_asks_about_all_at_once_in_bounded_portions(world: Any) -> None:
    live = LiveConnections()
    connections = [Connection(world.route) for _ in range(1000)]
    for connection in connections:
        live.add(connection)
    live.tick(world)
    world.snapshot = world.snapshot.at_revision(2)
    world.refusal = CredentialInvalid("revoked")
    world.questions = 0
    live.tick(world)
    assert world.questions <= live_module.URGENT_PER_TICK + 1000 // TICKS_PER_LOOK
    for _ in range(4):
        live.tick(world)
    assert all(connection.ended for connection in connections)


def test_what_the_gateway_cannot_tell_ends_nothing(world: Any) -> None:
    live = LiveConnections()
    connection = Connection(world.route)
    live.add(connection)
    world.refusal = NotReady("no snapshot")
    for _ in range(100):
        live.tick(world)
    assert connection.ended == []


def test_changed_route_ends_a_socket_and_lets_a_response_go_on(world: Any) -> None:
    live = LiveConnections()
    socket, response = Connection(world.route), Connection(world.route, websocket=False)
    live.add(socket)
    live.add(response)
    changed = compile_snapshot(Rows(revision=2, routes=[{"path": "/x", "name": "renamed"}]))
    world.snapshot, world.route = changed, changed.routes[0]
    live.tick(world)
    assert socket.ended[:1] == ["route_changed"]
    assert response.ended == []


def test_recompiled_route_that_says_the_same_ends_nothing(world: Any) -> None:
    live = LiveConnections()
    connection = Connection(world.route)
    live.add(connection)
    same = compile_snapshot(Rows(revision=2, routes=[{"path": "/x", "name": "x"}]))
    world.snapshot, world.route = same, same.routes[0]
    live.tick(world)
    assert connection.ended == []
    assert connection.route is same.routes[0]


def test_disabled_route_ends_both(world: Any) -> None:
    live = LiveConnections()
    both = [Connection(world.route), Connection(world.route, websocket=False)]
    for connection in both:
        live.add(connection)
    world.refusal = RouteNotFound("gone")
    live.tick(world)
    assert [connection.ended[:1] for connection in both] == [["route_not_found"]] * 2


def test_connections_are_counted_by_owner_and_forgotten_when_they_end(world: Any) -> None:
    live = LiveConnections()
    first, second = Connection(world.route), Connection(world.route)
    live.add(first)
    live.add(second)
    assert live.count(first.exchange, world.route) == 2
    live.discard(first)
    live.discard(first)
    assert live.count(second.exchange, world.route) == 1
    live.discard(second)
    assert (len(live), live.count(second.exchange, world.route)) == (0, 0)


def test_drain_tells_everybody_waits_for_sockets_and_says_whether_they_went(world: Any) -> None:
    async def drained(live: LiveConnections, *leaving: Connection) -> bool:
        asyncio.get_running_loop().call_later(0.05, lambda: [live.discard(each) for each in leaving])
        return await live.drain(0.5)

    live = LiveConnections()
    socket, response = Connection(world.route), Connection(world.route, websocket=False)
    live.add(socket)
    live.add(response)
    assert asyncio.run(drained(live, socket))
    assert socket.drained
    assert response.drained
    late = Connection(world.route)
    live.add(late)
    assert late.drained
    assert not asyncio.run(drained(live))
