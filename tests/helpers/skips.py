"""Turns skipped tests into failed ones, for machines that must have all that the tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


class SkipsFail:
    """A pytest plugin; what only some Python versions can do is to be left out, not skipped."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a test that was skipped; an expected failure only looks like one, and stays."""
        report = yield
        return report if hasattr(report, "wasxfail") else _failed_if_skipped(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Fail a module that was skipped as a whole."""
        report = yield
        return _failed_if_skipped(report)


def _failed_if_skipped(report: Report) -> Report:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (with CI=true a skip is a failure)"
    return report
