"""What a request asks for: its path within the dashboard, wherever that is mounted, and its query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from starlette.types import Scope

# None of these can be what the dashboard is under: nobody could know whether a proxy has stripped it.
OWN: Final = frozenset(
    {
        "/api",
        "/api/errors",
        "/api/function",
        "/api/overview",
        "/api/pipeline",
        "/errors",
        "/function",
        "/pipeline",
        "/static",
    }
)


def root(scope: Scope) -> str:
    """The path that the dashboard is mounted under, without a slash at its end; "" if it stands alone."""
    return str(scope.get("root_path", "")).rstrip("/")


def local_path(scope: Scope) -> str:
    """The path of a request below `root`, with a slash at its beginning."""
    path = str(scope["path"])
    above = root(scope)
    # Some servers and frameworks give the whole path, some what is below the mount only.
    if above and (path == above or path.startswith(f"{above}/")):
        path = path[len(above) :]
    return path or "/"


def query(scope: Scope) -> list[tuple[str, str]]:
    """The query of a request, name and value of each, also of those without a value."""
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
