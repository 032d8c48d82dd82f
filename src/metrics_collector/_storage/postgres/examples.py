"""Questions to the database that people can ask in psql."""

from __future__ import annotations

from typing import Final

_SLOWEST: Final = """\
SELECT to_timestamp(created_at) AS at, execution_time, outcome, error_type
FROM metrics_collector.metrics
WHERE func_name = {name}
  AND created_at >= {since:.0f} AND created_at < {until:.0f}
ORDER BY execution_time DESC
LIMIT 20;"""


class Examples:
    """`StoreExamples` of one database."""

    queries = (
        "SELECT func_name, count(*), sum(error_occurred)\n  FROM metrics_collector.metrics GROUP BY func_name;",
        "SELECT error_type, count(*) FROM metrics_collector.metrics\n  WHERE error_occurred = 1 GROUP BY error_type;",
        "SELECT * FROM metrics_collector.metrics\n  ORDER BY execution_time DESC LIMIT 5;",
    )

    def shell(self) -> str:
        """The command of psql on the database, whose URL has a password that is not shown."""
        return 'psql "$METRICS_DATABASE_URL"'

    def slowest(self, func_name: str, since: float, until: float) -> str:
        """The query for the slowest entries of a function between two moments."""
        name = "'" + func_name.replace("'", "''") + "'"
        return _SLOWEST.format(name=name, since=since, until=until)
