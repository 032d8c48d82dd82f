"""Who is answered, and what a browser may do with the answer: an ASGI middleware around the whole dashboard."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse

from metrics_collector._errors import ConfigurationError
from metrics_collector.dashboard._paths import local_path, query, root
from metrics_collector.dashboard._wrong_tokens import RETRY_AFTER, WrongTokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# plotly makes an empty style element and adds its rules by script, which no policy for styles hinders. This is the
# hash of the empty text: it allows that element, and nothing that could do anything.
_EMPTY_STYLE: Final = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' {_EMPTY_STYLE}; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FORWARDED: Final = re.compile(
    "forwarded|via|x-forwarded-.+|x-real-ip|x-client-ip|x-original-forwarded-for|cf-connecting-ip|true-client-ip"
)
_COOKIE: Final = "metrics_dashboard_"
_COOKIE_SECONDS: Final = 30 * 86400
_HOST: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class Guard:
    """Lets through what may be answered, and adds the headers to each answer.

    Args:
        token: without one a client has to be on this machine.
        hosts: without them the dashboard may be asked for by any name.
        refuse: makes the answer to what is not let through, of the scope, a status and a message.

    Raises:
        ConfigurationError: a token or host is one that no request could have.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] | None,
        refuse: Callable[[Scope, int, str], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = None if hosts is None else _names(hosts)
        self._refuse = refuse
        self._wrong_tokens = WrongTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":  # lifespan; there are no WebSockets
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer: ASGIApp = await self._refusal(scope) or await self._signed_in(scope) or self._app
        await answer(scope, receive, send_with_headers)

    async def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] not in {"GET", "HEAD"}:
            response = await self._refuse(
                scope, 405, "The dashboard only reads: GET and HEAD are answered."
            )
            response.headers["Allow"] = "GET, HEAD"
            return response
        host = Headers(scope=scope).get("host", "")
        if not self._may_be_called(host):
            return await self._refuse(
                scope,
                400,
                "It is not answered under this name. Open it by an address of the loopback interface, such as "
                "http://127.0.0.1, or allow the name: `metrics-collector dashboard --allow-host NAME`, "
                "or `create_app(hosts=[…])`.",
            )
        if self._token is None and not _is_local(scope):
            return await self._refuse(
                scope,
                403,
                "Without a token only this machine is answered. Set METRICS_DASHBOARD_TOKEN and start it again.",
            )
        return None

    def _may_be_called(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().strip("[]").rstrip(".")
        # An address is no name that a stranger could let point here; without a token it is left at the loopback ones.
        return (
            self._hosts is None
            or name in self._hosts
            or (self._token is not None and _address(name) is not None)
        )

    async def _signed_in(self, scope: Scope) -> Response | None:
        """What answers a client that has not yet shown the token, or shows it in the URL; `None` for the others."""
        if self._token is None or local_path(scope).startswith("/static/"):
            return None
        asked = query(scope)
        shown = [value for name, value in asked if name == "token"]
        if shown:
            if not _same(shown[-1], self._token):
                return await self._wrong(scope)
            rest = urlencode([(name, value) for name, value in asked if name != "token"])
            # Of two slashes at the beginning a browser would take what follows for a host.
            path = "/" + quote(root(scope) + local_path(scope)).lstrip("/")
            response = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
            response.set_cookie(
                *_cookie(self._token),
                max_age=_COOKIE_SECONDS,
                path=quote(root(scope)) or "/",
                secure=scope.get("scheme") == "https",
                httponly=True,
                # Not "strict": a link from elsewhere would lead to a refusal, and there is nothing to forge a request
                # for, as the dashboard only reads.
                samesite="lax",
            )
            return response
        headers = Headers(scope=scope)
        bearer, cookies = _bearer(headers), _cookies(headers)
        if (bearer is not None and _same(bearer, self._token)) or _signed(cookies, self._token):
            return None
        # The name of a cookie is made from its token: one of another name is that of another token.
        return await (self._wrong(scope) if bearer is not None or cookies else self._unknown(scope))

    async def _wrong(self, scope: Scope) -> Response:
        if await self._wrong_tokens.delay(scope):
            return await self._unknown(scope, "This token is not the right one.")
        response = await self._refuse(
            scope, 429, "Too many wrong tokens are shown at once, and yours is one of them."
        )
        response.headers["Retry-After"] = RETRY_AFTER
        return response

    async def _unknown(self, scope: Scope, why: str = "") -> Response:
        response = await self._refuse(
            scope,
            401,
            f"{why} The token of METRICS_DASHBOARD_TOKEN is needed: open this page once with ?token=…, "
            "or send it as `Authorization: Bearer …`.".strip(),
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is one of this machine's loopback interface."""
    address = _address(host.strip("[]"))
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _names(hosts: Collection[str]) -> set[str]:
    """The names as `Host` has them: lower case, IDNA, addresses without brackets."""
    if isinstance(hosts, str):
        raise ConfigurationError(
            f"hosts takes several names, such as [{hosts!r}], and not a single text"
        )
    return {_name(host) for host in hosts}


def _name(host: str) -> str:
    if isinstance(host, str):
        if _address(address := host.strip("[]").lower()):
            return address
        with suppress(UnicodeError):
            name = host.removesuffix(".").encode("idna").decode().lower()
            if _NAME.fullmatch(name):
                return name
    raise ConfigurationError(
        f"{host!r} is not a host name that a browser could ask for; allowed is one such as metrics.example.com, "
        "without a scheme, a port and *"
    )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_local(scope: Scope) -> bool:
    """Whether a program of this machine asks, and not a proxy on it for somebody else."""
    client = scope.get("client")
    forwarded = any(_FORWARDED.fullmatch(name) for name in Headers(scope=scope))
    return client is not None and is_loopback(client[0]) and not forwarded


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _bearer(headers: Headers) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _cookies(headers: Headers) -> list[tuple[str, str]]:
    """Name and value of all cookies of dashboards, whatever the others look like that the host's services have set."""
    pairs = (pair.partition("=") for line in headers.getlist("cookie") for pair in line.split(";"))
    return [
        (name.strip(), value.strip())
        for name, _, value in pairs
        if name.strip().startswith(_COOKIE)
    ]


def _signed(cookies: Collection[tuple[str, str]], token: str) -> bool:
    name, value = _cookie(token)
    return any(found == name and _same(given, value) for found, given in cookies)


def _cookie(token: str) -> tuple[str, str]:
    """Name and value of the cookie: what only one who knows the token can make, and what does not reveal it."""

    def derived(purpose: str) -> str:
        message = f"metrics_collector dashboard cookie {purpose}"
        return hmac.new(token.encode(), message.encode(), hashlib.sha256).hexdigest()

    # Cookies know no ports: two dashboards of one machine, with a token each, shall not take each other's.
    return f"{_COOKIE}{derived('name')[:8]}", derived("value")
