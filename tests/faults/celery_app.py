"""A Celery worker that gives itself ten tasks, each for a child of its own."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals

from metrics_collector import metrics_collector


@metrics_collector(name="task")
def work() -> None:
    """Is done once for each task."""


def begin(**_: Any) -> None:
    """Ask for all tasks."""
    for _number in range(10):
        task.delay()


app = Celery("celery_app", broker=os.environ["REDIS_URL"])
app.conf.update(worker_max_tasks_per_child=1, worker_concurrency=2)
task = app.task(work)
signals.worker_ready.connect(begin)
