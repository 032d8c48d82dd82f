"""Other libraries' ways to measure a call; those of the extra `bench` that are installed.

Each counts calls and errors, and adds the time to a histogram, as it is usually set up.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cache
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    AnyFunction = Callable[..., Any]
    Decorator = Callable[[AnyFunction], AnyFunction]


def installed(*, awaits: bool) -> Iterator[tuple[str, Decorator]]:
    """The libraries' names and their decorators: for coroutine functions, or for plain ones."""
    makers: dict[str, Callable[[], Decorator]] = {
        f"prometheus-{'async' if awaits else 'client'}": lambda: _prometheus(awaits=awaits),
        "aioprometheus": _aioprometheus,
        "autometrics": _autometrics,
        "OpenTelemetry": lambda: _opentelemetry(exponential=False, awaits=awaits),
        "OpenTelemetry, exponential": lambda: _opentelemetry(exponential=True, awaits=awaits),
    }
    for name, make in makers.items():
        with suppress(ImportError):
            yield name, make()


def _prometheus(*, awaits: bool) -> Decorator:
    client = importlib.import_module("prometheus_client")
    registry = client.CollectorRegistry()
    histogram = client.Histogram("work_seconds", "Time of the work.", registry=registry)
    errors = client.Counter("work_errors", "Errors of the work.", registry=registry)
    if awaits:
        aio = importlib.import_module("prometheus_async").aio
        return lambda function: aio.time(histogram)(aio.count_exceptions(errors)(function))
    return lambda function: histogram.time()(errors.count_exceptions()(function))


def _aioprometheus() -> Decorator:
    library = importlib.import_module("aioprometheus")
    registry = library.Registry()
    histogram = library.Histogram("work_seconds", "Time of the work.", registry=registry)
    decorate: Decorator = library.timer(histogram, labels={"function": "work"})
    return decorate


@cache
def _autometrics() -> Decorator:
    library = importlib.import_module("autometrics")
    library.init(tracker="prometheus")
    decorate: Decorator = library.autometrics
    return decorate


def _opentelemetry(*, exponential: bool, awaits: bool) -> Decorator:
    """It has no decorator: one is written around it, as services do."""
    metrics = importlib.import_module("opentelemetry.sdk.metrics")
    export = importlib.import_module("opentelemetry.sdk.metrics.export")
    view = importlib.import_module("opentelemetry.sdk.metrics.view")
    views = []
    if exponential:
        aggregation = view.ExponentialBucketHistogramAggregation()
        views.append(view.View(instrument_name="work", aggregation=aggregation))
    provider = metrics.MeterProvider([export.InMemoryMetricReader()], views=views)
    record = provider.get_meter("bench").create_histogram("work", "s").record
    return _around(record, awaits=awaits)


def _around(record: Callable[[float, dict[str, str]], None], *, awaits: bool) -> Decorator:
    good, bad = {"function": "work"}, {"function": "work", "error": "yes"}

    def of_coroutine(function: AnyFunction) -> AnyFunction:
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            start, labels = clock(), good
            try:
                return await function(*args, **kwargs)
            except BaseException:
                labels = bad
                raise
            finally:
                record(clock() - start, labels)

        return wrapper

    def of_function(function: AnyFunction) -> AnyFunction:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start, labels = clock(), good
            try:
                return function(*args, **kwargs)
            except BaseException:
                labels = bad
                raise
            finally:
                record(clock() - start, labels)

        return wrapper

    return of_coroutine if awaits else of_function
