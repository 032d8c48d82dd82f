"""What PyInstaller has to know of this package; it finds it by the entry point `pyinstaller40`.

It sees imports. The hooks add what a frozen program needs beyond them: files, and modules imported by their names.
"""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Where the hooks are; each belongs to the module that its file is named after."""
    return [str(Path(__file__).parent / "hooks")]
