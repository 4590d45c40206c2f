"""The service of the WebSocket part: sends every message back. `python -m benchmarks.websocket_echo --port N`."""

from __future__ import annotations

import argparse

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):  # type: ignore[misc]
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        transport.send(frame.msg_type, frame.get_payload_as_bytes())


def _listener(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def serve(port: int) -> None:
    server = await ws_create_server(
        _listener, "127.0.0.1", port, read_buffer_init_size=2048, backlog=4096, websocket_handshake_timeout=30
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
