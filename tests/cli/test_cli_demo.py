"""The service that the demo measures."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from metrics_collector._recording import recorder
from metrics_collector.cli import _shop

if TYPE_CHECKING:
    from metrics_collector._recording.recorder import Record


def test_each_customer_orders_once_however_late_the_machine_comes_to_it() -> None:
    entries: deque[Record] = deque()
    with recorder.redirected(entries):
        _shop.trade(lambda: True)
    assert Counter(name for name, *_ in entries)["demo.place_order"] == _shop._CUSTOMERS
