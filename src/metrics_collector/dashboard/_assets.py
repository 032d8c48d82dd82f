"""What a browser loads once: our script and style, and the library of charts out of its Python package."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec, module_from_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MISSING: Final = (
    "plotly.js, which draws the charts, is missing: pip install 'metrics-collector[dashboard]'"
)
# Some releases of plotly carry the style of a map in an element that they make as they load, unless there is one of
# this id: under our policy for styles that would be refused, and be an error in the browser's console.
_STYLE_GUARD: Final = re.compile(rb'document\.getElementById\("([0-9a-f]{64})"\)')


@dataclass(frozen=True, slots=True)
class Assets:
    """All files for the browser."""

    version: str  # names what is in them, so that they may be kept for ever
    contents: Mapping[str, bytes]  # by name
    element_ids: tuple[str, ...]  # of elements that a page has to have before plotly is loaded


@lru_cache(maxsize=1)
def load() -> Assets:
    """Read all, once.

    Raises:
        ConfigurationError: the library is not installed, or its script not where it always was.
    """
    folder = resources.files("metrics_collector.dashboard") / "static"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    contents = {file.name: file.read_bytes() for file in files}
    contents["plotly.js"] = plotly = _plotly()
    version = hashlib.sha256()
    for name, content in contents.items():
        version.update(b"%s %d " % (name.encode(), len(content)) + content)
    return Assets(
        version=version.hexdigest()[:16],
        contents=contents,
        element_ids=tuple(sorted({found.decode() for found in _STYLE_GUARD.findall(plotly)})),
    )


def check() -> None:
    """Check that the library is there, without a read that would hold up an event loop.

    Raises:
        ConfigurationError: the library is not installed.
    """
    if find_spec("plotly") is None:
        raise ConfigurationError(_MISSING)


@lru_cache
def compressed(name: str) -> bytes:
    """A file compressed; once, since that takes some tenths of a second for the library."""
    return gzip.compress(load().contents[name])


def content_type(name: str) -> str:
    """The type of a file."""
    return f"{_TYPES[PurePath(name).suffix]}; charset=utf-8"


def _plotly() -> bytes:
    spec = find_spec("plotly")
    if spec is not None:
        # Not imported: of the package we need this one file.
        script = resources.files(module_from_spec(spec)) / "package_data" / "plotly.min.js"
        if script.is_file():
            return script.read_bytes()
    raise ConfigurationError(_MISSING)
