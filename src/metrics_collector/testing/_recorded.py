"""What is recorded while a test runs, and the collector of its own that the test gets meanwhile."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.columns import Columns
from metrics_collector._core.decoding import decode
from metrics_collector._core.encoding import encode
from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.totals import Tally, Totals
from metrics_collector._errors import ConfigurationError, UnknownFunctionError
from metrics_collector._reading.names import resolve
from metrics_collector._recording import registry
from metrics_collector._recording.recorder import Record
from metrics_collector._runtime.collector import collector
from metrics_collector._sending.batch import SLICE
from metrics_collector._support.environment import metrics_enabled
from metrics_collector._support.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Literal

_NOBODY: Final = "0" * 16  # in place of a producer's id


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEntry:
    """The record of one call.

    Attributes:
        func_name: the full name of the function.
        execution_time: seconds.
        outcome: `"ok"`, `"error"` or `"cancelled"`.
        error_type: the name of the exception's type, `None` unless the outcome is an error.
    """

    func_name: str
    execution_time: float
    outcome: Literal["ok", "error", "cancelled"]
    error_type: str | None = None


class RecordedMetrics:
    """What was recorded in this process since the test began: by function, and call by call.

    ```python
    recorded_metrics["shop.checkout"].call_count == 2  # the full name, or its end at a dot: "checkout"
    recorded_metrics[checkout].error_count == 0        # the function itself
    "shop.checkout" in recorded_metrics                # called at least once
    list(recorded_metrics), len(recorded_metrics)      # the names of the functions called, by first end of a call
    [entry.func_name for entry in recorded_metrics.entries]
    ```

    It always shows the latest, and what was got from it stays as it is. Safe from any thread.
    """

    def __init__(self, records: list[Record]) -> None:
        self._records = records  # grows meanwhile
        self._offset = time.time() - time.perf_counter()

    def __getitem__(self, function: Callable[..., Any] | str) -> FunctionMetrics:
        """The figures of one function; zeros if it is decorated and was not called.

        Args:
            function: the decorated function, its full name, or an end of that at a dot which matches one function only.

        Raises:
            UnknownFunctionError: nothing of that name is decorated or was recorded.
            AmbiguousNameError: the end of a name matches several.
            ConfigurationError: it is neither a function nor a name.
        """
        __tracebackhide__ = True  # pytest then points at the line of the test
        name = self._name(function)
        return FunctionMetrics(**figures(name, self._totals().get(name, Totals())))

    def __contains__(self, function: Callable[..., Any] | str) -> bool:
        """Whether a function was called. Of an unknown name this is false, where `[...]` raises."""
        try:
            return self._name(function) in self._totals()
        except UnknownFunctionError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._totals())

    def __len__(self) -> int:
        return len(self._totals())

    @property
    def entries(self) -> list[RecordedEntry]:
        """The calls, in the order in which they ended."""
        lines, _ = self._sent()
        return [
            RecordedEntry(
                func_name=entry.func_name,
                execution_time=entry.execution_time,
                outcome=entry.outcome,  # type: ignore[arg-type]  # checked, when it was decoded
                error_type=entry.error_type,
            )
            for entry in (decode(line) for line in lines)
        ]

    def __repr__(self) -> str:
        called = [
            f"{name}: {_counted(FunctionMetrics(**figures(name, totals)))}"
            for name, totals in self._totals().items()
        ]
        return f"<RecordedMetrics {', '.join(called) or 'without calls'}>"

    def _name(self, function: Callable[..., Any] | str) -> str:
        __tracebackhide__ = True
        known = registry.names() | self._totals().keys()
        if isinstance(function, str):
            try:
                return resolve(function, known)
            except LookupError as error:
                raise error.with_traceback(None)  # noqa: B904 - it is the same one, without a frame that would be shown
        name = registry.name_of(function)
        if name not in known:
            raise UnknownFunctionError(f"{name!r} is not decorated with @metrics_collector")
        return name

    def _totals(self) -> dict[str, Totals]:
        _, totals = self._sent()
        return totals

    def _sent(self) -> tuple[list[bytes], dict[str, Totals]]:
        """The entries and figures that a sender would make of it, so that both agree to the last digit."""
        tally, elements = Tally(), list[bytes]()
        records = self._records.copy()  # at once, whoever else appends
        for start in range(0, len(records), SLICE):
            columns = Columns.of(records[start : start + SLICE], self._offset)
            elements += encode(columns, _NOBODY, start + 1, tally)[0].split(b"\n")
        return elements, tally.totals()


def _counted(metrics: FunctionMetrics) -> str:
    counts = (
        (metrics.call_count, "call"),
        (metrics.error_count, "error"),
        (metrics.cancelled_count, "cancelled"),
    )
    return ", ".join(
        f"{count} {what}{'s' if count > 1 and what != 'cancelled' else ''}"
        for count, what in counts
        if count
    )


class _Tee(deque[Record]):
    """A buffer that keeps a second list of all that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Record] = []

    def append(self, record: Record) -> None:
        self.all.append(record)
        super().append(record)


@contextmanager
def recording(folder: Path) -> Iterator[RecordedMetrics]:
    """Within this, the process's collector is one of its own, embedded and with its database in the folder."""
    if not metrics_enabled():
        raise ConfigurationError(
            "METRICS_ENABLED is false, so decorated functions record nothing: "
            "set it to true for tests that ask for recorded_metrics, before their modules are imported"
        )
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    embedded = dict.fromkeys(
        ("redis_url", "taskiq_broker_url", "taskiq_result_backend_url"), "memory://"
    )
    settings = Settings(**{**defaults, **embedded, "database_name": str(folder / "metrics.db")})
    buffer = _Tee()
    with collector.isolated(settings, buffer):
        yield RecordedMetrics(buffer.all)
