"""`metrics-collector top`."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("textual.widgets")  # each is imported by its name
