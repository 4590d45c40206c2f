"""Optimizations over REST: create, list, look at, fetch the ranking, cancel."""

from __future__ import annotations

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse

from examples.backtest_engine.backtest_endpoints import engine_of
from examples.backtest_engine.run_request import read_optimization
from examples.backtest_engine.runs import STATES
from examples.fields import read_object, read_query


class OptimizationList(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        query = read_query(request, ("limit", "state"))
        limit = query.integer("limit", 50, 1, 100)
        state = query.choice("state", "", STATES) if "state" in query else None
        query.check()
        runs = engine_of(request).optimizations.newest(state)
        return JSONResponse({"items": [run.to_json() for run in runs[:limit]], "total": len(runs)})

    async def post(self, request: Request) -> JSONResponse:
        wanted = read_optimization(await read_object(request))
        run = engine_of(request).submit_optimization(wanted, request.headers.get("x-user-id"))
        return JSONResponse(run.to_json(), 201, {"Location": f"/optimizations/{run.id}"})


async def get_optimization(request: Request) -> JSONResponse:
    return JSONResponse(engine_of(request).optimizations.get(request.path_params["id"]).to_json())


async def get_results(request: Request) -> JSONResponse:
    run = engine_of(request).optimizations.get(request.path_params["id"])
    ranked = run.ranked()
    return JSONResponse(
        {
            "id": run.id,
            "state": run.state,
            "rank_by": run.request.rank_by,
            "best": ranked[0] if ranked else None,
            "results": ranked,
        }
    )


async def cancel_optimization(request: Request) -> JSONResponse:
    engine = engine_of(request)
    run = engine.optimizations.get(request.path_params["id"])
    engine.cancel(run)
    return JSONResponse(run.to_json())
