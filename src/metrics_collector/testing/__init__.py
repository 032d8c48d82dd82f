"""For the tests of a service: what its decorated functions record, at hand in the test.

Installing the package gives pytest the fixture `recorded_metrics`, which acts only in tests that ask for it:

```python
def test_checkout(recorded_metrics):
    checkout(cart)
    checkout(cart)

    assert recorded_metrics["shop.checkout"].call_count == 2
    assert recorded_metrics[charge].error_types == {"CardDeclined": 1}
    assert recorded_metrics["shop.refund"].call_count == 0
```

It is a `RecordedMetrics`: what was recorded in this process since the test began, in all its threads, as soon as a
call has ended. It needs no event loop, does no I/O, and works in any kind of test, sync or async.

Meanwhile the test has a collector of its own. Within the test all of `metrics_collector` works as ever, `async with
MetricsCollector()` in the service's lifespan too, and goes to a Redis inside the process (the extra `embedded`;
without it what needs Redis raises `ConfigurationError`) and to the database `metrics.db` in the test's `tmp_path`.
The other settings have their defaults, whatever the environment says; a run with settings of its own gets those,
except for Redis and the database. Nothing is sent or saved by itself before a run begins, or `send`, `flush` or a
read is called. After the test all is as it was before: a collector that had entries still has them, and a run that
began before the test goes on.

Other processes are not seen. A forked one has the test's settings, any other those of its environment. With
METRICS_ENABLED=false the decorator returns functions as they are, which record nothing: the fixture says so in an
error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metrics_collector.testing._recorded import RecordedEntry, RecordedMetrics

__all__ = ["RecordedEntry", "RecordedMetrics"]


def __getattr__(name: str) -> Any:
    # pytest loads this module wherever the package is installed, for tests that may have no use for it.
    if name in __all__:
        from metrics_collector.testing import _recorded

        return getattr(_recorded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
