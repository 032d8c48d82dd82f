"""The errors of PostgreSQL and its driver as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._errors import (
    ConfigurationError,
    IncompatibleStoreError,
    MetricsCollectorError,
    StoreUnavailableError,
)
from metrics_collector._storage.reopening import BeginAgainError

if TYPE_CHECKING:
    import psycopg

_SHOWN: Final = 300  # characters of what the server says

_READ_ONLY: Final = (
    "it is a read-only standby; name all hosts in the URL, with target_session_attrs=read-write, "
    "so that the one is found that can be written; the entries wait in Redis"
)
_RIGHTS: Final = (
    "to save, let this user make tables (GRANT CREATE ON DATABASE ... TO ...), or own those of the "
    "schema metrics_collector; to read, GRANT SELECT on all tables of it, and on those of days to come"
)
_DISK_FULL: Final = "the server's disk is full; make room, the entries wait in Redis"
_CONNECTIONS: Final = "it has no connection left; raise max_connections, the entries wait in Redis"
_STARTING: Final = "it starts or ends just now; the entries wait in Redis"
_LOCKED: Final = "another session holds a lock; the entries wait in Redis"
_LOGIN: Final = "check user and password in METRICS_DATABASE_URL"
_NO_DATABASE: Final = "make it with CREATE DATABASE, or name another one in METRICS_DATABASE_URL"
_AWAY: Final = (
    "check that it runs, and host and port in METRICS_DATABASE_URL; the entries wait in Redis"
)

# By SQLSTATE, or its first two letters.
_REMEDIES: Final = {
    "08": _AWAY,
    "25006": _READ_ONLY,
    "28": _LOGIN,
    "3D000": _NO_DATABASE,
    "42501": _RIGHTS,
    "42P01": "its tables are not whole: restore a copy, or drop the schema metrics_collector",
    "53100": _DISK_FULL,
    "53200": "the server has no memory left; the entries wait in Redis",
    "53300": _CONNECTIONS,
    "55P03": _LOCKED,
    "57014": "the statement took too long; the entries wait in Redis",
    "57P": _STARTING,
    "58": "the server's disk does not answer; the entries wait in Redis",
    "XX001": "its data is damaged; restore a copy, the entries wait in Redis",
    "XX002": "its data is damaged; REINDEX, or restore a copy; the entries wait in Redis",
}
# A refused connection brings no SQLSTATE, but what libpq and the server say.
_REFUSALS: Final = {
    "password authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "no encryption": "it may ask for TLS: sslmode=require; or let its pg_hba.conf accept this user",
    "pg_hba.conf": "let its pg_hba.conf accept this user from this host",
    'role "': _LOGIN,
    'database "': _NO_DATABASE,
    "too many c": _CONNECTIONS,
    "connection slots": _CONNECTIONS,
    "starting up": _STARTING,
    "shutting down": _STARTING,
    "recovery mode": _STARTING,
    "read-only": _READ_ONLY,
    "certificate": "check sslmode, sslrootcert and the host's name in METRICS_DATABASE_URL",
    "SSL": "check sslmode in METRICS_DATABASE_URL",
}
# Of transactions that can be begun again at once: a deadlock, or a standby that has changed what was read.
_AGAIN: Final = {"40001", "40P01"}


def translated(error: psycopg.Error, label: str) -> MetricsCollectorError:
    """The driver's error as one of ours, in one line with the remedy."""
    said = " ".join(str(error).split())
    shown = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
    state = error.sqlstate
    if state in _AGAIN:
        return BeginAgainError(f"the database {label} cannot be used ({shown})")
    remedy = _remedy(said, state)
    return StoreUnavailableError(
        f"the database {label} cannot be used ({shown})" + (f": {remedy}" if remedy else "")
    )


def _remedy(said: str, state: str | None) -> str | None:
    if state is None:
        return next((remedy for part, remedy in _REFUSALS.items() if part in said), _AWAY)
    for length in (5, 3, 2):
        if state[:length] in _REMEDIES:
            return _REMEDIES[state[:length]]
    return None


def malformed(label: str) -> ConfigurationError:
    """What it means that libpq cannot read the URL: what it says may hold a part of it."""
    return ConfigurationError(
        f"METRICS_DATABASE_URL={label}: libpq cannot read it; allowed is "
        "postgresql://user:password@host:port/database?parameters, with libpq's parameters"
    )


def too_old(label: str, version: int, oldest: int) -> IncompatibleStoreError:
    """What is wrong with a server of an old version; versions as `server_version_num` has them."""
    return IncompatibleStoreError(
        f"the database {label} is PostgreSQL {version // 10000}; metrics-collector needs {oldest // 10000} or newer"
    )


def not_unicode(label: str, encoding: str) -> IncompatibleStoreError:
    """What is wrong with a database that cannot hold every name."""
    return IncompatibleStoreError(
        f"the database {label} has the encoding {encoding}; make one with CREATE DATABASE ... ENCODING 'UTF8'"
    )


def newer(label: str, version: int, known: int) -> IncompatibleStoreError:
    """What is wrong with tables of a later release."""
    return IncompatibleStoreError(
        f"the tables in the database {label} are those of a newer release (schema {version}, this release knows "
        f"{known}); upgrade metrics-collector here, or use another database"
    )


def not_ours(label: str) -> IncompatibleStoreError:
    """What is wrong with a schema of our name that another program has made."""
    return IncompatibleStoreError(
        f"the schema metrics_collector in the database {label} is another program's; use another database"
    )


def moving(label: str) -> IncompatibleStoreError:
    """What is wrong with tables into which a file is being moved."""
    return IncompatibleStoreError(
        f"a SQLite file is being moved into the database {label}: wait, or end that by metrics-collector migrate"
    )


def not_empty(label: str) -> StoreUnavailableError:
    """What is wrong with a database into which no file can be moved."""
    return StoreUnavailableError(
        f"the database {label} has entries of its own, and only an empty one can take those of a file; use another one"
    )
