"""The dashboard: what is recorded, in a browser; part of the extra `dashboard`.

`metrics-collector dashboard` serves it by itself; `create_app` gives the ASGI app to mount in a service of one's own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from starlette.types import ASGIApp

__all__ = ["create_app"]

_PACKAGES: Final = frozenset({"jinja2", "markupsafe", "starlette", "uvicorn"})


def create_app(
    *, token: str | Literal[False] | None = None, hosts: Collection[str] | None = None
) -> ASGIApp:
    """Make the dashboard, an ASGI app that may be mounted under any path.

    It only reads, and finds Redis and the database by the settings of the process that it runs in.

    Args:
        token: what a browser has to show once, by `?token=`, and other clients as `Authorization: Bearer`; `None`: the
            one of METRICS_DASHBOARD_TOKEN; `False`: none, and then nobody but programs of this machine is answered.
        hosts: the names by which it may be asked for, as in the header `Host` but without a port; `None`: any one that
            knows the token, and without a token those of the loopback interface only.

    Raises:
        ConfigurationError: no token is set, it is too easily guessed, one of `hosts` is not a host name, or the extra
            is not installed.
    """
    with extra_needed():
        from metrics_collector.dashboard import _app
    return _app.create(token=token, hosts=hosts)


@contextmanager
def extra_needed() -> Iterator[None]:
    """Name the extra where imports fail without it, as a ConfigurationError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise ConfigurationError(
            "the dashboard needs an extra: pip install 'metrics-collector[dashboard]'"
        ) from error
