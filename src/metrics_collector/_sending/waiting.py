"""What waits for a number: the recorder's buffer, and slices of it as columns, which take a sixth of the memory."""

from __future__ import annotations

from itertools import repeat, starmap
from typing import TYPE_CHECKING

from metrics_collector._core.columns import Columns

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from metrics_collector._recording.recorder import Record


class Waiting:
    """The entries that have no number yet, and only those may be dropped. Used under the outbox's lock.

    Attributes:
        slices: the oldest; what the outbox takes it removes here, without a call and so without a Ctrl-C in between.
        held: entries in `slices`.
        dropped: entries that were given up.
    """

    def __init__(
        self, buffer: deque[Record], monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.slices: list[Columns] = []
        self.held = 0
        self.dropped = 0
        self._buffer = buffer
        self._monotonic = monotonic
        self._wall = wall

    def __len__(self) -> int:
        return self.held + len(self._buffer)

    @property
    def buffered(self) -> int:
        """How many are in the buffer still."""
        return len(self._buffer)

    def oldest(self, most: int) -> Columns | None:
        """The oldest entries, at most so many; `None` if there are none."""
        if most <= 0:
            return None
        if not self.slices:
            self.gather(most)
        elif self.slices[0].count > most:
            self.slices[:1] = self.slices[0].split(most)
        return self.slices[0] if self.slices else None

    def gather(self, most: int, *, kept: bool = False) -> None:
        """Make a slice of the oldest records in the buffer; `kept`: it is not encoded at once."""
        records: list[Record] = []
        try:
            count = min(most, len(self._buffer))
            # In one call, within which no Ctrl-C comes: so each record is in one of the two.
            records.extend(starmap(self._buffer.popleft, repeat((), count)))
            if not records:
                return
            made = Columns.of(records, self._wall() - self._monotonic(), kept=kept)
            held = self.held + made.count
            # From here on without any call. First what may find no memory.
            self.slices += (made,)
            self.held = held
        except BaseException as error:
            if isinstance(error, Exception):  # it would fail again
                self.dropped += len(records)
            else:
                self._buffer.extendleft(reversed(records))
            raise

    def drop(self, count: int) -> None:
        """Give up the oldest."""
        while count > 0 and self.slices:
            gone, *rest = self.slices[0].split(count)
            some = gone.count
            # Without any call.
            self.slices[:1] = rest
            self.held -= some
            self.dropped += some
            count -= some
        for _ in range(min(count, len(self._buffer))):
            # In this order: a Ctrl-C comes after a call, and so finds both done.
            self.dropped += 1
            self._buffer.popleft()
