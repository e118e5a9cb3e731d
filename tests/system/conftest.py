"""What the system tests have to say at the end of a run, whichever process ran them.

A test leaves a line with ``record_property("figure", ...)``.
"""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = {
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for kind, value in report.user_properties
        if kind == "figure"
    }
    if figures:
        terminalreporter.section("figures of the system tests")
        for figure in sorted(figures):
            terminalreporter.write_line(figure)
