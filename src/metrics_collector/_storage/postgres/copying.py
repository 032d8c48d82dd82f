"""Many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._storage.postgres.session import Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import psycopg

    from metrics_collector._storage.postgres.connection import Connection
    from metrics_collector._storage.postgres.session import Steps


def copy(table: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> Steps[None]:
    """Add rows to a table; columns: name → type, in the order in which rows have them."""

    def work(driver: psycopg.Connection[Any]) -> None:
        into = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with driver.cursor() as cursor, cursor.copy(into) as sent:
            sent.set_types([*columns.values()])
            for row in rows:
                sent.write_row(row)

    def use(connection: Connection) -> None:
        connection.use(work)

    yield Use(use)
