"""The pages, as HTML: templates filled with what the JSON of the same view has."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from metrics_collector import __version__
from metrics_collector._core.figures import COLUMNS, FIGURES, TOTAL
from metrics_collector.dashboard import _assets, _format
from metrics_collector.dashboard._paths import local_path, query, root
from metrics_collector.dashboard._state import WINDOWS, State

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope


class Pages:
    """Makes pages."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FunctionLoader(_template),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {one.__name__: one for one in (*_format.FILTERS, data, prose)}
        self._templates.globals |= {
            "columns": COLUMNS,
            "figures": FIGURES,
            "percentiles": [
                {"name": figure.name, "spare": figure.spare}
                for figure in COLUMNS
                if figure.kind == "quantile"
            ],
            "release": __version__,
            "total": TOTAL,
            "windows": WINDOWS,
        }

    async def page(
        self, scope: Scope, template: str, status: int = 200, **context: Any
    ) -> Response:
        """A template filled with what it shows: a `view` in a `state`, the `data` of that, and the `pipeline`."""
        return await asyncio.to_thread(self._render, scope, f"{template}.html", status, **context)

    async def message(self, scope: Scope, status: int, text: str) -> Response:
        """A page that says what is wrong and what to do."""
        return await self.page(
            scope,
            "message",
            status,
            view="message",
            state=State(),
            title=HTTPStatus(status).phrase,
            text=text,
            pipeline=None,
        )

    def _render(self, scope: Scope, template: str, status: int, **context: Any) -> Response:
        above = quote(root(scope))
        assets = _assets.load()

        def url(page: str, state: State | None = None, **more: str) -> str:
            path = f"{above}/{page}"
            if state is None:
                return f"{path}?{urlencode(more)}" if more else path
            return path + state.query(**more)

        state: State = context["state"]
        data = context.get("data") or {}
        name = {"name": data["func_name"]} if "func_name" in data else {}  # of a function's page

        html = self._templates.get_template(template).render(
            **context,
            status=status,
            url=url,
            here=lambda other: quote(root(scope) + local_path(scope)) + other.query(**name),
            asked=query(scope),
            here_fields=lambda: parse_qsl(state.query(**name).removeprefix("?")),
            static=lambda name: f"{above}/static/{assets.version}/{name}",
            element_ids=assets.element_ids,
            now=datetime.now(UTC),
        )
        return HTMLResponse(html, status)


def _template(name: str) -> str:
    return (resources.files("metrics_collector.dashboard") / "templates" / name).read_text("utf-8")


def prose(text: str) -> Markup:
    """A line with code in backticks, as messages have it."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def data(value: Any) -> Markup:
    """A value as JSON that may stand in an element of a page: nothing in it ends that element."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - it is escaped above, in a way that JSON knows
