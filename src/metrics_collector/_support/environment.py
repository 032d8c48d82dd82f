"""Where variables come from: the environment, then the file `.env` of the current folder.

The decorator asks here whether metrics are on, in programs that may never send anything. So
pydantic stays out of it, and python-dotenv is loaded only for a `.env` that has something to say.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from io import StringIO
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DOTENV: Final = ".env"

_ENABLED: Final = "METRICS_ENABLED"
# The words that pydantic takes for a bool, so that the decorator and `Settings` agree.
_TRUE: Final = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE: Final = frozenset({"0", "off", "f", "false", "n", "no"})

_logger = logging.getLogger("metrics_collector")


def variables(names: Iterable[str]) -> dict[str, str]:
    """The values of those of the variables that are set, without blanks around them.

    A name in the environment wins over the same name in `.env`; an empty value counts as unset.

    Raises:
        ConfigurationError: there is a `.env` that cannot be read.
    """
    names = tuple(names)
    found = {name: value for name in names if (value := os.environ.get(name, "").strip())}
    unset = [name for name in names if name not in found]
    text = _dotenv_text() if unset else ""
    # A file that does not contain a name cannot set it, and need not be parsed.
    for name in (name for name in unset if name in text):
        if value := (_dotenv(text).get(name) or "").strip():
            found[name] = value
    return found


def metrics_enabled() -> bool:
    """Whether functions are to be measured: what METRICS_ENABLED says, true if it is unset.

    A value that is neither true nor false is logged once and taken as true, and a `.env` that
    cannot be read sets nothing: metrics must not break the code that they measure. `Settings`
    raises for both.
    """
    try:
        value = variables((_ENABLED,)).get(_ENABLED, "true")
    except ConfigurationError:
        return True
    if value.lower() not in _TRUE | _FALSE:
        _warn(value)
    return value.lower() not in _FALSE


def _dotenv_text() -> str:
    try:
        # Some editors begin UTF-8 with a byte order mark, which is no part of the first name.
        with open(_DOTENV, encoding="utf-8-sig") as file:  # noqa: PTH123 - pathlib takes 5 ms to load
            return file.read()
    except (FileNotFoundError, IsADirectoryError):  # some call their virtual environment `.env`
        return ""
    except UnicodeError:
        problem = "is not UTF-8 text; save it as UTF-8, or remove it"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); make it readable to this user, or remove it"
    # Outside of `except`: a UnicodeError holds the file's content, with its passwords.
    from pathlib import Path

    raise ConfigurationError(f"the file {Path(_DOTENV).absolute()} {problem}")


def _dotenv(text: str) -> Mapping[str, str | None]:
    # Only `${NAME}` in the file makes its meaning depend on the environment.
    return _parse(text, tuple(os.environ.items()) if "${" in text else ())


@lru_cache(maxsize=1)  # a program decorates hundreds of functions, and a parse takes a while
def _parse(text: str, _environment: tuple[tuple[str, str], ...]) -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(stream=StringIO(text))


@lru_cache(maxsize=16)  # once for each wrong value, not once for each function
def _warn(value: str) -> None:
    _logger.warning(
        "%s=%r is neither true nor false, so functions are measured; allowed is %s, or %s",
        _ENABLED,
        value[:40],
        ", ".join(sorted(_TRUE)),
        ", ".join(sorted(_FALSE)),
    )
