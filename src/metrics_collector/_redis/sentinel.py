"""How a Redis is reached: at its address, or at the one that its Sentinels name at that moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection, parse_url

from metrics_collector._support import sentinel_urls

PATIENCE: Final = 0.5  # seconds that answers wait for the next one while half or more are missing
COMMAND_TIMEOUT: Final = (
    3.0  # seconds: a command to a master that hangs shall not outlast a failover by more
)
_DOWN: Final = {"s_down", "o_down"}


@dataclass(frozen=True)
class _Sentinels:
    """Those that watch over a master; what is shown of them holds no secret.

    Attributes:
        places: host and port of each.
        master: the name that they know the master by.
        credentials: user and password, as redis-py names them.
    """

    places: list[tuple[str, int]]
    master: str
    credentials: dict[str, str] = field(repr=False)


class _View(NamedTuple):
    """What a Sentinel says of the master."""

    epoch: int  # of its configuration: that of a later failover is higher
    up: bool
    address: tuple[str, int]


def connection_options(url: str) -> dict[str, Any]:
    """What a pool makes connections with, as the URL says."""
    found = sentinel_urls.split(url)
    if found is None:
        return {**parse_url(url)}
    places = [parse_url(host) for host in found.hosts]
    options: dict[str, Any] = {"socket_timeout": COMMAND_TIMEOUT, **places[0]}
    del options["host"], options["port"]
    # Read again, as redis-py decodes a value twice; and a raw "+" is no blank, as it is none before the hosts.
    query = dict(parse_qsl(urlsplit(found.hosts[0]).query.replace("+", "%2B")))
    names = {"sentinel_username": "username", "sentinel_password": "password"}
    credentials = {to: query[name] for name, to in names.items() if options.pop(name, None)}
    return options | {
        "connection_class": _TLSToMaster if "connection_class" in options else _ToMaster,
        "sentinels": _Sentinels(
            [(place["host"], place["port"]) for place in places], found.master, credentials
        ),
    }


class _ToMaster(Connection):
    """A connection that asks the Sentinels for the master each time that it is made.

    redis-py's own asks one Sentinel after the other, so that each new client waits for one whose host is gone, and
    leaves connections to them open that no client closes.
    """

    _to_sentinel: type[Connection] = Connection

    def __init__(self, *, sentinels: _Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._master = sentinels.master
        options |= {"db": 0, "username": None, "password": None, **sentinels.credentials}
        self._sentinels = [
            self._to_sentinel(host=host, port=port, **options) for host, port in sentinels.places
        ]

    async def _connect(self) -> None:
        self.host, self.port = await self._find_master()
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's

    async def _find_master(self) -> tuple[str, int]:
        """Where the master is in the newest view, of more than half of the Sentinels or of those that answer in time.

        Raises:
            redis.exceptions.ConnectionError: it is nowhere.
        """
        views: list[_View] = []
        failures: list[BaseException] = []
        asked = [asyncio.create_task(self._ask(one)) for one in self._sentinels]
        waiting = {*asked}
        try:
            # A Sentinel that was cut off may not know of the last failover, so the first one's word is not enough.
            while waiting and 2 * len(views) <= len(asked):
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=PATIENCE if views else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                views += [one.result() for one in done if one.exception() is None]
                failures += filter(None, (one.exception() for one in done))
        finally:
            for one in asked:
                one.cancel()
            for sentinel in self._sentinels:  # redis-py may swallow the cancel, and would read on
                await sentinel.disconnect(nowait=True)
            await asyncio.gather(*asked, return_exceptions=True)
        newest = max((view.epoch for view in views), default=0)
        for view in views:
            if view.up and view.epoch == newest:
                return view.address
        raise exceptions.ConnectionError(self._reason(views, failures))

    async def _ask(self, sentinel: Connection) -> _View:
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await sentinel.connect()  # type: ignore[no-untyped-call]  # redis-py's
                await sentinel.send_command("SENTINEL", "MASTER", self._master)
                answer = [word.decode() for word in await sentinel.read_response()]
        finally:
            await sentinel.disconnect(nowait=True)
        said = dict(zip(*[iter(answer)] * 2, strict=True))
        return _View(
            epoch=int(said["config-epoch"]),
            up=_DOWN.isdisjoint(said["flags"].split(",")),
            address=(said["ip"], int(said["port"])),
        )

    def _reason(self, views: list[_View], failures: list[BaseException]) -> str:
        if views:
            return (
                f"its Sentinels see the master {self._master} as down and have chosen no other one yet; "
                "if that lasts, see whether a replica and more than half of the Sentinels are left"
            )
        # What was answered says more than that others are away.
        answers = exceptions.ResponseError, exceptions.AuthenticationError
        failure = next((one for one in failures if isinstance(one, answers)), failures[0])
        text = str(failure) or "no answer in time"
        if "No such master" in text:
            return (
                f"its Sentinels know no master of the name {self._master}; the one that they have been given stands "
                "behind 'sentinel monitor' in their configuration"
            )
        if isinstance(failure, answers):
            return (
                f"its Sentinels do not name the master: {text}; user and password for them are the URL's "
                "parameters sentinel_username and sentinel_password"
            )
        return f"none of its Sentinels answers: {text}"


class _TLSToMaster(_ToMaster, SSLConnection):
    _to_sentinel = SSLConnection
