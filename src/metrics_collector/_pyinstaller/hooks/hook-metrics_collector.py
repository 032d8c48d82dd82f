"""Recording, saving and reading; a Redis inside the process, if the extra for it is installed."""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

# They need other extras: a program that imports them gets them.
_ON_DEMAND = ("cli", "dashboard", "testing", "__main__", "_pyinstaller")


def _is_base(name: str) -> bool:
    return not name.removeprefix("metrics_collector.").startswith(_ON_DEMAND)


hiddenimports = [
    *collect_submodules("metrics_collector", filter=_is_base),
    # `taskiq worker` and `taskiq scheduler` are found by their entry points.
    "taskiq.cli.worker.cmd",
    "taskiq.cli.scheduler.cmd",
]
datas = collect_data_files("metrics_collector._redis")
if find_spec("fakeredis"):
    hiddenimports += ["lupa.lua51"]  # imported by its name
    datas += collect_data_files("fakeredis")
    # It opens them as `model/../commands.json`, so a folder `model` has to be there.
    module_collection_mode = {"fakeredis.model": "pyz+py"}
