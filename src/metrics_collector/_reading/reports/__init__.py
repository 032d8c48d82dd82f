"""What people look at: the reports behind the command line and the dashboard.

Beside the public reads they ask more of the database in one go, and remember what cannot change any more. `since` and
`until` are as `list_metrics` takes them. All raise ConfigurationError for a time or a setting that is wrong, and all
but `pipeline` StoreUnavailableError or IncompatibleStoreError where the database cannot be read. Where Redis cannot be
used, a report says what it lacks (`Missing`), and Redis is waited for once, for some seconds.
"""

from metrics_collector._core.pipeline_types import Purged
from metrics_collector._reading.missing import Missing
from metrics_collector._reading.reports.entry_export import entries, entry_count
from metrics_collector._reading.reports.error_report import errors
from metrics_collector._reading.reports.function_report import function
from metrics_collector._reading.reports.overview_report import overview
from metrics_collector._reading.reports.pipeline_report import pipeline
from metrics_collector._reading.reports.remedies import problems
from metrics_collector._reading.reports.report_types import (
    DatabaseState,
    ErrorReport,
    ErrorRow,
    FunctionReport,
    FunctionRow,
    Overview,
    Pipeline,
    ProcessState,
    RedisState,
    Window,
)
from metrics_collector._runtime.backup import backup
from metrics_collector._runtime.manual_purge import purge, purge_time
from metrics_collector._runtime.migration import migrate
from metrics_collector._storage.base import StoredEntry

__all__ = [
    "DatabaseState",
    "ErrorReport",
    "ErrorRow",
    "FunctionReport",
    "FunctionRow",
    "Missing",
    "Overview",
    "Pipeline",
    "ProcessState",
    "Purged",
    "RedisState",
    "StoredEntry",
    "Window",
    "backup",
    "entries",
    "entry_count",
    "errors",
    "function",
    "migrate",
    "overview",
    "pipeline",
    "problems",
    "purge",
    "purge_time",
]
