"""What the rights of a user do not allow, in words: which command or keys, and what to allow.

`redis.call` ends a script by such an error, which has the line and maybe the command in it; `redis.pcall` leaves it to
the script, so it is made to note it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Redis 6.2 and 7.0 know these texts, and later ones another for what happens in a script.
_REFUSED: Final = re.compile(
    r"has no permissions|No permissions to access|The user executing the script (?:can't|is lacking)"
)
_NO_MULTI: Final = "EXEC without MULTI"  # what EXEC says where MULTI was refused, and hides that
_KEY: Final = re.compile(r"access (?:one of the|at least one of the|a) key")
_COMMAND: Final = re.compile(r"run the '([^']+)' command")
_SCRIPT: Final = re.compile(r"\b(?:f_)?([0-9a-f]{40})\b")
_LINE: Final = re.compile(r"user_script: ?([0-9]+)")
_CALL: Final = re.compile(r"redis\.p?call\('([A-Z]+)'")

# In front of a script's first line, so that the others keep their numbers. The names are of this file.
_BEFORE: Final = (
    "local real, refused = redis, ''; local redis = setmetatable({pcall = function(...) "
    "local answer = real.pcall(...); local problem = type(answer) == 'table' and answer.err; "
    "if problem then problem = tostring(problem); "
    "if string.find(problem, 'ACL failure', 1, true) or string.find(problem, 'The user executing', 1, true) then "
    "refused = select(1, ...) .. ' ' .. select(2, ...) end end; "
    "return answer end}, {__index = real}); local function main() "
)
_AFTER: Final = "\nend\nlocal answer = main(); return {refused, answer}"


def noting(script: str) -> str:
    """A script that returns the command and key of a `redis.pcall` that was refused, or "", and then its own answer."""
    return _BEFORE + script + _AFTER


def is_one(error: str) -> bool:
    """Whether what Redis says is that a user may not do something."""
    return _REFUSED.search(error) is not None or error == _NO_MULTI


def in_words(error: str, scripts: Mapping[str, tuple[str, str]], patterns: Sequence[str]) -> str:
    """What was refused by an error of Redis that `is_one`, and the remedy.

    Args:
        scripts: name and text of each, by its SHA-1.
        patterns: of the keys that the command was given, as an ACL has them.
    """
    if _KEY.search(error):
        return f"its user has no permission to use a key that this needs; {_allow(patterns)}"
    found = _SCRIPT.search(error)
    name, text = scripts.get(found[1], ("", "")) if found else ("", "")
    line = _LINE.search(error)
    named = ["multi"] if error == _NO_MULTI else _COMMAND.findall(error)
    commands = named or (
        _CALL.findall(text.splitlines()[int(line[1]) - 1]) if text and line else []
    )
    return not_allowed(commands, name) if commands else f"{error}; {_allow()}"


def not_allowed(commands: Sequence[str], script: str = "", key: str = "") -> str:
    """That commands were refused, in a script and of a key maybe, and what to allow."""
    shown = " or ".join(command.upper().replace("|", " ") for command in commands)
    where = f" in the script {script}" if script else ""
    of = f" on {key[:100]!r}" if key else ""
    return f"its user has no permission to run {shown}{of}{where}; {_allow([f'+{one.lower()}' for one in commands])}"


def _allow(rules: Sequence[str] = ()) -> str:
    what = " ".join(rules) or "what the guide lists"
    return f'allow {what} in its ACL, of which the guide "Operations" has the lines for each kind of user'
