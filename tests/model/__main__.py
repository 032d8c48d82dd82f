"""Explore, and tell how far it came: `python -m tests.model [--most 1000000] [--flaw NAME] [SETUP ...]`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from tests.model.explore import explore
from tests.model.setup import Flaw
from tests.model.setups import ALL, LARGE, SMALL


def main() -> int:
    """Run the command; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description="Explore the model of the protocol, from the given setups or all.",
        epilog=f"small setups: {', '.join(SMALL)}; large ones: {', '.join(LARGE)}",
    )
    parser.add_argument("setup", nargs="*", help="by name")
    parser.add_argument("--most", type=int, default=10**9, help="worlds to look at, of each setup")
    parser.add_argument("--flaw", type=str.upper, choices=[flaw.name for flaw in Flaw])
    arguments = parser.parse_args()
    if unknown := set(arguments.setup) - ALL.keys():
        parser.error(f"no setup is called {', '.join(unknown)}")
    flaw = Flaw[arguments.flaw] if arguments.flaw else None
    broken, worlds = 0, 0
    for name in arguments.setup or ALL:
        begin = time.monotonic()
        found = explore(
            replace(ALL[name], flaw=flaw),
            most=arguments.most,
            progress=lambda looked: print(f"{looked:,}", end="\r", file=sys.stderr),
        )
        worlds += found.worlds
        what = "BROKEN" if found.broken else "complete" if found.complete else "not complete"
        print(f"{name}: {found.worlds:,} worlds, {what}, {time.monotonic() - begin:.0f} s")
        if found.broken:
            broken += 1
            print(*(f"    {step}" for step in found.steps), f"  {found.broken}", sep="\n")
        sys.stdout.flush()
    print(f"{worlds:,} worlds in all")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
