"""A web service measured with its framework's lifespan, and real HTTP requests against it.

    python examples/asgi_service.py            serves for a moment, asks itself over HTTP, shows the figures, ends
    uvicorn --app-dir examples asgi_service:app        serves until it is stopped, as in production

Needs starlette, uvicorn and httpx (in the extra `test`). Redis is inside the process unless REDIS_URL names one.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from metrics_collector import MetricsCollector, Settings, list_metrics, metrics_collector


@metrics_collector
async def load_order(number: int) -> dict[str, object]:
    """Ask the database, as it were."""
    await asyncio.sleep(random.uniform(0.001, 0.01))
    if number % 10 == 0:
        raise LookupError(number)
    return {"order": number, "items": number % 7}


@metrics_collector
async def get_order(request: Request) -> JSONResponse:
    """GET /orders/{number}."""
    try:
        return JSONResponse(await load_order(request.path_params["number"]))
    except LookupError:
        raise HTTPException(404) from None


async def get_figures(_request: Request) -> JSONResponse:
    """GET /figures: all functions, live, over all processes."""
    return JSONResponse([metrics.as_report() for metrics in await list_metrics()])


async def get_health(_request: Request) -> JSONResponse:
    """GET /health."""
    return JSONResponse({"status": "ok"})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Run the collector as long as the service: nothing is lost when it is stopped."""
    settings = Settings()
    if "redis_url" not in settings.model_fields_set:
        settings = Settings(redis_url="memory://")
    async with MetricsCollector(settings):
        yield


app = Starlette(
    routes=[
        Route("/orders/{number:int}", get_order),
        Route("/figures", get_figures),
        Route("/health", get_health),
    ],
    lifespan=lifespan,
)


async def main() -> None:
    """Serve on a free port and ask for two hundred orders over HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        replies = await asyncio.gather(*(client.get(f"/orders/{n}") for n in range(1, 201)))
        found = sum(reply.status_code == httpx.codes.OK for reply in replies)
        print(f"{len(replies)} requests, {found} answered with an order\n")
        for report in (await client.get("/figures")).json():
            print(*(f"{name}: {value}" for name, value in report.items()), sep="\n", end="\n\n")

    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
