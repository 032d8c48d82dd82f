"""Other libraries' ways to measure a call; those of the extra `bench` that are installed.

Each counts calls and errors, and adds the time to a histogram, as it is usually set up.
"""

from __future__ import annotations

import importlib
import threading
from contextlib import contextmanager, suppress
from functools import cache
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler

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


def scraped(*, awaits: bool) -> tuple[Decorator, int]:
    """Prometheus's library with a label for the function, and the port where it can be scraped."""
    client = importlib.import_module("prometheus_client")
    registry = client.CollectorRegistry()
    histogram = client.Histogram("work_seconds", "Time.", ["function"], registry=registry)
    errors = client.Counter("work_errors", "Errors.", ["function"], registry=registry)

    def decorate(function: AnyFunction) -> AnyFunction:
        mine = (one.labels(function.__name__) for one in (histogram, errors))
        return _by_prometheus(*mine, awaits=awaits)(function)

    server = importlib.import_module("wsgiref.simple_server").make_server(
        "127.0.0.1", 0, client.make_wsgi_app(registry), handler_class=_Quiet
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return decorate, server.server_port


def _prometheus(*, awaits: bool) -> Decorator:
    client = importlib.import_module("prometheus_client")
    registry = client.CollectorRegistry()
    histogram = client.Histogram("work_seconds", "Time of the work.", registry=registry)
    errors = client.Counter("work_errors", "Errors of the work.", registry=registry)
    return _by_prometheus(histogram, errors, awaits=awaits)


def _by_prometheus(histogram: Any, errors: Any, *, awaits: bool) -> Decorator:
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


@contextmanager
def exporting(endpoint: str, *, every: float, awaits: bool) -> Iterator[Decorator]:
    """OpenTelemetry with an attribute for the function, sending its sums by OTLP every so many seconds."""
    metrics = importlib.import_module("opentelemetry.sdk.metrics")
    export = importlib.import_module("opentelemetry.sdk.metrics.export")
    otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    exporter = otlp.OTLPMetricExporter(endpoint=endpoint)
    reader = export.PeriodicExportingMetricReader(exporter, export_interval_millis=every * 1000)
    provider = metrics.MeterProvider([reader])
    record = provider.get_meter("bench").create_histogram("work", "s").record
    try:
        yield _around(record, awaits=awaits)
    finally:
        provider.shutdown()


def _around(record: Callable[[float, dict[str, str]], None], *, awaits: bool) -> Decorator:
    def labels_of(function: AnyFunction) -> tuple[dict[str, str], dict[str, str]]:
        name = function.__name__
        return {"function": name}, {"function": name, "error": "yes"}

    def of_coroutine(function: AnyFunction) -> AnyFunction:
        good, bad = labels_of(function)

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
        good, bad = labels_of(function)

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


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep quiet."""
