"""The names of all keys in Redis, in one place.

`metrics_list` and `app:metrics:{func_name}` are for people to read; what else the protocol needs lies in the slot of
`metrics_list`, so that one script may touch all of it.
"""

from __future__ import annotations

from typing import Final

METRICS_LIST: Final = "metrics_list"
TOTALS_PREFIX: Final = "app:metrics:"

_OWN: Final = "{metrics_list}:"
CLAIMS: Final = _OWN + "claims"
CLAIMED: Final = _OWN + "claimed"
LIFE: Final = _OWN + "life"
RING: Final = _OWN + "ring"
SAVED_PREFIX: Final = _OWN + "saved:"
ALIVE_PREFIX: Final = _OWN + "alive:"
PRODUCER_PREFIX: Final = _OWN + "producer:"


def totals(func_name: str) -> str:
    """The hash of live totals of one function (T in the protocol)."""
    return TOTALS_PREFIX + func_name


def saved(func_name: str) -> str:
    """The hash with SQL's part in those totals (B in the protocol)."""
    return SAVED_PREFIX + func_name


def producer(producer_id: str) -> str:
    """The hash with what Redis has seen of a producer and what SQL has saved of it."""
    return PRODUCER_PREFIX + producer_id


def claim(token: str) -> str:
    """The list of entries that one claim took out of `metrics_list`."""
    return _OWN + "claim:" + token


def alive(role: str, host: str, process: int) -> str:
    """The heartbeat of one process; role is `worker` or `scheduler`."""
    return f"{ALIVE_PREFIX}{role}:{host}:{process}"
