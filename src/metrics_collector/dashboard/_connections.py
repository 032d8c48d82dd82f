"""Connections that never ask to the end, or never read their answer: few enough that others have descriptors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

_USUAL: Final = 1024  # descriptors; of more no use is made


def most() -> int:
    """How many connections of a kind may wait: a quarter of the descriptors that this process may have."""
    if sys.platform == "win32":  # which has no such limit
        return _USUAL // 4
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_USUAL if limit == resource.RLIM_INFINITY else min(limit, _USUAL)) // 4


def limited(most: int) -> type[H11Protocol]:
    """Uvicorn's protocol, of whose connections so many may wait for a request, and as many for a client that reads.

    Past that, the oldest of its kind is closed. Uvicorn itself keeps one that begins a request, and no more, for ever,
    as well as one that takes no more of its answer; and asyncio, when there is no descriptor left to accept one with,
    logs that a thousand times a second.
    """
    connections = _Connections(most)

    class Limited(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            connections.note(self)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            connections.note(self)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            connections.note(self)

        def pause_writing(self) -> None:
            super().pause_writing()
            connections.note(self)

        def resume_writing(self) -> None:
            super().resume_writing()
            connections.note(self)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.forget(self)
            super().connection_lost(exc)

    return Limited


class _Connections:
    """Those that wait for their clients, of each kind the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[H11Protocol, None] = {}  # for a request, or the rest of one
        self._unread: dict[H11Protocol, None] = {}  # until more of the answer is read

    def note(self, one: H11Protocol) -> None:
        """See what a connection waits for now."""
        cycle: RequestResponseCycle | None = one.cycle  # uvicorn's type of it does not know `None`
        closing = one.transport.is_closing()
        if one.flow.write_paused or (closing and one.transport.get_write_buffer_size()):
            self._waiting.pop(one, None)
            self._keep(one, self._unread)
        elif cycle is not None and not cycle.response_complete:
            self.forget(one)
        elif not closing:
            self._unread.pop(one, None)
            self._keep(one, self._waiting)

    def forget(self, one: H11Protocol) -> None:
        """It waits no more, or is closed."""
        self._waiting.pop(one, None)
        self._unread.pop(one, None)

    def _keep(self, one: H11Protocol, kind: dict[H11Protocol, None]) -> None:
        kind.setdefault(one)
        if len(kind) > self._most:
            # One that still has to get a part of its answer only if all others have.
            others = (other for other in kind if other is not one)
            first = min(others, key=lambda other: other.transport.get_write_buffer_size() > 0)
            del kind[first]
            first.transport.abort()
