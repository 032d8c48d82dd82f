"""Which function is meant by a name that somebody has typed."""

from __future__ import annotations

import difflib
import heapq
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import AmbiguousNameError, UnknownFunctionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

_SHOWN: Final = 5  # names in a message
_CLOSE: Final = 3  # of those that may be meant
_LONGEST: Final = 300  # characters of a name for which close ones are looked for
_COMPARED: Final = 100  # names letter by letter; thousands would take seconds


def resolve(asked: str, names: AbstractSet[str]) -> str:
    """The one of these full names that is meant: the name itself first, else the one that it is the end of.

    Raises:
        UnknownFunctionError: it is no end at a dot of any.
        AmbiguousNameError: it is that of several.
    """
    if asked in names:
        return asked
    fits = sorted(name for name in names if name.endswith(f".{asked}"))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise AmbiguousNameError(f"{asked!r} matches {_listed(fits)}; give more of the name")
    raise UnknownFunctionError(f"no measured function matches {asked!r}{near(asked, names)}")


def near(asked: str, names: Iterable[str]) -> str:
    """What somebody may have meant, as an end of a sentence; empty if nothing is near."""
    wanted = asked.casefold()[:_LONGEST]
    texts = {}  # the whole names, and their last parts
    for name in sorted(names):
        whole = name.casefold()
        texts[whole] = texts[whole.rpartition(".")[2]] = name
    pairs = {one + other for one, other in pairwise(wanted)}

    def likeness(text: str) -> float:
        return sum(map(text.__contains__, pairs)) / (len(text) + len(wanted))

    some = heapq.nlargest(_COMPARED, texts, likeness)
    close = difflib.get_close_matches(wanted, some, _CLOSE)
    found = list(dict.fromkeys(texts[text] for text in close))
    return f"; close: {_listed(found)}" if found else ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
