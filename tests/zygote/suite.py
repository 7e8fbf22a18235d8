"""Runs packages' own tests with pytest, and tells how each ended: `suite.py DIRECTORY ARGUMENT...`, or as
a function."""

import json
import os
import shutil
import sys
import tempfile


class Outcomes:
    """Notes how tests end that run in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.found = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            self.found[self.name(report)] = outcome

    def pytest_collectreport(self, report):
        if report.failed:
            self.found[self.name(report)] = f"not collected: {report.longrepr}"

    def name(self, report):
        # Where the package is installed is another folder in a sandbox, and so is this.
        return report.nodeid.rpartition("site-packages/")[2].replace(self.folder, "")


def run(directory, arguments):
    import pytest

    # Some write beside themselves, which a function's code cannot be.
    folder = tempfile.mkdtemp()
    shutil.copytree(directory, folder, dirs_exist_ok=True)
    os.chdir(folder)
    outcomes = Outcomes(folder)
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
