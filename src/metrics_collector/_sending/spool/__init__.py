"""The spool: files for batches that a process can neither hold in memory nor send before its end.

Each process writes files of its own (`spool_writer`), and holds a lock on them until it ends. Files whose process has
ended are sent by another process with the same folder (`replay`).
"""

from metrics_collector._sending.spool.replay import Replay
from metrics_collector._sending.spool.spool_writer import Spool

__all__ = ["Replay", "Spool"]
