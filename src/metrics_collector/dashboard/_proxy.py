"""The dashboard behind a proxy: the path that the proxy shows it under, and the proxies whose headers are believed."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.datastructures import Headers
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from metrics_collector._errors import ConfigurationError
from metrics_collector.dashboard._paths import OWN, local_path

if TYPE_CHECKING:
    from collections.abc import Container

    from starlette.types import ASGIApp, Receive, Scope, Send

# Only what is the same in a URL, in the path of a cookie and in HTML, and no step up or to another host.
_ROOT_PATH: Final = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)*")


class BehindProxy:
    """Gives an app the path that a proxy shows it under, as `root_path` of each request.

    The proxy may strip that path from what it passes on, or not; uvicorn's own `root_path` is for those that strip it.

    Args:
        root_path: such as "/metrics"; `None` if there is none.
        forwarded_allow_ips: addresses and networks of proxies, with commas between them, or "*" for all. Their headers
            X-Forwarded-For and -Proto are believed, and X-Forwarded-Prefix, which then counts instead of `root_path`.
            `None`: X-Forwarded-Prefix is not believed, and the others are left to the server.

    Attributes:
        root_path: without a slash at its end; "" if there is none.

    Raises:
        ConfigurationError: the dashboard cannot be under that path, or what should be an address is none.
    """

    def __init__(
        self, app: ASGIApp, *, root_path: str | None, forwarded_allow_ips: str | None
    ) -> None:
        usable = "" if root_path is None else _usable(root_path)
        if usable is None:
            raise ConfigurationError(
                f"--root-path {root_path!r}: the dashboard cannot be there; allowed is a path such as /metrics or "
                "/team/metrics, of letters, digits and . _ ~ -, that is none of the dashboard's own, such as /api"
            )
        self.root_path = usable
        self._app = app
        self._trusted: Container[str] = ()
        if forwarded_allow_ips is not None:
            _check_addresses(forwarded_allow_ips)
            # Inside, since it replaces the proxy's address by the client's; its types are others of the same interface.
            inner: Any = ProxyHeadersMiddleware(cast("Any", app), forwarded_allow_ips)
            self._app, self._trusted = inner, inner.trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            scope["root_path"] = self._shown_under(scope)
            scope["path"] = scope["root_path"] + local_path(scope)
        await self._app(scope, receive, send)

    def _shown_under(self, scope: Scope) -> str:
        client = scope.get("client")
        if client is not None and client[0] in self._trusted:
            prefixes = Headers(scope=scope).getlist("x-forwarded-prefix")
            usable = _usable(prefixes[0]) if len(prefixes) == 1 else None
            if usable is not None:
                return usable
        return self.root_path


def _usable(path: str) -> str | None:
    """A path that the dashboard can be under, without a slash at its end; `None` if it is none."""
    root = path.removesuffix("/")
    return root if path and _ROOT_PATH.fullmatch(root) and root not in OWN else None


def _check_addresses(addresses: str) -> None:
    for address in [] if addresses == "*" else addresses.split(","):
        try:
            ipaddress.ip_network(address.strip())
        except ValueError as error:
            raise ConfigurationError(
                f"--forwarded-allow-ips {addresses!r}: {error}; allowed are addresses and networks, with commas "
                "between them, such as 10.0.0.5,192.168.0.0/16, or * for all"
            ) from None
