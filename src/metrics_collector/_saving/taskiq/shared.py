"""What the broker, the task and the scheduler have in common."""

from __future__ import annotations

from typing import Final

from taskiq.exceptions import SendTaskError

from metrics_collector._redis import refusals
from metrics_collector._redis.keys import Keys

# These stand in the messages in Redis, so it stays what it is wherever the function lives.
TASK_NAME: Final = "metrics_collector.tasks:flush_metrics"
PURGE_NAME: Final = "metrics_collector.tasks:purge_metrics"
TASK_NAMES: Final = (TASK_NAME, PURGE_NAME)

# The kind of all warnings about Redis: while it is away, this package says so in one line a minute.
REDIS: Final = "flush requests"

_KEYS: Final = Keys()


def reason(error: BaseException) -> str:
    """What an error says, on one line and with its type's name."""
    if isinstance(error, SendTaskError) and error.__cause__ is not None:
        error = error.__cause__  # Taskiq's own says only that something was not sent
    text = " ".join(str(error).split())
    if refusals.is_one(text):
        return refusals.in_words(text, {}, _KEYS.patterns([_KEYS.flush_requests]))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
