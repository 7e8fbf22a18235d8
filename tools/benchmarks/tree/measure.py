"""What imports bring and what each module of it costs, in fresh interpreters.

Reads a line of JSON for each, {"requires": [packages], "imports": [modules]}, and answers
each with a line: its distributions and, in order of import, its modules with their own time and
private memory, without those of the imports that they cause.

An import sees the distributions that its packages require and no others, as if installed alone:
packages look for others and import what they find. The environment is a folder of links.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

# Run in the interpreter that is measured. Every import that is not there yet goes through
# `_find_and_load`; statm's resident less shared is what the process alone has. Processor time, because
# others may use the machine; files are in the page cache.
MEASURE = """
import sys, time, _frozen_importlib
load = _frozen_importlib._find_and_load
statm = open("/proc/self/statm", "rb", 0)
open_loads, done = [], []
def private():
    statm.seek(0)
    fields = statm.read().split()
    return (int(fields[1]) - int(fields[2])) * 4096
def measured(name, import_):
    if name in sys.modules:
        return load(name, import_)
    inner = [0, 0]
    open_loads.append(inner)
    memory, began = private(), time.process_time_ns()
    try:
        return load(name, import_)
    finally:
        took, grew = time.process_time_ns() - began, private() - memory
        open_loads.pop()
        if open_loads:
            open_loads[-1][0] += took
            open_loads[-1][1] += grew
        done.append((name, (took - inner[0]) // 1000, grew - inner[1]))
_frozen_importlib._find_and_load = measured
failed = []
for name in sys.argv[1:]:
    try:
        __import__(name)
    except Exception as error:
        failed.append(f"{name}: {type(error).__name__}: {error}")
_frozen_importlib._find_and_load = load
import json, os
told = []
for name, us, grew in done:
    module = sys.modules.get(name)
    if module is not None:
        spec = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None) or ""
        told.append((name, os.path.realpath(origin) if "/" in origin else "", us, grew))
print(json.dumps({"modules": told, "failed": failed}))
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Packages:
    """All that is installed beside this interpreter."""

    def __init__(self) -> None:
        from packaging.requirements import Requirement  # type: ignore[import-not-found]

        self.requires: dict[str, list[str]] = {}
        self.files: dict[str, list[str]] = {}
        self.versions: dict[str, str] = {}
        for distribution in importlib.metadata.distributions():
            name = normal(distribution.metadata["Name"])
            wanted = map(Requirement, distribution.requires or [])
            plain = {"extra": ""}
            self.requires[name] = [
                normal(one.name)
                for one in wanted
                if one.marker is None or one.marker.evaluate(plain)
            ]
            self.versions[name] = distribution.version
            files = [str(file) for file in distribution.files or []]
            self.files[name] = [file for file in files if not file.startswith("..")]
            self.root = str(distribution.locate_file(""))
        self.owner = {file: name for name, files in self.files.items() for file in files}

    def closure(self, names: Iterable[str]) -> list[str]:
        closed: set[str] = set()
        open_ = [normal(name) for name in names]
        while open_:
            name = open_.pop()
            if name not in closed and name in self.requires:
                closed.add(name)
                open_.extend(self.requires[name])
        return sorted(closed)

    def link(self, names: Iterable[str], folder: str) -> None:
        """Links what distributions have: whole folders where no other brings anything to them."""
        brings: dict[str, set[str]] = {}
        for name, files in self.files.items():
            for file in files:
                parts = file.split("/")
                for depth in range(1, len(parts)):
                    brings.setdefault("/".join(parts[:depth]), set()).add(name)
        for name in names:
            for file in self.files[name]:
                parts = file.split("/")
                at = next(
                    (
                        "/".join(parts[:depth])
                        for depth in range(1, len(parts))
                        if len(brings["/".join(parts[:depth])]) == 1
                    ),
                    file,
                )
                target = os.path.join(folder, at)
                if not os.path.lexists(target):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.symlink(os.path.join(self.root, at), target)


def measure(packages: Packages, function: dict[str, Any]) -> dict[str, Any]:
    distributions = packages.closure(function["requires"])
    folder = tempfile.mkdtemp(prefix="pipsqueak-bench-")
    try:
        packages.link(distributions, folder)
        variables = {
            "PYTHONPATH": folder,
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            getattr(sys, "_base_executable", sys.executable),
            "-S",
            "-c",
            MEASURE,
            *function["imports"],
        ]
        run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    finally:
        shutil.rmtree(folder)
    if run.returncode:
        return {"distributions": distributions, "modules": [], "failed": [run.stderr[-500:]]}
    told = json.loads(run.stdout.splitlines()[-1])
    modules = []
    for name, origin, us, grew in told["modules"]:
        owner = packages.owner.get(os.path.relpath(origin, packages.root)) if origin else None
        modules.append([name, owner, us, grew])
    return {"distributions": distributions, "modules": modules, "failed": told["failed"]}


def main() -> None:
    packages = Packages()
    for line in sys.stdin:
        print(json.dumps(measure(packages, json.loads(line))), flush=True)


main()
