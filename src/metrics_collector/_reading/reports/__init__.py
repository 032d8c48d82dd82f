"""What people look at: the reports behind the command line and the dashboard.

Beside the public reads they ask more of the database in one go, and remember what cannot change any more.
"""

from metrics_collector._records import Purged
from metrics_collector._reports._errors import errors
from metrics_collector._reports._export import entries, entry_count
from metrics_collector._reports._function import function
from metrics_collector._reports._overview import overview
from metrics_collector._reports._pipeline import pipeline
from metrics_collector._reports._problems import Problem, problems
from metrics_collector._reports._purge import purge
from metrics_collector._reports._shapes import (
    DatabaseState,
    ErrorRow,
    FunctionReport,
    FunctionRow,
    Overview,
    Pipeline,
    ProcessState,
    RedisState,
    SlowEntry,
    StoredEntry,
    Window,
)

__all__ = [
    "DatabaseState",
    "ErrorRow",
    "FunctionReport",
    "FunctionRow",
    "Overview",
    "Pipeline",
    "Problem",
    "ProcessState",
    "Purged",
    "RedisState",
    "SlowEntry",
    "StoredEntry",
    "Window",
    "entries",
    "entry_count",
    "errors",
    "function",
    "overview",
    "pipeline",
    "problems",
    "purge",
]
