"""Flush requests: `flush_metrics` on Taskiq, sent by producers and a scheduler, answered by workers.

A request carries no data; what is to be saved waits in Redis. So a lost request costs time, no
entries, a doubled one costs nothing, and any number of them may become one flush.
"""

from __future__ import annotations

from metrics_collector._saving.taskiq.broker import FlushRequestBroker, make_broker
from metrics_collector._saving.taskiq.reloading import warn_of_reloads
from metrics_collector._saving.taskiq.scheduler import FlushScheduler
from metrics_collector._saving.taskiq.shared import TASK_NAME
from metrics_collector._saving.taskiq.tasks import (
    FlushTask,
    TaskWorker,
    register,
    rehearse,
    request_flush,
)

__all__ = [
    "TASK_NAME",
    "FlushRequestBroker",
    "FlushScheduler",
    "FlushTask",
    "TaskWorker",
    "make_broker",
    "register",
    "rehearse",
    "request_flush",
    "warn_of_reloads",
]
