from __future__ import annotations

import copy
import pickle
import re
import traceback
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from metrics_collector._errors import ConfigurationError
from metrics_collector._support.settings import Settings, mask_url

DEFAULTS: dict[str, Any] = {
    "redis_url": "redis://localhost:6379/0",
    "taskiq_broker_url": "redis://localhost:6379/0",
    "taskiq_result_backend_url": "redis://localhost:6379/0",
    "database_name": "metrics.db",
    "max_items": 100,
    "max_waiting_time": 60,
    "database_url": None,
    "enabled": True,
    "send_interval": 0.1,
    "max_buffered": 100_000,
    "max_backlog": 1_000_000,
    "claim_lease": 60,
    "spool_dir": None,
    "retention": None,
    "retention_minute": None,
    "retention_hour": None,
    "retention_day": None,
    "ledger_days": 30,
    "exit_timeout": 2,
    "dashboard_token": None,
}
BARE = list(DEFAULTS)[:6]
PREFIXED_ONLY = list(DEFAULTS)[6:]
EXAMPLE = Path(__file__).parents[2] / ".env.example"


def defaults() -> dict[str, Any]:
    """Those of the current folder."""
    return {**DEFAULTS, "database_name": str(Path("metrics.db").absolute())}


def dotenv(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def refusal(**keywords: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**keywords)
    # Nothing of pydantic's, which holds the values, hangs on the error.
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def a_value(field: str, number: int) -> tuple[str, Any]:
    """Text for a variable, and what `Settings` makes of it: different for each number below 5."""
    if field == "database_url":
        return f"postgresql://host{number}/metrics", f"postgresql://host{number}/metrics"
    if field.endswith("_url"):
        return f"redis://host{number}", f"redis://host{number}"
    if field in {"database_name", "spool_dir"}:
        return f"{number}.db", str(Path(f"{number}.db").absolute())
    if field == "dashboard_token":
        return f"{number}" * 16, f"{number}" * 16
    if field == "enabled":
        return ("off", False) if number == 0 else ("on", True)
    return str(number + 1), number + 1


# --- where values come from


def test_defaults() -> None:
    assert Settings().model_dump() == defaults()


@pytest.mark.parametrize("field", BARE)
@pytest.mark.parametrize("given_in", list(product([True, False], repeat=4)))
def test_precedence_of_the_four_places(
    field: str, given_in: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixed, bare = f"METRICS_{field.upper()}", field.upper()
    places = [(prefixed, True), (prefixed, False), (bare, True), (bare, False)]  # the best first
    expected = defaults()[field]
    file = ""
    for number in reversed(range(4)):
        if given_in[number]:
            (name, in_environment), (text, expected) = places[number], a_value(field, number)
            if in_environment:
                monkeypatch.setenv(name, text)
            else:
                file += f"{name}={text}\n"
    dotenv(file)
    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize("field", PREFIXED_ONLY)
def test_the_others_need_the_prefix(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"METRICS_{field.upper()}"
    (in_environment, first), (in_file, second) = a_value(field, 0), a_value(field, 1)
    monkeypatch.setenv(field.upper(), in_environment)
    dotenv(f"{field.upper()}={in_file}\nMETRICS_{name}={in_environment}\n")
    assert Settings().model_dump() == defaults()
    dotenv(f"{name}={in_file}\n")
    assert getattr(Settings(), field) == second
    monkeypatch.setenv(name, in_environment)
    assert getattr(Settings(), field) == first


@pytest.mark.parametrize("field", list(DEFAULTS))
def test_keywords_win_over_every_variable(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (text, _), (_, keyword) = a_value(field, 1), a_value(field, 0)
    monkeypatch.setenv(f"METRICS_{field.upper()}", text)
    dotenv(f"METRICS_{field.upper()}={text}\n")
    assert getattr(Settings(**{field: keyword}), field) == keyword


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_counts_as_unset(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in DEFAULTS:
        monkeypatch.setenv(f"METRICS_{field.upper()}", empty)
        monkeypatch.setenv(field.upper(), empty)
    assert Settings().model_dump() == defaults()
    dotenv(f"METRICS_MAX_ITEMS='{empty}'\nMAX_ITEMS=7\nREDIS_URL\nMETRICS_RETENTION={empty}\n")
    assert Settings().model_dump() == defaults() | {"max_items": 7}


def test_blanks_around_a_value_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", " redis://host\r")
    assert Settings().redis_url == "redis://host"


def test_names_are_upper_case_and_others_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Max_Items", "7")
    dotenv(
        "redis_url=redis://other\nmetrics_max_items=7\nMAX_ITEMS_PER_PAGE=x\nMETRICS_PORT=x\n"
        "METRICS_FOO=1\nMODEL_CONFIG={}\nnot a line of this kind\n"
    )
    assert Settings().model_dump() == defaults()


def test_dotenv_is_utf_8_of_the_current_folder_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dotenv("\ufeffDATABASE_NAME=größen/${NAME}.db\n")
    monkeypatch.setenv("NAME", "alle")
    assert Settings().database_name == str(tmp_path / "größen/alle.db")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    assert Settings().database_name == str(tmp_path / "below/metrics.db")


def test_paths_are_those_of_the_folder_in_which_they_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/of me")
    monkeypatch.setenv("DATABASE_NAME", "../x.db")
    tls = "rediss://:p%40ss@host/1?ssl_ca_certs=a%20b/ca.pem&db=2&ssl_keyfile=~/key"
    settings = Settings(spool_dir="~/spool", redis_url=tls)
    home = "/home/of%20me"
    expected = f"ssl_ca_certs={quote(str(tmp_path))}/a%20b/ca.pem&db=2&ssl_keyfile={home}/key"
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")

    assert settings.database_name == f"{tmp_path}/../x.db"
    assert settings.spool_dir == "/home/of me/spool"
    assert settings.redis_url == f"rediss://:p%40ss@host/1?{expected}"
    assert settings.taskiq_broker_url == settings.redis_url

    (tmp_path / "below").rmdir()
    assert Settings(redis_url="memory://").database_name == "../x.db"
    assert Settings(database_name="/a/./x.db").database_name == "/a/x.db"


@pytest.mark.parametrize("url", ["redis://host/3", "memory://"])
def test_taskiq_follows_redis_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=url)
    assert settings.taskiq_broker_url == settings.taskiq_result_backend_url == url
    monkeypatch.setenv("TASKIQ_BROKER_URL", "unix:///run/redis.sock")
    settings = Settings(redis_url=url)
    assert settings.taskiq_broker_url == "unix:///run/redis.sock"
    assert settings.taskiq_result_backend_url == url


# --- what is allowed

ALLOWED: dict[str, list[Any]] = {
    "redis_url": [
        "redis://",
        "redis://localhost",
        "redis://localhost/",
        "redis://localhost:65535/15/",
        "redis://:p%40ss@[::1]:6379/0?socket_timeout=1.5&max_connections=10",
        "rediss://user:password@host/1?ssl_cert_reqs=none",
        "redis://host?db=3&password=a@b",
        "redis+sentinel://host/mymaster",
        "redis+sentinel://one,two:26380,three/my-master_1.x/0?socket_timeout=1.5&sentinel_password=a@b",
        "redis+sentinel://user:p,w%40@[::1]:26379,one,[fe80::1]/mymaster/",
        "rediss+sentinel://:p%2Fss@one,two/mymaster/15?ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "unix://user:password@/run/redis.sock?db=2",
        "memory://",
    ],
    "database_name": ["metrics.db", "/var/lib/a b/größe.db", "../x", "memory"],
    "max_items": [1, "1", 10**12],
    "max_waiting_time": [1, "3600", 86400],
    "database_url": [None, "postgresql://host/metrics", "postgres://user:password@a,b/metrics"],
    "enabled": [True, False, "yes", 0],
    "send_interval": [0.001, "0.5", 60],
    "max_buffered": [1, "250000"],
    "max_backlog": [1, "5"],
    "claim_lease": [1, "1.5", 86400],
    "spool_dir": [None, "spool", "/var/spool/my app"],
    "retention": [None, 0.5, "7", 36500],
    "ledger_days": [1, "90"],
    "exit_timeout": [0, "0", 2.5],
    "dashboard_token": [None, "0123456789abcdef", "AZaz09._~-AZaz09", "x" * 1000],
}
REFUSED: dict[str, list[Any]] = {
    "redis_url": [
        "",
        "localhost:6379",
        "localhost",
        "http://localhost",
        "REDIS://localhost",
        "redis:/localhost",
        "redis:localhost",
        *(f"redis://localhost:{port}" for port in ("0", "70000", "port")),
        *(f"redis://localhost/{db}" for db in ("zero", "-1", "1/2", "0#1")),
        *(f"redis://localhost?db={db}" for db in ("one", "-1")),
        *(f"redis://localhost?socket_timeout={seconds}" for seconds in ("soon", "nan")),
        *(f"redis://:{password}@localhost" for password in ("pa/ss", "12/ss", "12?ss", "12#ss")),
        *(f"redis+sentinel://{hosts}/name" for hosts in ("", "a,", ",a", "a:0", "a,b:x", "a,[::1")),
        *(
            f"redis+sentinel://host{path}"
            for path in ("", "/", "//0", "/na:me", "/name/1/2", "/n/x")
        ),
        *(f"redis+sentinel://:{password}@a,b/name" for password in ("p/s", "1?s", "1#s", "p@s")),
        "redis+sentinel://a:b@one,a:b@two/name",
        "redis+sentinel://host/name?db=one",
        "redis+sentinel://host/name#0",
        "unix+sentinel://host/name",
        "redis://[::1",
        "redis://ho st",
        "redis://host\n",
        "unix://",
        "unix://run/redis.sock",
        "unix:///run/redis.sock?db=one",
        None,
        5,
    ],
    "database_name": ["", " ", ":memory:", "a\0b", "sqlite:///metrics.db", "file:metrics.db", None],
    "max_items": [0, -1, "", "many", "1.5", 1.5, None, 10**12 + 1, "9" * 5000],
    "max_waiting_time": [0, "0.5", 0.5, 86401, None],
    "database_url": ["", " ", "metrics.db", "postgresql:host", "mysql://host/metrics", 5],
    "enabled": ["", "perhaps", 2, None],
    "send_interval": [0, -1, 60.1, "nan", "inf", "0,5", None],
    "max_buffered": [0, "x", None],
    "max_backlog": [0, "x", None],
    "claim_lease": [0, 0.9, "inf", "nan", None],
    "spool_dir": [" ", "a\0b", "redis://localhost", 5],
    "retention": [0, -1, "nan", "inf", "never", 36501],
    "ledger_days": [0, 0.5, "nan", "inf", None],
    "exit_timeout": [-0.1, "nan", "inf", None],
    "dashboard_token": [
        "",
        "0123456789abcde",
        "a blank in the middle",
        "päßwörter-sind-das",
        *(f"0123456789abcdef{character}" for character in "&+%#;/?="),
        5,
    ],
}
for _name in ("retention_minute", "retention_hour", "retention_day"):
    ALLOWED[_name] = ALLOWED["retention"]
    REFUSED[_name] = REFUSED["retention"]
for _name in ("taskiq_broker_url", "taskiq_result_backend_url"):
    ALLOWED[_name] = ALLOWED["redis_url"]
    REFUSED[_name] = REFUSED["redis_url"]


def test_every_field_has_its_cases() -> None:
    assert ALLOWED.keys() == REFUSED.keys() == DEFAULTS.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize(("field", "value"), [(f, v) for f in ALLOWED for v in ALLOWED[f]])
def test_allowed(field: str, value: Any) -> None:
    Settings(**{field: value})


@pytest.mark.parametrize(("field", "value"), [(f, v) for f in REFUSED for v in REFUSED[f]])
def test_refused_with_keyword_and_what_is_allowed(field: str, value: Any) -> None:
    message = refusal(**{field: value})
    assert message.startswith(f"{field}=")
    assert f"allowed is {Settings.model_fields[field].description}" in message
    assert len(message) < 400
    assert "\n" not in message
    assert "pydantic" not in message


def test_the_message_as_a_whole() -> None:
    assert (
        refusal(max_items="many") == "max_items='many': allowed is a whole number from 1 to 10^12"
    )
    assert refusal(redis_url="redis://user:secret@host/x") == (
        "redis_url='redis://user:***@host/***': behind the host belongs a database's number, as in "
        "redis://localhost/0; allowed is a URL that begins with redis://, rediss://, redis+sentinel://, "
        "rediss+sentinel://, unix:// or memory://"
    )
    assert refusal(redis_url="redis+sentinel://user:secret@one,two/0/0/0") == (
        "redis_url='redis+sentinel://user:***@one,two/***': it takes the Sentinels' hosts, the master's name and a "
        "database's number, as in redis+sentinel://host1,host2:26380/mymaster/0; write / ? # @ in a password as "
        f"%2F %3F %23 %40; allowed is {Settings.model_fields['redis_url'].description}"
    )
    assert refusal(database_name=":memory:") == (
        "database_name=':memory:': workers and readers open the file from several connections; "
        "allowed is the path of a file"
    )


@pytest.mark.parametrize("place", ["environment", ".env"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_ITEMS", "0"),
        ("METRICS_MAX_ITEMS", "0"),
        ("METRICS_ENABLED", "flase"),
        ("METRICS_EXIT_TIMEOUT", "-1"),
        ("METRICS_DATABASE_NAME", ":memory:"),
    ],
)
def test_refused_with_the_variable_it_came_from(
    name: str, value: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        dotenv(f"{name}={value}\n")
    assert refusal().startswith(f"{name}='{value}': ")


def test_a_keyword_is_named_even_if_a_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_ITEMS", "7")
    assert refusal(max_items=0).startswith("max_items=0: ")


def test_all_wrong_values_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://host")
    dotenv("METRICS_MAX_ITEMS=0\n")
    lines = refusal(max_backlog=0, max_itmes=5, exit_timeout=3).split("\n")
    assert sorted(line.split(":")[0] for line in lines) == [
        "METRICS_MAX_ITEMS='0'",
        "REDIS_URL='http",  # once: taskiq's two follow it, and are not wrong themselves
        "max_backlog=0",
        "max_itmes",
    ]


def test_a_wrong_token_is_not_shown() -> None:
    assert refusal(dashboard_token="S3CR3T").startswith("dashboard_token=***: ")


@pytest.mark.parametrize("name", ["max_itmes", "REDIS_URL", "_env_file", "_build_sources"])
def test_unknown_keywords(name: str) -> None:
    message = refusal(**{name: "secret"})
    assert message.startswith(f"{name}: no such setting; ")
    assert "secret" not in message


def test_an_unknown_keyword_gets_a_hint() -> None:
    assert refusal(max_itmes=5) == "max_itmes: no such setting; did you mean max_items?"
    assert "redis_url, taskiq_broker_url," in refusal(colour="red")


# --- settings as an object


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().max_items = 5


def test_copies_and_pickles_are_equal_and_masked() -> None:
    settings = Settings(redis_url="redis://:S3CR3T@host", taskiq_broker_url="memory://")
    for other in (
        pickle.loads(pickle.dumps(settings)),  # noqa: S301 - our own
        copy.copy(settings),
        copy.deepcopy(settings),
        settings.model_copy(),
    ):
        assert other == settings
        assert hash(other) == hash(settings)
        assert other.taskiq_result_backend_url == "redis://:S3CR3T@host"
        assert "S3CR3T" not in repr(other)


def test_repr_shows_all_but_passwords() -> None:
    settings = Settings(
        redis_url="rediss://user:S3CR3T@host:6380/1",
        taskiq_broker_url="unix:///run/redis.sock?db=1&password=S3CR3T",
        dashboard_token="S3CR3T" * 3,
    )
    for text in (repr(settings), str(settings)):
        assert "redis_url='rediss://user:***@host:6380/1'" in text
        assert "taskiq_broker_url='unix:///run/redis.sock?db=1&password=***'" in text
        assert "taskiq_result_backend_url='rediss://user:***@host:6380/1'" in text
        assert "dashboard_token='***'" in text
        assert "max_items=100" in text
        assert "S3CR3T" not in text


# --- passwords


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://:pw@host", "redis://:***@host"),
        ("redis://user:pw@host:1/2", "redis://user:***@host:1/2"),
        ("redis://user:@host", "redis://user:***@host"),
        ("redis://user:p:w@x@host", "redis://user:***@host"),
        ("redis://token@host", "redis://***@host"),
        ("rediss://host/0?password=pw&db=2", "rediss://host/0?password=***&db=2"),
        ("rediss://host?ssl_password=pw&db=pw", "rediss://host?***&***"),
        ("redis://host/0#pw", "redis://host/0#***"),
        ("unix://user:pw@/run/redis.sock", "unix://user:***@/run/redis.sock"),
        ("unix:///run/a@b.sock?password=pw", "unix:///run/a@b.sock?password=***"),
        ("memory://", "memory://"),
        ("http://user:pw@host", "http://user:***@host"),
        ("localhost:6379", "localhost:6379"),
        # In doubt, hidden.
        ("redis+sentinel://a,b:1/name/0", "redis+sentinel://a,b:1/name/0"),
        ("redis+sentinel://[::1]:1,a/name", "redis+sentinel://[::1]:1,a/name"),
        ("rediss+sentinel://u:p,w@a,b/name/0?db=2", "rediss+sentinel://u:***@a,b/name/0?db=2"),
        ("redis+sentinel://a:pw@b,c:pw@d/name", "redis+sentinel://a:***@d/name"),
        (
            "redis+sentinel://a/name?sentinel_username=me&sentinel_password=pw&x=pw",
            "redis+sentinel://a/name?sentinel_username=***&sentinel_password=***&***",
        ),
        ("redis+sentinel://a,b:pw/name/0", "redis+sentinel://***"),
        ("redis+sentinel://a,b/name/pw", "redis+sentinel://a,b/***"),
        ("redis+sentinel://a/na:me", "redis+sentinel://a/***"),
        ("redis+sentinel://:p/w@a,b/name", "redis+sentinel://***"),
        ("redis+sentinel://:p?w@a,b/name", "redis+sentinel://***"),
        ("redis://:p/w@host", "redis://***"),
        ("redis://:p?w@host", "redis://***"),
        ("redis://:p#w@host", "redis://***"),
        ("redis://host/0?password=p@w", "redis://***"),
        ("redis://user:pw", "redis://***"),
        ("redis://host/pw", "redis://host/***"),
        ("user:pw@host:6379", "***"),
        ("redis:pw@host", "***"),
        ("pw", "***"),
        ("", "***"),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked


@given(
    st.text()
    | st.from_regex(r"(redis|redis\+sentinel|unix)://[^ ]*([:/?#@,&=\[\]][^ ]*)*", fullmatch=True)
)
def test_mask_url_takes_any_text(url: str) -> None:
    assert mask_url(mask_url(url)) == mask_url(url)


MARK = "S3CR3T"
# Even a piece of a password must not be seen, so both of its ends are marked.
PASSWORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("@:/?#,&=%[]")
).map(lambda middle: f"{MARK}{middle}{MARK}")
USUAL = [
    "redis://:{}@host:6379/0",
    "redis://user:{}@host",
    "redis://user:{}@host:port/zero?db=x",
    "rediss://user:{}@[::1]:6379/1?ssl_cert_reqs=none",
    "rediss://host?password={}",
    "rediss://host/0?db=1&password={}&socket_timeout=1",
    "redis+sentinel://user:{}@one,two:26379,[::1]/mymaster/0",
    "rediss+sentinel://one,two/mymaster?sentinel_username=me&sentinel_password={}",
    "unix://user:{}@/run/redis.sock",
    "unix:///run/redis.sock?password={}",
    "http://user:{}@host",
]
ODD = [
    *("redis://{}@host", "redis://host:{}", "redis://:{}", "redis://host/{}", "redis:{}", "{}@h"),
    *("redis+sentinel://a,{}@b/c", "redis+sentinel://a,b:{}/c", "redis+sentinel://a,b/c/{}"),
]


def errors(settings: dict[str, Any]) -> str:
    """What a log would have of the attempt: the error with its traceback, or the settings."""
    try:
        made = Settings(**settings)
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error)) + repr(error)
    return f"{made!r} {made}"


@given(st.sampled_from(USUAL), PASSWORDS)
@example(USUAL[0], f"{MARK}/{MARK}")
@example(USUAL[0], f"{MARK}@/{MARK}")
@example(USUAL[4], f"{MARK}&db={MARK}")
@example(USUAL[9], f"{MARK}#{MARK}")
def test_no_password_is_ever_seen(shape: str, password: str) -> None:
    for url in (shape.format(password), shape.format(quote(password, safe=""))):
        seen = [mask_url(url)]
        for field in ("redis_url", "taskiq_broker_url", "taskiq_result_backend_url"):
            seen += [errors({field: url}), errors({field: url, "max_items": 0})]
        # Pasted into the wrong place.
        seen += [errors({"max_items": url}), errors({"enabled": url}), errors({"redis_url": [url]})]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("METRICS_REDIS_URL", url)
            seen += [errors({}), errors({"max_items": 0})]
            patch.setenv("METRICS_MAX_ITEMS", url)
            seen += [errors({})]
        assert MARK not in "".join(seen)


@given(st.sampled_from(ODD), PASSWORDS)
def test_no_password_is_seen_in_an_odd_place(shape: str, password: str) -> None:
    url = shape.format(quote(password, safe=""))
    assert MARK not in mask_url(url) + errors({"redis_url": url})


# --- the example file


def test_the_example_works_as_it_stands() -> None:
    dotenv(EXAMPLE.read_text(encoding="utf-8"))
    assert Settings().model_dump() == defaults()


def test_the_example_shows_each_variable_with_its_default() -> None:
    setting = re.compile(r"^(?:# )?([A-Z][A-Z_]+)=", re.MULTILINE)
    text = EXAMPLE.read_text(encoding="utf-8")
    assert setting.findall(text) == [
        name.upper() if name in BARE else f"METRICS_{name.upper()}" for name in DEFAULTS
    ]
    dotenv(setting.sub(r"\1=", text))
    assert Settings().model_dump() == defaults()
