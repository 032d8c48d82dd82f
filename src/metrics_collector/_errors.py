"""The errors that a caller may see.

```
MetricsCollectorError
├── UnknownFunctionError      no function is known by that name
├── AmbiguousNameError        the short name matches several functions
├── StoreUnavailableError     Redis or the database could not be reached in time
├── IncompatibleStoreError    Redis too old or a cluster, or a database that is not ours or newer than this code
└── ConfigurationError        a setting or an argument is wrong
```

Errors of the drivers are translated where they arise, so that no type of redis or sqlite3 reaches a caller.
"""

from __future__ import annotations


class MetricsCollectorError(Exception):
    """Base of all errors that this package raises."""


class UnknownFunctionError(MetricsCollectorError, LookupError):
    """No measured function is known by the given name; the message lists close matches."""


class AmbiguousNameError(MetricsCollectorError, LookupError):
    """The given part of a name matches more than one function; the message lists them."""


class StoreUnavailableError(MetricsCollectorError):
    """Redis or the database cannot be used now; the message says what to do."""


class StoreFullError(StoreUnavailableError):
    """Redis answers and can be read, but takes no more; callers see it as the error above."""


class IncompatibleStoreError(MetricsCollectorError):
    """Redis or the database is of a kind or version that this release cannot work with."""


class ConfigurationError(MetricsCollectorError, ValueError):
    """A setting or an argument has a value that is not allowed; the message names what is."""
