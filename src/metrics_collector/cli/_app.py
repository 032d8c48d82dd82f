"""The typer app: the commands of the extra `cli`, and what they take.

What a command does is in a module of its own, loaded when it is run: help and wrong input are answered at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
import typer.main

from metrics_collector import __version__
from metrics_collector._errors import ConfigurationError
from metrics_collector.cli import _health

# What wrong input raises. In some releases of typer it is a class of click's, in others its own, of no public name.
_WrongInput: Final[Any] = typer.BadParameter.__base__

_LEAST_SECONDS: Final = 0.1
_MOST_SECONDS: Final = 3600.0

app: Final = typer.Typer(
    help="How often functions run, how long they take and how they fail.",
    add_completion=False,
    rich_markup_mode=None,  # plain text, which is as good in a pipe
)


def run(arguments: list[str]) -> int:
    """Run a command; returns the exit status.

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


def _check_seconds(seconds: float) -> float:
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise typer.BadParameter(f"a number from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} is needed")
    return seconds


@app.command()
def demo(
    seconds: Annotated[
        float,
        typer.Option(
            metavar="N",
            callback=_check_seconds,
            show_default=False,  # some releases of typer show it with a stray backslash
            help="How long the service runs (5 if not given).",
        ),
    ] = 5.0,
) -> None:
    """Measure a pretend order service for a while.

    With REDIS_URL set (or METRICS_REDIS_URL; in the environment or in .env) it goes through that Redis, and a worker
    saves the entries. Without, all is inside this one process, which saves them in ./metrics-demo.db.
    """
    from metrics_collector.cli import _demo

    _demo.run(seconds)
