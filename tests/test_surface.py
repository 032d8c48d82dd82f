"""What the package shows, and what importing it does not load."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import types

import metrics_collector

SURFACE = [
    "AmbiguousNameError",
    "ConfigurationError",
    "FunctionMetrics",
    "HistoryPoint",
    "IncompatibleStoreError",
    "MetricsCollector",
    "MetricsCollectorError",
    "Settings",
    "Statistics",
    "StoreUnavailableError",
    "UnknownFunctionError",
    "flush",
    "get_metrics",
    "history",
    "list_metrics",
    "measure",
    "metrics_collector",
    "send",
    "statistics",
]
MODULES = {"cli", "dashboard", "tasks", "testing"}
LATER = {
    "aiosqlite",
    "dotenv",
    "fakeredis",
    "lupa",
    "pydantic",
    "pydantic_settings",
    "redis",
    "rich",
    "starlette",
    "taskiq",
    "taskiq_redis",
    "typer",
}
SLOW = {"dataclasses", "datetime", "pathlib", "urllib.parse"}  # milliseconds each


def fresh(program: str) -> str:
    """What a program prints in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    return done.stdout


def test_the_surface_is_what_was_designed_and_sorted() -> None:
    assert metrics_collector.__all__ == SURFACE


def test_nothing_else_of_ours_is_public() -> None:
    of_ours = {
        name
        for name, value in vars(metrics_collector).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "").startswith("metrics_collector")
    }

    assert of_ours <= set(SURFACE)


def test_each_name_of_the_surface_is_there_and_listed() -> None:
    for name in SURFACE:
        assert getattr(metrics_collector, name).__name__ == name
    assert set(SURFACE) <= set(dir(metrics_collector))


def test_a_star_import_gives_the_surface() -> None:
    program = "from metrics_collector import *; print(*sorted(n for n in dir() if n[0] != '_'))"

    assert fresh(program).split() == SURFACE


def test_what_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(metrics_collector, "settings")


def test_the_public_modules_are_few_and_none_bears_a_name_of_the_surface() -> None:
    modules = {module.name for module in pkgutil.iter_modules(metrics_collector.__path__)}

    assert {name for name in modules if not name.startswith("_")} <= MODULES
    assert not modules & set(SURFACE)


def test_importing_all_modules_replaces_nothing_of_the_surface() -> None:
    program = """
import importlib, pkgutil, metrics_collector
surface = {name: getattr(metrics_collector, name) for name in metrics_collector.__all__}
for module in pkgutil.walk_packages(metrics_collector.__path__, "metrics_collector."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(*(name for name, value in surface.items() if getattr(metrics_collector, name) is not value))
"""

    assert fresh(program).split() == []


def test_importing_and_decorating_load_no_driver() -> None:
    program = f"""
import sys, metrics_collector
@metrics_collector.metrics_collector
def function(): ...
metrics_collector.statistics()
print(*sorted({LATER} & set(sys.modules)))
"""

    assert fresh(program).split() == []


def test_importing_and_decorating_load_no_slow_module_beyond_asyncios() -> None:
    program = f"""
import sys, asyncio
before = set(sys.modules)
from metrics_collector import metrics_collector
@metrics_collector
def function(): ...
print(*sorted({SLOW} & (set(sys.modules) - before)))
"""

    assert fresh(program).split() == []


def test_settings_load_pydantic_when_they_are_first_asked_for() -> None:
    program = """
import sys, metrics_collector
before = "pydantic" in sys.modules
from metrics_collector import Settings
print(before, "pydantic" in sys.modules, Settings is metrics_collector.Settings)
"""

    assert fresh(program).split() == ["False", "True", "True"]


def test_the_version_is_that_of_the_installed_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", metrics_collector.__version__)
    assert metrics_collector.__version__ == importlib.metadata.version("metrics-collector")
