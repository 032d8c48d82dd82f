"""The names of keys, which other releases on the same Redis use, too."""

from __future__ import annotations

from metrics_collector._redis.keys import Keys


def names_in(keys: Keys) -> set[str]:
    return {
        keys.metrics_list,
        keys.totals("app.f"),
        keys.saved("app.f"),
        keys.producer("p"),
        keys.claims,
        keys.claim("t"),
        keys.claimed,
        keys.life,
        keys.heartbeat("worker", "host:1"),
        keys.flush_requested,
        keys.flush_requests,
        keys.results,
    }


def test_names_stay_what_they_are() -> None:
    assert names_in(Keys()) == {
        "metrics_list",
        "app:metrics:app.f",
        "{metrics_list}:saved:app.f",
        "{metrics_list}:producer:p",
        "{metrics_list}:claims",
        "{metrics_list}:claim:t",
        "{metrics_list}:claimed",
        "{metrics_list}:life",
        "{metrics_list}:alive:worker:host:1",
        "{metrics_list}:flush_requested",
        "{metrics_list}:flush_requests",
        "{metrics_list}:result",
    }


def test_all_begin_with_the_prefix() -> None:
    assert names_in(Keys("{s1}:")) == {"{s1}:" + name for name in names_in(Keys())}
