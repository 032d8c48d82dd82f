"""The typer app: the commands of the extra `cli`, and what they take.

What a command does is in a module of its own, loaded when it is run: help and wrong input are answered at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import typer.core
import typer.main

from metrics_collector import __version__
from metrics_collector._errors import ConfigurationError
from metrics_collector.cli import _health
from metrics_collector.cli._options import (
    AsJson,
    Format,
    Order,
    Since,
    SinceDay,
    Until,
    What,
    number,
)
from metrics_collector.dashboard import extra_needed

if TYPE_CHECKING:
    from collections.abc import Callable

# What wrong input raises. In some releases of typer it is a class of click's, in others its own, of no public name.
_WrongInput: Final[Any] = typer.BadParameter.__base__

_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 3600.0


class _Command(typer.core.TyperCommand):
    """A command whose help names arguments as manuals do, `FUNCTION`; typer has `{FUNCTION}` and `FUNCTION <str>`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        lines: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if line := param.get_help_record(ctx):
                name = line[0].split()[0] if param.param_type_name == "argument" else line[0]
                lines[param.param_type_name].append((name, line[1]))
        for kind, of_kind in lines.items():
            if of_kind:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(of_kind)


app: Final = typer.Typer(
    help="How often functions run, how long they take and how they fail.",
    add_completion=False,
    rich_markup_mode=None,  # plain text, which is as good in a pipe
)


def _command() -> Callable[[Any], Any]:
    return app.command(cls=_Command)


def run(arguments: list[str]) -> int:
    """Run a command and return the exit status.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    try:
        status = typer.main.get_command(app).main(
            arguments, prog_name="metrics-collector", standalone_mode=False
        )
    except _WrongInput as error:
        raise ConfigurationError(" ".join(error.format_message().split())) from error
    return status if isinstance(status, int) else 0


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - how typer calls it
    if wanted:
        typer.echo(f"metrics-collector {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None: ...


@app.command("health", help=_health.SUMMARY)
def _health_command() -> None:
    """Listed here; `metrics_collector.cli` runs it without typer."""


def _check_name(name: str | None) -> str | None:
    if name == "":
        raise typer.BadParameter("the name of a function is needed")
    return name


@_command()
def demo(
    seconds: Annotated[
        float,
        number(float, _LEAST_SECONDS, _MOST_SECONDS, text="How long the service runs, in seconds."),
    ] = 5,
) -> None:
    """Measure a pretend order service for a while.

    With REDIS_URL set (or METRICS_REDIS_URL; in the environment or in .env) it goes through that Redis, and a worker
    saves the entries. Without, all is inside this one process, which saves them in ./metrics-demo.db.
    """
    from metrics_collector.cli import _demo

    _demo.run(seconds)


@_command()
def stats(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="FILTER", help="A part of the names, or a pattern of the whole with * or ?."
        ),
    ] = None,
    *,
    since: Since = None,
    until: Until = None,
    sort: Order = "total",
    limit: Annotated[int | None, number(int, 1, text="Show the first N functions only.")] = None,
    json: AsJson = False,
) -> None:
    """Show the figures of functions.

    Live and of all time, or those of a window. In a pipe: a line for each function, nothing cut off.
    """
    from metrics_collector.cli import _stats

    _stats.run(wanted, since=since, until=until, order=sort, limit=limit, as_json=json)


@_command()
def top(
    *,
    interval: Annotated[
        float,
        number(float, _LEAST_SECONDS, _MOST_SECONDS, text="Seconds between two readings."),
    ] = 2,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="How far back the figures go: 15m, 24h, 7d.")
    ] = "15m",
) -> int:
    """Watch the functions live.

    Keys: s, ← and → sort, / filters, p pauses, ? explains, q quits.
    """
    from metrics_collector.cli import _top

    return _top.run(interval=interval, since=since)


@_command()
def history(
    function: Annotated[
        str,
        typer.Argument(
            metavar="FUNCTION",
            callback=_check_name,
            help="Its name, or a suffix that matches one function.",
        ),
    ],
    *,
    since: SinceDay = "24h",
    until: Until = None,
    what: What = "calls",
    json: AsJson = False,
) -> None:
    """Draw a function's figures over time.

    On a terminal in local time; in a pipe a table of the steps in which it was called, in UTC.
    """
    from metrics_collector.cli import _history

    _history.run(function, since=since, until=until, what=what, as_json=json)


@_command()
def errors(*, since: SinceDay = "24h", until: Until = None, json: AsJson = False) -> None:
    """Show errors by function and type, the one seen last first.

    On a terminal in local time; in a pipe and in JSON in UTC.
    """
    from metrics_collector.cli import _errors_seen

    _errors_seen.run(since=since, until=until, as_json=json)


@_command()
def export(
    function: Annotated[
        str | None,
        typer.Argument(
            metavar="FUNCTION",
            callback=_check_name,
            help="Its name, or a suffix that matches one function; all if omitted.",
        ),
    ] = None,
    *,
    since: Since = None,
    until: Until = None,
    form: Format = "csv",
    output: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="A file, there once it is whole; - is stdout, as without this option.",
        ),
    ] = "-",
) -> None:
    """Write the saved entries, a line for each.

    The columns are those of the table `metrics`. In CSV a text that a spreadsheet would compute, as it begins with one
    of = + - @, gets a ' before it; JSON lines have every text as it is.
    """
    from metrics_collector.cli import _export

    _export.run(function, since=since, until=until, form=form, output=output)


@_command()
def backup(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="What to write, which must not be there yet; if omitted, one named after the database and the time.",
        ),
    ] = None,
) -> None:
    """Write a copy of the database.

    Workers may save meanwhile: it is of one moment, has been checked, and needs no other file. It does not overwrite.
    """
    from metrics_collector.cli import _backup

    _backup.run(file)


@_command()
def migrate() -> None:
    """Move the SQLite file into PostgreSQL.

    All that DATABASE_NAME has goes into the empty database METRICS_DATABASE_URL, and is checked there. It can be broken
    off, and done again. Producers and workers may run meanwhile; at the end workers refuse the file: start them with
    METRICS_DATABASE_URL.
    """
    from metrics_collector.cli import _migrate

    _migrate.run()


@_command()
def doctor() -> int:
    """Check Redis, worker, scheduler and database.

    A line for each: ok, warn, or FAIL with the remedy. Exit status: 0, 1 if there is a FAIL, 2 for wrong settings.
    """
    from metrics_collector.cli import _doctor

    return _doctor.run()


@_command()
def purge(
    *,
    entries_older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete entries from before it: 30d.")
    ] = None,
    minutes_older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete figures by minute from before it.")
    ] = None,
    hours_older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete figures by hour from before it.")
    ] = None,
    days_older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete figures by day from before it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Delete old entries and figures.

    Totals of all time stay. Without a time, what the METRICS_RETENTION settings no longer keep. Asks before.
    """
    from metrics_collector.cli import _purge

    return _purge.run(
        {
            "entries": entries_older_than,
            "minutes": minutes_older_than,
            "hours": hours_older_than,
            "days": days_older_than,
        },
        sure=yes,
    )


@_command()
def dashboard(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="What to listen on; 0.0.0.0 is all interfaces, and requires the token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, number(int, 0, 65535, text="Port; 0: any free one.")] = 8765,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also accept this host name, as behind a proxy; may be repeated.",
        ),
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The path that a proxy shows it under, such as /metrics, whether or not the proxy strips that.",
        ),
    ] = None,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESSES",
            help="Proxies whose X-Forwarded-Prefix, -Proto and -For are believed: 10.0.0.5,192.168.0.0/16; * for all.",
        ),
    ] = None,
) -> None:
    """Serve a dashboard to browsers.

    Rates, times and errors of all functions. It only reads. METRICS_DASHBOARD_TOKEN is what a browser has to show to
    see it; on any other host than a loopback one it has to be set.
    """
    with extra_needed():
        from metrics_collector.dashboard import _server

    _server.run(
        host,
        port,
        allow_host or [],
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
    )
