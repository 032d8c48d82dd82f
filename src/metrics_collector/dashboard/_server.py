"""The dashboard as a server of its own, `metrics-collector dashboard`."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Final

import uvicorn

from metrics_collector._errors import ConfigurationError, MetricsCollectorError
from metrics_collector._runtime.collector import collector
from metrics_collector.dashboard import _connections, create_app
from metrics_collector.dashboard._proxy import BehindProxy
from metrics_collector.dashboard._security import LOOPBACK_NAMES, is_loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE: Final = 2  # seconds that answers under way have at the end


def run(
    host: str,
    port: int,
    allowed: Sequence[str],
    *,
    root_path: str | None,
    forwarded_allow_ips: str | None,
) -> None:
    """Serve until a signal ends it, also by the names `allowed`; at a port that is free and printed, if it is 0.

    `root_path` and `forwarded_allow_ips` are those of `BehindProxy`.
    """
    token = collector.settings().dashboard_token
    if token is None and not is_loopback(host):
        raise ConfigurationError(
            f"--host {host} can be reached by others, so a token is needed: set METRICS_DASHBOARD_TOKEN, for instance "
            "to what `python -c 'import secrets; print(secrets.token_urlsafe())'` prints"
        )
    app = BehindProxy(
        create_app(token=False if token is None else token, hosts=_hosts(host, allowed)),
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
    )
    listening = _listen(host, port)
    address = f"[{host}]" if ":" in host else host
    where = f"http://{address}:{listening.getsockname()[1]}{app.root_path}/"
    sys.stdout.write(f"The dashboard is at {where}, until Ctrl-C.\n")
    if token is not None:
        sys.stdout.write(
            f"The first time open {where}?token= followed by METRICS_DASHBOARD_TOKEN.\n"
        )
    sys.stdout.flush()
    most = _connections.most()
    config = uvicorn.Config(
        app,
        http=_connections.limited(most),
        backlog=most // 2,  # which asyncio accepts in one go
        access_log=False,  # it would show the token
        lifespan="off",
        log_level="warning",
        proxy_headers=forwarded_allow_ips is None,  # otherwise the app does it
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _hosts(host: str, allowed: Sequence[str]) -> set[str]:
    """By which names it answers: no name that a stranger's DNS could let point here."""
    own = {host, socket.gethostname()} if not is_loopback(host) else {host}
    return {*LOOPBACK_NAMES, *own, *allowed}


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # now, so that whoever reads the address that is printed finds it answered
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise MetricsCollectorError(
            f"cannot listen at {host}, port {port}: {error.strerror}; choose another one by --host and --port"
        ) from error
    listening.set_inheritable(True)
    return listening
