"""The spool: batches in files, when memory or the process's life does not reach until Redis takes them.

Each process writes files of its own (`_writer`), and holds a lock on them as long as it lives. Those of a process that
has gone are sent by whoever finds them (`_replay`).
"""

from metrics_collector._sending.spool.replay import Replay
from metrics_collector._sending.spool.spool_writer import Spool

__all__ = ["Replay", "Spool"]
