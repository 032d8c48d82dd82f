"""The parts of a URL that names Sentinels; what is malformed stands among the cases of the settings."""

from __future__ import annotations

import pytest

from metrics_collector._support.sentinel_urls import SentinelURL, split


@pytest.mark.parametrize(
    ("url", "hosts", "master"),
    [
        ("redis+sentinel://host/name", ["redis://host:26379"], "name"),
        (
            "redis+sentinel://me:p,w@one,two:1/a.b-c_1/3?db=4",
            ["redis://me:p,w@one:26379/3?db=4", "redis://me:p,w@two:1/3?db=4"],
            "a.b-c_1",
        ),
        (
            "rediss+sentinel://[::1],[fe80::1]:7/name/",
            ["rediss://[::1]:26379/", "rediss://[fe80::1]:7/"],
            "name",
        ),
    ],
)
def test_each_sentinel_as_if_it_was_a_redis(url: str, hosts: list[str], master: str) -> None:
    assert split(url) == SentinelURL(hosts, master)


@pytest.mark.parametrize("url", ["redis://one,two/name", "unix:///sentinel", "memory://", ""])
def test_other_schemes(url: str) -> None:
    assert split(url) is None
