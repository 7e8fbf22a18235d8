"""Runs packages' own tests with pytest, and tells how each ended: `suite.py DIRECTORY ARGUMENT...`, or as
a function."""

import json
import os
import sys


class Outcomes:
    """Notes how tests end."""

    def __init__(self):
        self.found = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            # Where the package is installed is another folder in a sandbox.
            self.found[report.nodeid.rpartition("site-packages/")[2]] = outcome

    def pytest_collectreport(self, report):
        if report.failed:
            self.found[report.nodeid.rpartition("site-packages/")[2]] = f"not collected: {report.longrepr}"


def run(directory, arguments):
    import pytest

    os.chdir(directory)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    outcomes = Outcomes()
    quiet = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    pytest.main([*quiet, *arguments], plugins=[outcomes])
    return outcomes.found


def handler(event):
    return run(event["directory"], event["arguments"])


if __name__ == "__main__":
    told = os.dup(1)
    os.dup2(2, 1)
    answer = run(sys.argv[1], sys.argv[2:])
    with os.fdopen(told, "w") as file:
        json.dump(answer, file)
    # Tests leave threads and processes behind.
    os._exit(0)
