"""The doorbell: `flush_metrics` on Taskiq, rung by producers and a scheduler, answered by workers.

A ring carries no data; what is to be saved waits in Redis. So a lost ring costs time, no entries,
a doubled one costs nothing, and any number of them may become one flush.
"""

from __future__ import annotations

from metrics_collector._saving.taskiq.broker import DoorbellBroker, make_broker
from metrics_collector._saving.taskiq.scheduler import FlushScheduler, make_scheduler
from metrics_collector._saving.taskiq.shared import TASK_NAME
from metrics_collector._saving.taskiq.tasks import FlushTask, Worker, register, ring

__all__ = [
    "TASK_NAME",
    "DoorbellBroker",
    "FlushScheduler",
    "FlushTask",
    "Worker",
    "make_broker",
    "make_scheduler",
    "register",
    "ring",
]
