"""The dashboard's Starlette app: each view as a page and as JSON, made of the same data."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from metrics_collector import _errors as errors
from metrics_collector._errors import ConfigurationError, MetricsCollectorError
from metrics_collector._runtime.collector import collector
from metrics_collector._support.settings import MANY_CHARACTERS, check_token
from metrics_collector.dashboard import _assets, _errors, _function, _overview, _pipeline
from metrics_collector.dashboard._pages import Pages
from metrics_collector.dashboard._paths import local_path
from metrics_collector.dashboard._reads import Reads
from metrics_collector.dashboard._security import LOOPBACK_NAMES, Guard
from metrics_collector.dashboard._state import State, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Scope

_PIECE: Final = 65536  # bytes
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_STATUS: Final = (
    (errors.UnknownFunctionError, 404),
    (errors.AmbiguousNameError, 404),
    (ConfigurationError, 400),
    (MetricsCollectorError, 503),
)

# The pages that say how to begin if nothing was ever recorded, and of which figure that has to be zero.
_BEGINS: Final = {"overview": "call_count", "errors": "error_count"}

_logger = logging.getLogger("metrics_collector")

# The parameters of views as JSON; pages are lenient, as proxies and those who share links add their own.
_WINDOW: Final = ("window", "since", "until")
_TABLE: Final = ("q", "sort", "page")

# What a view shows.
_Build: TypeAlias = "Callable[[Request, State], Coroutine[Any, Any, dict[str, Any]]]"


def create(*, token: str | Literal[False] | None, hosts: Collection[str] | None) -> ASGIApp:
    """As `metrics_collector.dashboard.create_app`."""
    secret = _token(token)
    _assets.check()  # now: without it not even a message could be shown
    if secret is None and hosts is None:
        hosts = LOOPBACK_NAMES
    views = _Views()
    app = Starlette(
        routes=[*views.routes(), Route("/static/{version}/{name}", _static)],
        exception_handlers={
            MetricsCollectorError: views.failed,
            HTTPException: views.refused,
            Exception: views.broken,
        },
    )
    app.router.redirect_slashes = False  # it would redirect to the host that was asked for
    return Guard(app, token=secret, hosts=hosts, refuse=views.refusal)


def _token(given: str | Literal[False] | None) -> str | None:
    if given is False:
        return None
    token = collector.settings().dashboard_token if given is None else given
    if token is None:
        raise ConfigurationError(
            "the dashboard needs a token: set METRICS_DASHBOARD_TOKEN or create_app(token=…), for instance to what "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'` prints; "
            "create_app(token=False) answers this machine only, without one"
        )
    if not isinstance(token, str):
        raise ConfigurationError(
            f"create_app(token=***): it is not a string; allowed is {MANY_CHARACTERS}"
        )
    try:
        return check_token(token)
    except ValueError as error:
        raise ConfigurationError(
            f"create_app(token=***): {error}; allowed is {MANY_CHARACTERS}"
        ) from None


class _Views:
    """What answers the routes."""

    def __init__(self) -> None:
        self._pages = Pages()
        self._reads = Reads()
        self._recent = _pipeline.RecentPipeline(self._reads)

    def routes(self) -> Iterator[Route]:
        """Those of each view, as a page and as JSON."""
        views: Mapping[str, tuple[_Build, tuple[str, ...]]] = {
            "overview": (lambda _, state: _overview.build(state), (*_WINDOW, *_TABLE)),
            "function": (
                lambda request, state: _function.build(_name(request), state),
                ("name", *_WINDOW),
            ),
            "errors": (lambda _, state: _errors.build(state), (*_WINDOW, *_TABLE)),
            "pipeline": (self._pipeline, ()),
        }
        for name, (build, takes) in views.items():
            path = "/" if name == "overview" else f"/{name}"
            shown = build if name == "pipeline" else partial(self._in_turn, name, build)
            yield Route(path, partial(self._page, name, shown))
            yield Route(f"/api/{name}", partial(_json, shown, takes))
        yield Route("/api", partial(self._page, "api", _nothing))

    async def _in_turn(
        self, view: str, build: _Build, request: Request, state: State
    ) -> dict[str, Any]:
        key = view, request.query_params.get("name"), state
        reading = asyncio.ensure_future(self._reads.in_turn(key, lambda: build(request, state)))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({reading, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and gone.exception() is None:
                raise HTTPException(503, "The client has gone.")  # which nobody sees
            return await reading
        finally:
            gone.cancel()
            reading.cancel()

    async def _pipeline(self, _: Request, __: State) -> dict[str, Any]:
        return _pipeline.show(await self._recent.renew())

    async def _page(self, name: str, build: _Build, request: Request) -> Response:
        state = State.of(request.query_params)
        building = build(request, state)
        pipeline, data = await asyncio.gather(self._recent.get(), building)
        template = name
        if (
            name in _BEGINS
            and not data["partial"]
            and not data["totals"][_BEGINS[name]]
            and not data["window"]["ended"]  # nothing would appear in it
            and _pipeline.is_beginning(pipeline)
        ):
            template = "begin"
        return await self._pages.page(
            request.scope, template, view=name, state=state, data=data, pipeline=pipeline
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return await self.refusal(request.scope, status, str(error))

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        text = "There is no such page." if error.status_code == 404 else error.detail  # noqa: PLR2004 - HTTP's
        response = await self.refusal(request.scope, error.status_code, text)
        response.headers.update(error.headers or {})
        return response

    async def broken(self, request: Request, error: Exception) -> Response:
        _logger.error("the dashboard failed at %s", request.url.path, exc_info=error)
        text = "The dashboard failed. The log of its process says how."
        return await self.refusal(request.scope, 500, text)

    async def refusal(self, scope: Scope, status: int, text: str) -> Response:
        """An error, as JSON where JSON was asked for."""
        if local_path(scope).startswith("/api/"):
            return JSONResponse({"error": text}, status)
        return await self._pages.message(scope, status, text)


async def _gone(request: Request) -> None:
    """Wait until the client has gone; for ever where the server does not say so."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    # The whole request is here: what comes now is that end, from all servers but those of some tests.
    if (await request.receive())["type"] != "http.disconnect":
        await asyncio.Future()


def _name(request: Request) -> str:
    name = request.query_params.get("name", "")
    if not name:
        raise ConfigurationError("name is missing: /function?name=… takes the name of a function")
    return name


async def _json(build: _Build, takes: tuple[str, ...], request: Request) -> Response:
    check(request.query_params, takes)
    return JSONResponse(await build(request, State.of(request.query_params)))


async def _nothing(_: Request, __: State) -> dict[str, Any]:
    return {}


async def _static(request: Request) -> Response:
    assets = await asyncio.to_thread(_assets.load)
    name = request.path_params["name"]
    if name not in assets.contents or request.path_params["version"] != assets.version:
        raise HTTPException(404)
    content = assets.contents[name]
    headers = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = await asyncio.to_thread(_assets.compressed, name)
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(content))
    return StreamingResponse(
        _pieces(content), headers=headers, media_type=_assets.content_type(name)
    )


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """Megabytes in pieces, of which a server holds one at a time for a client that does not read."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
