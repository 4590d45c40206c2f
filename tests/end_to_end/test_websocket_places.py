"""A principal has as many WebSockets as its route allows, whichever workers they are on."""

from tests.end_to_end.configuration import websocket_configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.raw_websocket import RawWebSocket
from tests.end_to_end.websocket_upstream import WebSocketUpstream
from tests.services.deadline import wait_until
from tests.services.redis import RedisServer


def test_two_workers_together_let_no_more_in_than_one(
    start_gateway: StartGateway, own_redis: RedisServer, sockets: WebSocketUpstream
) -> None:
    gateway = start_gateway(
        websocket_configuration(sockets.url),
        environment={"GATEWAY_REDIS_URL": own_redis.url},
        arguments=["--workers", "2"],
    )
    # With 24 connections neither worker gets none of them.
    clients = [RawWebSocket(gateway.port, "/few/echo") for _ in range(24)]
    try:
        opened = [client for client in clients if client.is_open]
        refused = [client for client in clients if client.response.status == 429]
        assert (len(opened), len(refused)) == (2, 22)
        assert {client.response.error_code for client in refused} == {"too_many_connections"}
        opened[0].send_close(1000)
        opened[0].read_frame()

        def opens() -> bool:
            with RawWebSocket(gateway.port, "/few/echo") as another:
                return another.is_open

        wait_until(opens, "room for one more")
    finally:
        for client in clients:
            client.close()
    gateway.stop()
