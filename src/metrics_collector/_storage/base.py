"""The port: what every durable store answers. Whoever saves, reads or purges knows this, and no store by its name.

`tests/storage/test_contract.py` is what a store has to pass. All moments are UTC epoch seconds, all times seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from metrics_collector._core.intervals import Intervals
    from metrics_collector._core.pipeline_types import Numbered, Purged, Rollup, Saved
    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._core.totals import Totals
    from metrics_collector._storage.chunks import Chunk


class StoreState(NamedTuple):
    """Which state of which store it is: the store's id, and the number of its last commit."""

    db: str
    no: int


class StoreDescription(NamedTuple):
    """A store as whoever looks after it finds it.

    Attributes:
        exists: whether there is anything yet, `None` if that cannot be read; without it, all that follows the error is
            `None`.
        error: why it cannot be read, or written by this user, with the remedy; or `None`.
        size: bytes on the disk.
        free: bytes that are left there, if that is known.
        saved: entries saved since the beginning, those included that are no longer kept.
        oldest: the end of the oldest call that is kept as an entry, or `None`.
        rejected: how many elements were no entries, and went to the rejected ones.
        db: the store's id.
        warning: as `Store.warning`.
        server: what serves it, its version, and how it keeps what is committed; `None` for a file.
    """

    exists: bool | None
    error: str | None
    size: int | None = None
    free: int | None = None
    saved: int | None = None
    oldest: float | None = None
    rejected: int | None = None
    db: str | None = None
    warning: str | None = None
    server: str | None = None


class StoredEntry(NamedTuple):
    """An entry as SQL has it: the columns of the table `metrics`; `extra`: JSON, an object of all other fields."""

    func_name: str
    execution_time: float
    error_occurred: int
    created_at: float
    outcome: str
    error_type: str | None
    id: str | None
    extra: str | None


class EntryFilter(NamedTuple):
    """Which entries: of which function, and from when to before when their calls ended; `None`: whichever."""

    func_name: str | None = None
    since: float | None = None
    until: float | None = None


class EntryPage(NamedTuple):
    """Some entries, and where the next ones begin: text that only the store reads; `None` if there are no more."""

    entries: list[StoredEntry]
    cursor: str | None


class StepCounts(NamedTuple):
    """Calls and errors in one step of a time, in columns, as there are many; a function may be there several times."""

    start: int  # UTC epoch seconds
    func_names: Sequence[str]
    calls: Sequence[int]
    errors: Sequence[int]


class ErrorTime(NamedTuple):
    """A time, from `start` to before `end`, in which one type of error of one function was counted."""

    func_name: str
    error_type: str
    start: int
    end: int


ErrorCounts: TypeAlias = "dict[tuple[str, str], dict[int, int]]"
"""How often each type of error was counted: function and type → beginning of the rollup → count."""


class OpenStore(Protocol):
    """What an open store offers to whoever reads or writes.

    Every method here and below raises StoreUnavailableError, with the remedy, if the store cannot be used any more, and
    ClosedByForkError if the process forked: the work can then be begun again at once (`reopening`).
    """

    async def state(self) -> StoreState:
        """Which state it is."""

    async def function_names(self) -> list[str]:
        """The names of all functions that entries were saved of."""

    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]:
        """The totals of those of the functions that the store knows."""


class StoreReader(OpenStore, Protocol):
    """A store open for reading: one consistent state of it, whatever is written meanwhile.

    A range is answered from the rollups of its resolution; `None` as a function means all of them.
    """

    async def all_totals(self) -> dict[str, Numbered]:
        """The totals of every function."""

    async def purged(self) -> dict[str, int]:
        """Before when each resolution, and "entry", is no longer kept; what is missing is kept from the beginning."""

    async def ledger(self, producers: Iterable[str]) -> dict[str, Intervals]:
        """Which numbers of the producers are saved; without those producers that have none."""

    async def rollups(self, ranges: Iterable[RollupRange], func_name: str | None) -> list[Rollup]:
        """The rollups in some times, in no order."""

    async def sums(self, ranges: Iterable[RollupRange], func_name: str | None) -> dict[str, Totals]:
        """The totals over some times, by function."""

    async def beginning(self) -> int | None:
        """Where the earliest of what is kept begins, by the finest rollups that are kept there; `None`: nothing is."""

    async def fingerprint(self, rollup_range: RollupRange) -> object:
        """What is equal only as long as no figure in this time has changed; costs less than to read them."""

    async def counts(self, rollup_range: RollupRange, step: int) -> list[StepCounts]:
        """Counts of all functions in each step of a time in which any was called, in no order.

        Args:
            rollup_range: the time.
            step: seconds; the rollups of the range are as long, or divide it.
        """

    async def failures(self, ranges: Iterable[RollupRange], func_name: str | None) -> ErrorCounts:
        """How often each type of error was counted in some times."""

    async def occurrences(
        self, times: Sequence[ErrorTime], by: str, *, last: bool
    ) -> list[float | None]:
        """When each of these errors was counted first, or last, in its time; `None` where that is not kept.

        Args:
            times: fast for entries only if they are short.
            by: a resolution: by where its rollups begin; or "entry": to the moment.
            last: and not first.
        """

    async def slowest(
        self, func_name: str, rollup_range: RollupRange, count: int
    ) -> list[StoredEntry]:
        """The slowest entries of a function in a time that are kept, at most so many, the slowest first.

        The time may end within a rollup.
        """

    async def entries(self, which: EntryFilter, cursor: str | None, count: int) -> EntryPage:
        """Entries in the order in which they were saved; a later page may come from a later reading.

        Args:
            which: the same for each page.
            cursor: that of the page before; `None` for the first one. What is saved after that one is left out.
            count: how many at most.
        """

    async def entry_count(self, which: EntryFilter) -> int:
        """How many entries all pages have."""

    async def copy(self, file: str) -> int:
        """Write a copy, checked and whole by itself, into an empty file, by its absolute path; its size in bytes."""


class StoreWriter(OpenStore, Protocol):
    """A store open for writing. Each method is one transaction, but for `purge`, which takes many small ones."""

    async def save(self, chunk: Chunk, now: float) -> Saved | None:
        """Save the head of a claim, each element exactly once, and have it on the disk; even if it is tried again.

        Args:
            chunk: the head. An element that brings no number of its own is identified by its distance from the claim's
                end.
            now: UTC epoch seconds.

        Returns:
            What was done; `None` if the store was deleted or replaced meanwhile, so that the commit went nowhere.
        """

    async def draw_new_db(self, old: str) -> str:
        """Give the store another id than `old`, unless somebody has just done so, and return the one it has then.

        A copy that was restored has an old `no` under the same id, so Redis would take its totals for outdated ones.
        """

    async def forget_old_ledger(self, before: float) -> None:
        """Delete what the ledger has not used since then."""

    async def purge(self, before: Mapping[str, float], now: float) -> Purged:
        """Delete entries and rollups from before some moments; totals stay. Others can write meanwhile.

        Args:
            before: "entry", "minute", "hour" or "day" → UTC epoch seconds. What is missing is kept. The rollups of one
                resolution go up to where one of the next coarser begins, and so far at least as those of the coarser. A
                store that deletes entries by whole days (UTC) keeps all of the day in which the moment lies.
            now: UTC epoch seconds. Nothing is purged from later than that, whatever a clock that was ahead has noted.
        """


class StoreExamples(Protocol):
    """How people ask the store themselves, in its own dialect."""

    @property
    def queries(self) -> Sequence[str]:
        """Some questions to begin with, in lines short enough to be copied from a narrow terminal."""

    def shell(self) -> str:
        """The command that opens a shell on the store."""

    def slowest(self, func_name: str, since: float, until: float) -> str:
        """The query for the slowest entries of a function between two moments."""


class Store(Protocol):
    """A durable store. Making one opens nothing."""

    @property
    def label(self) -> str:
        """What people know it by: for a file, where it is."""

    @property
    def files(self) -> tuple[str, ...]:
        """The absolute paths of what changes on this machine as it is written; none if it is elsewhere."""

    @property
    def examples(self) -> StoreExamples:
        """For people who want to ask it themselves."""

    @property
    def drivers(self) -> Sequence[str]:
        """Modules that its first use may import: to be imported beforehand, in another thread."""

    def writing(self) -> AbstractAsyncContextManager[StoreWriter]:
        """Open it to write, making it and its tables on first use.

        Raises:
            StoreUnavailableError: it cannot be opened or written.
            IncompatibleStoreError: it is another program's, or newer than this code.
        """

    def reading(self) -> AbstractAsyncContextManager[StoreReader | None]:
        """Open it to read; gives `None` if there is nothing yet. Never makes anything.

        Raises:
            StoreUnavailableError: it cannot be opened.
            IncompatibleStoreError: as `writing`.
        """

    async def warning(self) -> str | None:
        """What will be trouble if it goes on so, with the remedy, or `None`; costs little."""

    async def describe(self, *, try_writing: bool = False) -> StoreDescription:
        """How it is; what is wrong is part of the answer, not an error.

        Args:
            try_writing: find out whether it takes more by writing something, which is gone again then.
        """
