"""Connections that ask for nothing, or never to the end: of which so many are kept that others have descriptors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

_USUAL: Final = 1024  # descriptors; of more no use is made


def most() -> int:
    """How many connections may wait: a quarter of the descriptors that this process may have."""
    if sys.platform == "win32":  # which has no such limit
        return _USUAL // 4
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_USUAL if limit == resource.RLIM_INFINITY else min(limit, _USUAL)) // 4


def limited(most: int) -> type[H11Protocol]:
    """Uvicorn's protocol, of whose connections so many may wait for a request; past that, the oldest is closed.

    Uvicorn itself keeps one that begins a request, and no more, for ever; and asyncio, when there is no descriptor left
    to accept one with, logs that a thousand times a second.
    """
    waiting: dict[H11Protocol, None] = {}  # the oldest first

    class Limited(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            self._note()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._note()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._note()

        def connection_lost(self, exc: Exception | None) -> None:
            waiting.pop(self, None)
            super().connection_lost(exc)

        def _note(self) -> None:
            cycle: RequestResponseCycle | None = (
                self.cycle
            )  # uvicorn's type of it does not know `None`
            if cycle is not None and not cycle.response_complete:
                waiting.pop(self, None)
            elif not self.transport.is_closing():
                waiting.setdefault(self)
                if len(waiting) > most:
                    # One that still has to get a part of its answer only if all have.
                    first = min(waiting, key=lambda one: one.transport.get_write_buffer_size() > 0)
                    del waiting[first]
                    first.transport.abort()

    return Limited
