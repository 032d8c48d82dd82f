"""The URL of a database of PostgreSQL, as libpq reads it: checked, and without its secrets.

No message may quote a part of it: any part may hold a password.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

SCHEMES: Final = ("postgresql", "postgres")
PATHS: Final = frozenset(
    {"passfile", "servicefile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert"}
)
"""Parameters that name files and folders."""

_HIDDEN: Final = "***"
_LAST_PORT: Final = 65535
# A name, an IPv4 or (in brackets) an IPv6 address, or the folder of a socket with its slashes escaped.
_HOST: Final = r"(?:\[[0-9A-Za-z:.%]*\]|[A-Za-z0-9._%-]*)(?::[0-9]{0,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")
_DATABASE: Final = re.compile(r"[A-Za-z0-9_.$%-]{0,63}")
# Parameters that are shown as they are if their value can be one; of others that libpq knows only the name is, and of
# the rest nothing, as it may be a part of a password.
_WORD_OR_NUMBERS: Final = re.compile(r"[a-z-]{1,15}|[0-9,]{1,30}")
_SHOWN: Final = frozenset(
    {"channel_binding", "connect_timeout", "gssencmode", "load_balance_hosts", "port", "sslmode"}
    | {"keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"}
    | {"sslnegotiation", "target_session_attrs", "tcp_user_timeout"}
)
_NAMED: Final = PATHS | {
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "service",
    "sslpassword",
    "user",
}

_MALFORMED: Final = (
    "it is malformed; write % / ? # @ : & in a password as %25 %2F %3F %23 %40 %3A %26"
)


def is_one(url: str) -> bool:
    """Whether it begins as such a URL."""
    return url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def mask(url: str) -> str:
    """One with `***` in place of whatever might be a password."""
    scheme, _, rest = url.partition("://")
    address, question, query = rest.partition("?")
    user_info, at, place = address.rpartition("@")
    hosts, slash, database = place.partition("/")
    # A password with a raw "/", "?" or "@" ends early, and its rest lies behind.
    cut = "@" in query or "/" in user_info or "@" in user_info
    if cut or not _HOSTS.fullmatch(hosts):
        return f"{scheme}://{_HIDDEN}"
    if not _DATABASE.fullmatch(database):
        database = _HIDDEN
    user, colon, _ = user_info.partition(":")
    user_info = f"{user}:{_HIDDEN}" if colon else user
    query = "&".join(map(_mask_parameter, query.split("&"))) if query else ""
    return f"{scheme}://{user_info}{at}{hosts}{slash}{database}{question}{query}"


def _mask_parameter(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    if name in _SHOWN and _WORD_OR_NUMBERS.fullmatch(value):
        return parameter
    return f"{name}={_HIDDEN}" if name in _SHOWN | _NAMED else _HIDDEN


def check(url: str) -> None:
    """Refuse what libpq would not read, as far as that can be said without it.

    Raises:
        ValueError: it is malformed; the message says how it should be.
    """
    scheme, separator, rest = url.partition("://")
    if separator and re.fullmatch(r"postgres(ql)?\+\w+", scheme):
        raise ValueError("leave out the name of a driver, as in postgresql://host/database")
    if scheme.startswith("sqlite"):
        raise ValueError("for a SQLite file leave it unset, and set DATABASE_NAME to the path")
    if not separator or scheme not in SCHEMES:
        raise ValueError("it does not begin with postgresql://")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it holds a blank or a control character; write a blank as %20")
    address, _, query = rest.partition("?")
    user_info, _, place = address.rpartition("@")
    hosts, _, database = place.partition("/")
    ports = re.findall(r":([0-9]+)(?:,|$)", hosts)
    malformed = (
        re.search(r"%(?![0-9A-Fa-f]{2})|%00", url)
        or re.search(r"[/@]", user_info)
        or re.search(r"[/#@]", database)
        or "#" in hosts
        or not _HOSTS.fullmatch(hosts)
        or any(not 0 < int(port) <= _LAST_PORT for port in ports)
    )
    if malformed:
        raise ValueError(_MALFORMED)
    try:
        parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError(_MALFORMED) from None
