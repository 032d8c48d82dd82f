"""The URL of a Redis that Sentinels watch over: `redis+sentinel://user:password@host1,host2:26380/mymaster/0`."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DEFAULT_PORT: Final = 26379
SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
NAME: Final = r"[A-Za-z0-9._-]+"  # what Sentinel takes as the name of a master


class SentinelURL(NamedTuple):
    """What such a URL says.

    Attributes:
        hosts: of each Sentinel what would lead to a Redis there, as `redis://user:password@host1:26379/0`.
        master: the name that the Sentinels know the master by.
    """

    hosts: list[str]
    master: str


def split(url: str) -> SentinelURL | None:
    """The parts of the URL; `None` if its scheme is another one.

    Raises:
        ValueError: it is malformed; the text quotes no part of it.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return None
    netloc, slash, behind = re.fullmatch(r"([^/?#]*)(/?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # every text fits
    user_info, at, hosts = netloc.rpartition("@")
    found = re.fullmatch(rf"({NAME})((?:/[0-9]*)?(?:[?].*)?)", behind) if slash else None
    if "@" in user_info:
        raise ValueError(
            "before the hosts belongs one user and password for all of them; write @ in a password as %40"
        )
    if found is None or not all(hosts.split(",")):
        raise ValueError(
            "it takes the Sentinels' hosts, the master's name and a database's number, as in "
            "redis+sentinel://host1,host2:26380/mymaster/0; write / ? # @ in a password as %2F %3F %23 %40"
        )
    plain = f"{scheme.removesuffix('+sentinel')}://{user_info}{at}"
    return SentinelURL(
        [f"{plain}{_with_port(host)}{found[2]}" for host in hosts.split(",")], found[1]
    )


def _with_port(host: str) -> str:
    return host if re.search(r":[^\]]*\Z", host) else f"{host}:{DEFAULT_PORT}"
