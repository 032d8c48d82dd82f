"""uWSGI as a module that can be started; the wheel brings it as a library."""

from __future__ import annotations

import pyuwsgi

pyuwsgi.run()
