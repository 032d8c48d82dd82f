"""The URL of a PostgreSQL database: what is taken, what is refused, and that no password is ever seen."""

from __future__ import annotations

import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector._errors import ConfigurationError
from metrics_collector._support.settings import Settings, mask_url


def test_it_is_unset_unless_its_own_variable_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://of-another-program/app")
    assert Settings().database_url is None
    monkeypatch.setenv("METRICS_DATABASE_URL", "")
    assert Settings().database_url is None
    monkeypatch.setenv("METRICS_DATABASE_URL", "postgresql://host/metrics")
    assert Settings().database_url == "postgresql://host/metrics"
    assert Settings(database_url=None).database_url is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgres://localhost",
        "postgresql://user:p%40ss@host:5433/metrics",
        "postgresql://user@[::1]:5432/metrics?sslmode=verify-full&sslrootcert=system",
        "postgresql://a,b:5433,[fe80::1%25eth0]/metrics?target_session_attrs=read-write",
        "postgresql:///metrics?host=%2Fvar%2Frun%2Fpostgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/metrics",
        "postgresql://host/metrics?options=-csearch_path%3Dx&password=secret",
    ],
)
def test_what_libpq_takes(url: str) -> None:
    assert Settings(database_url=url).database_url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql+asyncpg://host/metrics", "leave out the name of a driver"),
        ("postgres+psycopg2://host/metrics", "leave out the name of a driver"),
        ("sqlite:///metrics.db", "set DATABASE_NAME to the path"),
        ("mysql://host/metrics", "does not begin with postgresql://"),
        ("host=localhost dbname=metrics", "does not begin with postgresql://"),
        ("metrics.db", "does not begin with postgresql://"),
        ("postgresql://user:p ss@host/metrics", "a blank as %20"),
        ("postgresql://user:p%ss@host/metrics", "it is malformed"),
        ("postgresql://user:p/ss@host/metrics", "it is malformed"),
        ("postgresql://user:p@ss@host/metrics", "it is malformed"),
        ("postgresql://user:p?ss@host/metrics", "it is malformed"),
        ("postgresql://user:p#ss@host/metrics#x", "it is malformed"),
        ("postgresql://host:0/metrics", "it is malformed"),
        ("postgresql://a,b:70000/metrics", "it is malformed"),
        ("postgresql://host:port/metrics", "it is malformed"),
        ("postgresql://host/metrics%00", "it is malformed"),
        ("postgresql://host/metrics?sslmode", "it is malformed"),
    ],
)
def test_what_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(database_url=url)
    message = str(caught.value)
    assert reason in message
    assert "allowed is a URL such as postgresql://user:password@host/database" in message
    assert "ss" not in message.replace("password", "").replace("sslmode", "")


def test_files_are_those_of_the_current_folder() -> None:
    made = Settings(database_url="postgresql://host/metrics?sslcert=my.crt&sslmode=require")
    here = quote(str(Path.cwd()))
    assert made.database_url == f"postgresql://host/metrics?sslcert={here}/my.crt&sslmode=require"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://user:pw@host:5432/metrics", "postgresql://user:***@host:5432/metrics"),
        ("postgres://user@a,b:1,[::1]:2/m", "postgres://user@a,b:1,[::1]:2/m"),
        ("postgresql:///metrics?host=%2Frun", "postgresql:///metrics?host=***"),
        (
            "postgresql://h/m?password=pw&sslmode=require",
            "postgresql://h/m?password=***&sslmode=require",
        ),
        ("postgresql://h/m?pasword=pw&sslpassword=pw", "postgresql://h/m?***&sslpassword=***"),
        # In doubt, hidden.
        ("postgresql://user:p/w@host/m", "postgresql://***"),
        ("postgresql://user:p@w@host/m", "postgresql://***"),
        ("postgresql://user:p?w@host/m", "postgresql://***"),
        ("postgresql://user:pw", "postgresql://***"),
        ("postgresql://host/p w", "postgresql://host/***"),
    ],
)
def test_what_is_shown(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked


MARK = "S3CR3T"
PASSWORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("@:/?#&=%[],")
).map(lambda middle: f"{MARK}{middle}{MARK}")
SHAPES = [
    "postgresql://user:{}@host:5432/metrics",
    "postgresql://user:{}@a,b/metrics?target_session_attrs=read-write",
    "postgresql://user:{}@/metrics?host=%2Frun",
    "postgresql://host/metrics?password={}",
    "postgresql://host/metrics?sslmode=require&sslpassword={}&connect_timeout=1",
    "postgres+driver://user:{}@host/metrics",
]


@given(st.sampled_from(SHAPES), PASSWORDS)
@example(SHAPES[0], f"{MARK}/{MARK}")
@example(SHAPES[0], f"{MARK}@/{MARK}")
@example(SHAPES[3], f"{MARK}&host={MARK}")
def test_no_password_is_ever_seen(shape: str, password: str) -> None:
    for url in (shape.format(password), shape.format(quote(password, safe=""))):
        seen = [mask_url(url)]
        for values in ({"database_url": url}, {"database_url": url, "max_items": 0}):
            try:
                made = Settings(**values)
            except ConfigurationError as error:
                seen.append("".join(traceback.format_exception(error)) + repr(error))
            else:
                seen.append(f"{made!r} {made}")
        assert MARK not in "".join(seen)


@given(st.text() | st.from_regex(r"postgres(ql)?://[^ ]*([:/?#@&=\[\],][^ ]*)*", fullmatch=True))
def test_any_text_can_be_masked_again(url: str) -> None:
    assert mask_url(mask_url(url)) == mask_url(url)
