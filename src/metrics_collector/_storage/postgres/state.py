"""How the database is, for whoever looks after it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.units import counted
from metrics_collector._storage.postgres.reads import QUERIES
from metrics_collector._storage.postgres.session import NOT_ON_THE_DISK, begin
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from metrics_collector._storage.postgres.session import Steps

_TRIAL: Final = 1_000_000  # bytes, about what a flush of some thousand entries takes


def extent() -> Steps[dict[str, Any]]:
    """What `StoreDescription` says of one that can be read, but for whether it can be written."""
    ((size,),) = yield Statement(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
        "WHERE relnamespace = 'metrics_collector'::regnamespace AND relkind = 'r'"
    )
    ((version, commit),) = yield Statement(
        "SELECT current_setting('server_version'), current_setting('synchronous_commit')"
    )
    if commit in NOT_ON_THE_DISK:  # then ours say otherwise
        commit = "on"
    standbys, _ = yield from _standbys()
    server = f"PostgreSQL {version.split()[0]}, synchronous_commit = {commit}"
    if standbys:
        server += f", {counted(standbys, 'standby', 'standbys')}"
    return {**(yield from QUERIES.extent()), "size": size, "server": server}


def warning() -> Steps[str | None]:
    """As `Store.warning`: of a server that can lose what it has committed."""
    ((fsync, pages),) = yield Statement(
        "SELECT current_setting('fsync'), current_setting('full_page_writes')"
    )
    if "off" in {fsync, pages}:
        return (
            "the server can lose or damage what is saved when its machine stops: set "
            f"{'fsync' if fsync == 'off' else 'full_page_writes'} = on in its postgresql.conf"
        )
    standbys, synchronous = yield from _standbys()
    if standbys and not synchronous:
        return (
            "a failover to a standby loses the last entries that were saved, as none of them is synchronous: set "
            "synchronous_standby_names in the server's postgresql.conf"
        )
    return None


def _standbys() -> Steps[tuple[int, bool]]:
    """How many there are, and whether a commit waits for any."""
    ((count, names),) = yield Statement(
        "SELECT (SELECT count(*) FROM pg_stat_replication), current_setting('synchronous_standby_names')"
    )
    return int(count), bool(names)


def refusal() -> Steps[str | None]:
    """Why this user cannot write, or make the tables; `None` if that is possible."""
    ((standby, user, database, exists, creating, owner, owning),) = yield Statement(
        "SELECT pg_is_in_recovery(), current_user::text, current_database()::text, "
        "to_regnamespace('metrics_collector') IS NOT NULL, "
        "CASE WHEN to_regnamespace('metrics_collector') IS NULL "
        "THEN has_database_privilege(current_database(), 'CREATE') "
        "ELSE has_schema_privilege('metrics_collector', 'CREATE') END, "
        "pg_get_userbyid(relowner)::text, pg_has_role(relowner, 'USAGE') "
        "FROM (SELECT 1) AS one LEFT JOIN pg_class ON relname = 'meta' "
        "AND relnamespace = to_regnamespace('metrics_collector')"
    )
    if standby:
        return "it is a read-only standby; a worker needs the URL of the primary"
    if owning is False:  # no privilege lets another user make the table of a day, or drop it
        return f"its tables belong to {owner}, and not to {user}; workers log in as their owner"
    if not creating:
        where = "SCHEMA metrics_collector" if exists else f'DATABASE "{database}"'
        return f'the user {user} may not make tables there: GRANT CREATE ON {where} TO "{user}"'
    return None


def try_writing() -> Steps[None]:
    """Write something that is not committed."""
    yield from begin()
    yield Statement(
        "INSERT INTO rejected_entries (raw, reason, rejected_at) VALUES (?, '', 0)",
        (os.urandom(_TRIAL),),  # which nothing can compress
    )
    yield Statement("ROLLBACK")
