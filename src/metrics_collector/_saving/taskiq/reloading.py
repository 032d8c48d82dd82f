"""Files that make `taskiq worker --reload` restart a worker again and again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from taskiq.cli.worker.args import WorkerArgs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metrics_collector._support.rate_limited_log import RateLimitedLog


def warn_of_reloads(files: Iterable[str], log: RateLimitedLog) -> None:
    """Warn if this worker is restarted whenever it changes one of the files (absolute paths)."""
    if sys.argv[:1] != ["worker"]:  # what Taskiq leaves of its command line, also in its children
        return
    options = WorkerArgs.from_cli(sys.argv[1:])
    watched = [file for file in files if _restarts(file, options)] if options.reload else []
    if watched:
        log.trouble(
            "reload",
            "--reload restarts this worker whenever it saves, since it watches %s: add %s* to the .gitignore of the "
            "watched folder, or have it watch the folder of your code alone, by --reload-dir",
            watched[0],
            Path(watched[0]).name,
        )


def _restarts(file: str, options: WorkerArgs) -> bool:
    """Whether a change of the file restarts the worker, by Taskiq's own rule."""
    from taskiq.cli.watcher import FileWatcher  # there with the extra that --reload needs
    from watchdog.events import FileModifiedEvent

    restarts: list[bool] = []
    for name in options.reload_dirs or ["."]:
        folder = Path(name).resolve()
        if Path(file).resolve().is_relative_to(folder):
            ignoring = not options.no_gitignore
            watcher = FileWatcher(lambda: restarts.append(True), folder, use_gitignore=ignoring)
            watcher.dispatch(FileModifiedEvent(file))
    return bool(restarts)
