"""`python -m tests.benchmarks [GROUP ...] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.harness import Line, Run, print_table, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS = (
    "calls",
    "whole",
    "sending",
    "lag",
    "saving",
    "memory",
    "delay",
    "imports",
    "reading",
    "history",
    "postgres",
    "growth",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run groups of lines, print them as a table, and write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    every = ", ".join(GROUPS)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {every}; else all")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: to see that it runs"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks.json"), help="where to write the JSON"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; there are {every}")
    found: list[Line] = []
    for group in options.groups or GROUPS:
        print(f"{group} ...", file=sys.stderr, flush=True)
        module = importlib.import_module(f"tests.benchmarks.{group}")
        found += (one._replace(group=group) for one in module.lines(Run(quick=options.quick)))
    print_table(found)
    write_json(options.json, found)
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
