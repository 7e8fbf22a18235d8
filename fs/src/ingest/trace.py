"""Prints which files of an environment are read while modules are imported, in order.

`python -c ... ROOT SECONDS FILE`, with JSON in the file: `modules` to import, `explored` packages whose public
subpackages are imported too, `beside` folders to find other packages in.
"""

import importlib
import json
import os
import pkgutil
import site
import sys
import time


def main():
    root, until = sys.argv[1], time.monotonic() + float(sys.argv[2])
    with open(sys.argv[3]) as file:
        wanted = json.load(file)
    told = os.fdopen(os.dup(1), "w", errors="surrogateescape")
    # What packages print at import is nobody's business here.
    os.dup2(2, 1)
    seen = set()
    # Whether an extension module was loaded since the mapped libraries were last looked at.
    loaded = False

    def note(path):
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str) and path.startswith(root) and path not in seen:
            seen.add(path)
            told.write(path[len(root):] + "\n")

    def note_libraries():
        nonlocal loaded
        if loaded:
            # First: opening the list is an event too.
            loaded = False
            with open("/proc/self/maps") as maps:
                for line in maps:
                    _, found, path = line.rstrip("\n").partition(root)
                    note(found + path)

    def follow(event, arguments):
        nonlocal loaded
        if event == "open":
            note_libraries()
            note(arguments[0])
        elif event == "import" and arguments[1]:
            note_libraries()
            note(arguments[1])
            loaded = True

    def load(name):
        if time.monotonic() < until:
            try:
                return importlib.import_module(name)
            except BaseException:
                # A package that cannot be imported here is read in no order.
                return None

    for folder in wanted["beside"]:
        site.addsitedir(folder)
    sys.addaudithook(follow)
    for name in wanted["modules"]:
        load(name)
    for name in wanted["explored"]:
        package = load(name)
        for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
            if found.ispkg and not found.name.startswith("_") and "test" not in found.name:
                load(f"{name}.{found.name}")
    note_libraries()
    told.close()
    # Whatever was imported may have threads, or work for the end, that nobody needs.
    os._exit(0)


main()
