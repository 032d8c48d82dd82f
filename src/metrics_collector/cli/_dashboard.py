"""`dashboard`: the dashboard as a server of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics_collector.dashboard import extra_needed

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(host: str, port: int, allowed: Sequence[str]) -> None:
    """Run the command; arguments and errors as of `dashboard._server.run`.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    with extra_needed():
        from metrics_collector.dashboard import _server
    _server.run(host, port, allowed)
