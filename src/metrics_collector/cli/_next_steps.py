"""What to do after the demo."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from metrics_collector.cli._console import console

if TYPE_CHECKING:
    from metrics_collector._storage.base import StoreExamples

_CODE: Final = """\
from metrics_collector import metrics_collector

@metrics_collector  # above any def or async def
"""


def tell(database_name: str, examples: StoreExamples, *, embedded: bool) -> None:
    """Show how to look at the figures and how to measure one's own service.

    Args:
        embedded: Redis was in this process, so that nobody's settings lead there.
    """
    settings = f"REDIS_URL=memory:// DATABASE_NAME={shlex.quote(database_name)} \\\n  "
    command = f"{settings if embedded else ''}metrics-collector dashboard"
    console.print("To look at it in a browser, or in a SQL shell:", "", sep="\n")
    _show(command)
    _show(examples.shell(), *examples.queries)
    console.print("In a service of your own:", "", sep="\n")
    _show(_CODE)


def _show(*blocks: str) -> None:
    for block in blocks:
        for line in block.splitlines():
            console.print(f"  {line}".rstrip(), soft_wrap=True)
    console.print()
