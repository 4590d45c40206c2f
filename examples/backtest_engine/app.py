"""The backtest engine over HTTP and WebSocket: which path leads where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from examples.backtest_engine import backtest_endpoints, optimization_endpoints, streams
from examples.backtest_engine.engine import Engine
from examples.backtest_engine.watch import watch_page
from examples.service import build_service

CLOSE_TIMEOUT_SECONDS = 1.0


def build_app() -> Starlette:
    """Return the service with an engine of its own, which starts with the application."""
    return build_service(
        [
            Route("/backtests", backtest_endpoints.BacktestList),
            # Before {id}, which would take "watch" for an id.
            Route("/backtests/watch", watch_page),
            Route("/backtests/{id}", backtest_endpoints.get_backtest),
            Route("/backtests/{id}/results", backtest_endpoints.get_results),
            Route("/backtests/{id}/cancel", backtest_endpoints.cancel_backtest, methods=["POST"]),
            Route("/backtests/{id}/events", streams.send_events),
            WebSocketRoute("/backtests/{id}/stream", streams.stream_events),
            Route("/optimizations", optimization_endpoints.OptimizationList),
            Route("/optimizations/{id}", optimization_endpoints.get_optimization),
            Route("/optimizations/{id}/results", optimization_endpoints.get_results),
            Route("/optimizations/{id}/cancel", optimization_endpoints.cancel_optimization, methods=["POST"]),
        ],
        lifespan=_run_engine,
    )


@asynccontextmanager
async def _run_engine(app: Starlette) -> AsyncIterator[None]:
    engine = Engine()
    app.state.engine = engine
    app.state.sockets = set()

    async def end_streams() -> None:
        await engine.stop()
        # The server cuts open WebSockets without a close frame, so it waits until they have sent theirs.
        if app.state.sockets:
            await asyncio.wait(app.state.sockets, timeout=CLOSE_TIMEOUT_SECONDS)

    app.state.end_streams = end_streams
    yield
    await engine.stop()
