"""Other libraries' ways to measure a call; those of the extra `bench` that are installed.

Each counts calls and errors, and adds the time to a histogram, as it is usually set up.
"""

from __future__ import annotations

import importlib
from functools import cache
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    AnyFunction = Callable[..., Any]
    Decorator = Callable[[AnyFunction], AnyFunction]


def of_coroutines() -> dict[str, Decorator]:
    """Decorators for coroutine functions, by library."""
    return _installed(
        {
            "prometheus-async": _prometheus_async,
            "aioprometheus": _aioprometheus,
            "autometrics": _autometrics,
            "OpenTelemetry": _opentelemetry(exponential=False, awaits=True),
            "OpenTelemetry, exponential": _opentelemetry(exponential=True, awaits=True),
        }
    )


def of_functions() -> dict[str, Decorator]:
    """Decorators for plain functions, by library."""
    return _installed(
        {
            "prometheus-client": _prometheus_client,
            "aioprometheus": _aioprometheus,
            "autometrics": _autometrics,
            "OpenTelemetry": _opentelemetry(exponential=False, awaits=False),
            "OpenTelemetry, exponential": _opentelemetry(exponential=True, awaits=False),
        }
    )


def _installed(makers: dict[str, Callable[[], Decorator]]) -> dict[str, Decorator]:
    found: dict[str, Decorator] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError:
            continue
    return found


def _prometheus_metrics() -> tuple[Any, Any]:
    client = importlib.import_module("prometheus_client")
    registry = client.CollectorRegistry()
    return (
        client.Histogram("work_seconds", "Time of the work.", registry=registry),
        client.Counter("work_errors", "Errors of the work.", registry=registry),
    )


def _prometheus_async() -> Decorator:
    aio = importlib.import_module("prometheus_async").aio
    histogram, errors = _prometheus_metrics()

    def decorate(function: AnyFunction) -> AnyFunction:
        decorated: AnyFunction = aio.time(histogram)(aio.count_exceptions(errors)(function))
        return decorated

    return decorate


def _prometheus_client() -> Decorator:
    histogram, errors = _prometheus_metrics()

    def decorate(function: AnyFunction) -> AnyFunction:
        decorated: AnyFunction = histogram.time()(errors.count_exceptions()(function))
        return decorated

    return decorate


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


def _opentelemetry(*, exponential: bool, awaits: bool) -> Callable[[], Decorator]:
    """It has no decorator: one is written around it, as services do."""

    def make() -> Decorator:
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

    return make


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
