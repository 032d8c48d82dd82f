"""The names of all keys in Redis; no other module writes one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PRODUCER_TTL_MS: Final = 24 * 3600 * 1000  # how long the key of a producer outlives its last news


class Keys:
    """The keys of one pipeline.

    `metrics_list` and `app:metrics:{func_name}` are for people to read; what else the protocol needs lies in the slot
    of `metrics_list`, so that one script may touch all of it. With "" as its last argument, a method gives the
    beginning that all of its keys share.

    Args:
        prefix: what every key begins with.

    Attributes:
        metrics_list: the list of entries that no worker has claimed yet.
        claims: the sorted set of claims, each with the end of its lease.
        claimed: how many entries are in claims.
        claims_made: how many claims there were so far, which numbers what `metrics_list` held between two of them.
        life: a random text, which is another one after Redis has lost its data.
        flush_requested: there for a second after a push whose producer is to request a flush.
        flush_requests: the stream of requests, a flush's and a purge's.
        results: what the keys of Taskiq's results begin with.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._own = own = prefix + "{metrics_list}:"
        self.metrics_list = prefix + "metrics_list"
        self.claims = own + "claims"
        self.claimed = own + "claimed"
        self.claims_made = own + "claims_made"
        self.life = own + "life"
        self.flush_requested = own + "flush_requested"
        self.flush_requests = own + "flush_requests"
        self.results = own + "result"

    def totals(self, func_name: str) -> str:
        """The hash of live totals of one function (T in the protocol)."""
        return f"{self._prefix}app:metrics:{func_name}"

    def saved(self, func_name: str) -> str:
        """The hash with SQL's part in those totals (B in the protocol)."""
        return f"{self._own}saved:{func_name}"

    def producer(self, producer: str) -> str:
        """The hash with what Redis has seen of a producer and what SQL has saved of it."""
        return f"{self._own}producer:{producer}"

    def claim(self, token: str) -> str:
        """The list of entries that one claim took out of `metrics_list`."""
        return f"{self._own}claim:{token}"

    def heartbeat(self, role: str, process: str) -> str:
        """The heartbeat of one process (`host:id`) in a role (`worker` or `scheduler`)."""
        return f"{self._own}alive:{role}:{process}"

    def patterns(self, arguments: Iterable[object]) -> list[str]:
        """Those of the keys among the arguments of a command, as an ACL allows them."""
        names = [one for one in arguments if isinstance(one, str)]
        kinds = self.metrics_list, f"{self._own}*", self.totals("*")
        return [f"~{kind}" for kind in kinds if any(fnmatchcase(name, kind) for name in names)]
