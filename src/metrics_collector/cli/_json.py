"""JSON on standard output."""

from __future__ import annotations

import json
import sys

from metrics_collector._core.as_json import as_json


def write(value: object) -> None:
    """Write what `as_json` makes of a value.

    In ASCII, so that a terminal obeys nothing that stands in a name.
    """
    json.dump(as_json(value), sys.stdout, indent=2)
    sys.stdout.write("\n")
