"""Backtests over REST: create, list, look at, fetch results, cancel."""

from __future__ import annotations

from starlette.endpoints import HTTPEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from examples.backtest_engine.engine import Engine
from examples.backtest_engine.run_request import read_backtest
from examples.backtest_engine.runs import STATES
from examples.fields import read_object, read_query


def engine_of(connection: HTTPConnection) -> Engine:
    """Return the engine of the application that a request or a WebSocket came to."""
    engine = connection.app.state.engine
    assert isinstance(engine, Engine)
    return engine


class BacktestList(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        query = read_query(request, ("limit", "state"))
        limit = query.integer("limit", 50, 1, 100)
        state = query.choice("state", "", STATES) if "state" in query else None
        query.check()
        runs = engine_of(request).backtests.newest(state)
        return JSONResponse({"items": [run.to_json() for run in runs[:limit]], "total": len(runs)})

    async def post(self, request: Request) -> JSONResponse:
        wanted = read_backtest(await read_object(request))
        run = engine_of(request).submit_backtest(wanted, request.headers.get("x-user-id"))
        return JSONResponse(run.to_json(), 201, {"Location": f"/backtests/{run.id}"})


async def get_backtest(request: Request) -> JSONResponse:
    return JSONResponse(engine_of(request).backtests.get(request.path_params["id"]).to_json())


async def get_results(request: Request) -> JSONResponse:
    run = engine_of(request).backtests.get(request.path_params["id"])
    return JSONResponse({"id": run.id, "request": run.request.to_json(), **run.require_results()})


async def cancel_backtest(request: Request) -> JSONResponse:
    engine = engine_of(request)
    run = engine.backtests.get(request.path_params["id"])
    engine.cancel(run)
    return JSONResponse(run.to_json())
