"""The settings: read from keywords, the environment and `.env`, and checked."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override  # pydantic's own dependency; typing has it from 3.12

from metrics_collector._errors import ConfigurationError
from metrics_collector._support import database_url, sentinel_urls
from metrics_collector._support.environment import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HIDDEN: Final = "***"
_SCHEMES: Final = ("redis", "rediss", *sentinel_urls.SCHEMES, "unix", "memory")
_HOST: Final = r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\],]*)(:[0-9]{0,5})?"
# Numbers that redis reads from the query of a URL, and refuses only when it connects.
_QUERY_NUMBERS: Final[Mapping[str, type[int | float]]] = {
    "db": int,
    "health_check_interval": int,
    "max_connections": int,
    "protocol": int,
    "socket_connect_timeout": float,
    "socket_timeout": float,
    "timeout": float,
}
# Files and folders that it reads as it connects, which may be after a change of the current folder.
_QUERY_PATHS: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
# Also read without the prefix METRICS_, as other programs name them so too.
_BARE: Final = frozenset(
    {"redis_url", "taskiq_broker_url", "taskiq_result_backend_url"}
    | {"database_name", "max_items", "max_waiting_time"}
)
_MALFORMED: Final = "it is malformed; write % / ? # @ : in a password as %25 %2F %3F %23 %40 %3A"
_SHOWN: Final = 100  # characters of a wrong value


def mask_url(url: str) -> str:
    """The URL with `***` in place of each password, for messages and logs.

    Whatever might be a password is hidden as well: a user without one, unknown parameters, all
    behind the scheme if an `@` stands where none belongs, a path where the number of a database
    belongs, and the whole of what is no URL.
    """
    if re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", url):
        return url  # host and port, where the scheme was forgotten
    if database_url.is_one(url):
        return database_url.mask(url)
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme):
        return _HIDDEN
    before_fragment, fragment, _ = rest.partition("#")
    before_query, question, query = before_fragment.partition("?")
    netloc, slash, path = before_query.partition("/")
    user_info, at, host = netloc.rpartition("@")
    # A password with a raw "/", "?" or "#" ends the netloc early, and its rest lies before a later
    # "@". Without a netloc ("unix:///run/a@b.sock") no password can have been cut.
    cut = "@" in rest[len(netloc) :] and (netloc or scheme != "unix")
    if cut or not re.fullmatch(f"{_HOST}(,{_HOST})*", host):
        return f"{scheme}://{_HIDDEN}"
    name = f"({sentinel_urls.NAME}/?)?" if scheme in sentinel_urls.SCHEMES else ""
    if scheme != "unix" and not re.fullmatch(f"{name}[0-9]*/?", path):
        path = _HIDDEN
    user, colon, _ = user_info.partition(":")
    user_info = f"{user}:{_HIDDEN}" if colon else _HIDDEN if at else ""
    query = "&".join(map(_mask_parameter, query.split("&"))) if query else ""
    fragment = f"#{_HIDDEN}" if fragment else ""
    return f"{scheme}://{user_info}{at}{host}{slash}{path}{question}{query}{fragment}"


def _mask_parameter(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    if name in _QUERY_NUMBERS and re.fullmatch(r"[0-9.]{0,10}", value):
        return parameter
    known = name.removeprefix("sentinel_") in {"password", "username"}
    return f"{name}={_HIDDEN}" if known else _HIDDEN


def _check_url(url: str) -> str:
    # No message may quote a part of the URL, as urllib's do: any part may hold a password.
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("it does not begin with one of these schemes")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it holds a blank or a control character; write a blank as %20")
    sentinels = sentinel_urls.split(url)
    for one in (url,) if sentinels is None else sentinels.hosts:
        _check_parts(one)
    return _with_absolute_paths(url, _QUERY_PATHS)


def _check_parts(url: str) -> None:
    try:
        parts = urlsplit(url)
        clear = parts.port != 0 and "#" not in url
        parameters = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError(_MALFORMED) from None
    if not clear:
        raise ValueError(_MALFORMED)
    if parts.scheme == "unix" and (parts.hostname or not parts.path):
        raise ValueError("it takes the full path of a socket, as unix:///run/redis.sock does")
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?|/[0-9]+/?", parts.path):
        raise ValueError("behind the host belongs a database's number, as in redis://localhost/0")
    for name, value in parameters:
        number = _QUERY_NUMBERS.get(name)
        if number and not _is_number(value, number):
            kind = "whole number" if number is int else "number"
            raise ValueError(f"its parameter {name} takes a {kind} of 0 or more")


def _check_database_url(url: str | None) -> str | None:
    if url is None:
        return None
    database_url.check(url)
    return _with_absolute_paths(url, database_url.PATHS)


def _with_absolute_paths(url: str, names: frozenset[str]) -> str:
    """The URL with absolute paths in these of its parameters."""
    before, question, query = url.partition("?")
    parameters = [
        f"{name}={quote(_absolute(unquote_plus(value)))}"
        # Of libpq's: the system's own certificates.
        if (name := one.partition("=")[0]) in names and (value := one.partition("=")[2]) != "system"
        else one
        for one in query.split("&")
    ]
    return f"{before}{question}{'&'.join(parameters)}"


def _is_number(text: str, number: type[int | float]) -> bool:
    try:
        return number(text) >= 0
    except ValueError:
        return False


def _absolute(path: str) -> str:
    """The path from the folder that is the current one now; `~` is the user's home."""
    try:
        return str(Path(path).expanduser().absolute())
    except (OSError, RuntimeError):
        return path  # the current folder was deleted, or nobody's home: whoever opens it says so


def _check_path(path: str) -> str:
    if path == ":memory:":
        raise ValueError("workers and readers open the file from several connections")
    if "://" in path or path.startswith("file:"):
        raise ValueError("a URL is not a path")
    if not path.strip() or "\0" in path:
        raise ValueError("it is empty or holds a NUL")
    return path


def _check_folder(path: str | None) -> str | None:
    if path is not None and ("://" in path or not path.strip() or "\0" in path):
        raise ValueError("it is a URL, empty or holds a NUL")
    return path


def check_token(token: str | None) -> str | None:
    """The token as given.

    Raises:
        ValueError: it is easily guessed, or has characters with a meaning in URLs or headers.
    """
    if token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{16,}", token):
        raise ValueError("it is too short, or has characters with a meaning in URLs")
    return token


MANY_CHARACTERS: Final = "a text of 16 or more of A-Z a-z 0-9 . _ ~ -"
_URL_ALLOWED: Final = (
    "a URL that begins with redis://, rediss://, redis+sentinel://, rediss+sentinel://, "
    "unix:// or memory://"
)
_RedisURL = Annotated[str, AfterValidator(_check_url), Field(description=_URL_ALLOWED)]
_DatabaseURL = Annotated[
    str | None,
    AfterValidator(_check_database_url),
    Field(description="a URL such as postgresql://user:password@host/database"),
]
_Path = Annotated[str, AfterValidator(_check_path), Field(description="the path of a file")]
_Count = Annotated[int, Field(ge=1, le=10**12, description="a whole number from 1 to 10^12")]
_WholeSeconds = Annotated[
    int, Field(ge=1, le=86400, description="a whole number of seconds from 1 to 86400 (a day)")
]
_Interval = Annotated[
    float, Field(gt=0, le=60, description="a number of seconds above 0 and up to 60")
]
_Lease = Annotated[
    float, Field(ge=1, le=86400, description="a number of seconds from 1 to 86400 (a day)")
]
_Timeout = Annotated[
    float, Field(ge=0, le=86400, description="a number of seconds from 0 to 86400 (a day)")
]
_Retention = Annotated[
    float | None, Field(gt=0, le=36500, description="a number of days above 0 and up to 36500")
]
_LedgerDays = Annotated[
    float, Field(ge=1, le=36500, description="a number of days from 1 to 36500")
]
_Folder = Annotated[
    str | None, AfterValidator(_check_folder), Field(description="the path of a folder")
]
_Token = Annotated[str | None, AfterValidator(check_token), Field(description=MANY_CHARACTERS)]
_Switch = Annotated[bool, Field(description="true or false")]


class Settings(BaseSettings):
    """All that can be set, checked and unchangeable.

    A value comes from the keyword, else from the variable `METRICS_` and the field's name in upper
    case. The fields marked * are also read without the prefix; the prefixed name wins. Variables
    stand in the environment, else in the file `.env` of the current folder (UTF-8). Empty ones
    count as unset; those of other programs are left alone. Relative paths are made absolute here:
    a program that changes its current folder later stays with its files.

    Raises:
        ConfigurationError: a value is not allowed, a keyword is not a setting, or there is a `.env`
            that cannot be read. It names all variables and keywords that are wrong, their values
            without passwords, and what is allowed.

    Attributes:
        redis_url: * The Redis database that entries wait in: `redis://`, `rediss://` (TLS),
            `redis+sentinel://` or `rediss+sentinel://` (the master that Sentinels name),
            `unix://` (a socket), or `memory://` (inside this process, with nothing to start).
        taskiq_broker_url: * Where Taskiq's messages go; `redis_url` unless set.
        taskiq_result_backend_url: * Where Taskiq keeps results; `redis_url` unless set.
        database_name: * The path of the SQLite file that entries are saved in, made on first use.
        database_url: The database of PostgreSQL that entries are saved in, in place of that file; what
            else it holds is left alone.
        max_items: * So many entries waiting in Redis make a producer request a flush.
        max_waiting_time: * Whole seconds from one flush request of the scheduler to the next.
        enabled: False: the decorator returns the function itself, and nothing is measured.
        send_interval: Seconds from one send of what this process has recorded to the next.
        max_buffered: Entries that a process holds at most, copies not yet in SQL included.
        max_backlog: Entries that wait in Redis at most; past it a batch is refused whole, and the
            producer keeps it.
        claim_lease: Seconds until another worker takes over what a silent one has claimed.
        spool_dir: The folder that takes what a process can neither send nor hold in memory, nor send
            before its end; None for none. Processes of one machine may share it.
        retention: Days that SQL keeps an entry; None for ever. Rollups and totals stay.
        retention_minute, retention_hour, retention_day: Days that SQL keeps the rollups of each minute,
            hour and day; None for ever. Where minutes are gone, hours are read, and days where hours
            are; so minutes are kept no longer than hours, and those no longer than days.
        ledger_days: Days that SQL remembers what it has of a producer: a copy that comes later
            than that may be saved twice.
        exit_timeout: Seconds that the exit of a process may wait to send its last entries.
        dashboard_token: The token that the dashboard requires; None: it answers this machine only.
    """

    # The defaults are not validated: "" stands for "as redis_url", which nobody can give.
    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=False, hide_input_in_errors=True
    )

    redis_url: _RedisURL = "redis://localhost:6379/0"
    taskiq_broker_url: _RedisURL = ""
    taskiq_result_backend_url: _RedisURL = ""
    database_name: _Path = "metrics.db"
    database_url: _DatabaseURL = None
    max_items: _Count = 100
    max_waiting_time: _WholeSeconds = 60
    enabled: _Switch = True
    send_interval: _Interval = 0.1
    max_buffered: _Count = 100_000
    max_backlog: _Count = 1_000_000
    claim_lease: _Lease = 60.0
    spool_dir: _Folder = None
    retention: _Retention = None
    retention_minute: _Retention = None
    retention_hour: _Retention = None
    retention_day: _Retention = None
    ledger_days: _LedgerDays = 30.0
    exit_timeout: _Timeout = 2.0
    dashboard_token: _Token = None

    if not TYPE_CHECKING:  # checkers shall see the fields as the keywords, with their types

        def __init__(self, **values: object) -> None:
            problems = [_unknown(name) for name in values if name not in Settings.model_fields]
            given = {name: values[name] for name in values if name in Settings.model_fields}
            try:
                super().__init__(**given)
            except ValidationError as error:
                problems += _problems(error, given)
            if problems:  # outside of `except`: pydantic's error, as our context, holds the values
                raise ConfigurationError("\n".join(problems))

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keywords, then variables: environment and `.env` as one source, as a prefixed name wins in either."""
        variables = {field: value for field, (_, value) in _found().items()}
        return init_settings, InitSettingsSource(settings_cls, variables)

    @model_validator(mode="after")
    def _make_paths_absolute(self) -> Self:
        for name in ("database_name", "spool_dir"):
            path: str | None = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, _absolute(path))  # frozen for everybody else
        return self

    @model_validator(mode="after")
    def _default_taskiq_urls(self) -> Self:
        for name in ("taskiq_broker_url", "taskiq_result_backend_url"):
            if not getattr(self, name):
                object.__setattr__(self, name, self.redis_url)  # frozen for everybody else
        return self

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        # `repr`, `str` and rich's output are made of these.
        return [(name, _masked(name or "", value)) for name, value in super().__repr_args__()]


def _masked(name: str, value: Any) -> object:
    if name.endswith("_url") and value is not None:
        return mask_url(value)
    return _HIDDEN if name.endswith("_token") and value is not None else value


def _found() -> dict[str, tuple[str, str]]:
    """Of each field that a variable sets: that variable's name, and its value."""
    names = [(field, name) for field in Settings.model_fields for name in _names(field)]
    values = variables(name for _, name in names)
    # The last one of a field is kept: from the back, that is the prefixed one.
    return {field: (name, values[name]) for field, name in reversed(names) if name in values}


def _names(field: str) -> tuple[str, ...]:
    prefixed = f"METRICS_{field.upper()}"
    return (prefixed, field.upper()) if field in _BARE else (prefixed,)


def _problems(error: ValidationError, given: Mapping[str, object]) -> list[str]:
    """A line for each wrong value: its variable or keyword, the value, and what is allowed."""
    found = _found()  # read again, for the names: they are needed only if a value is wrong
    problems: list[str] = []
    for details in error.errors(include_url=False):
        field = str(details["loc"][0])
        name = field if field in given else found.get(field, (field, ""))[0]
        reason = details.get("ctx", {}).get("error")  # there if it was one of the checks above
        allowed = f"allowed is {Settings.model_fields[field].description}"
        problems.append(
            f"{name}={_shown(field, details['input'])}: {f'{reason}; ' if reason else ''}{allowed}"
        )
    return problems


def _shown(field: str, value: object) -> str:
    if field.endswith("_token"):
        return _HIDDEN
    text = value if isinstance(value, str) else repr(value)
    if field.endswith("_url") or "://" in text or "@" in text:
        text = mask_url(text)
    shown = repr(text) if isinstance(value, str) else text
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _unknown(name: str) -> str:
    close = get_close_matches(name, Settings.model_fields, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(Settings.model_fields)}"
    return f"{name}: no such setting; {hint}"
