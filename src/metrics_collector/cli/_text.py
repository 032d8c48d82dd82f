"""Texts out of Redis and SQL, which anybody may have written there."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text with escapes for all that a terminal would obey, such as line ends and colours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
