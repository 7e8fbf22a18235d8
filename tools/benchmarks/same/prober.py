"""What a process can see of itself when it has imported some modules."""

import sys

MODULES = {MODULES}
# What is the runtime's own, or of this call alone.
OWN = ("pipsqueak", "AWS_LAMBDA_", "_HANDLER", "LAMBDA_TASK_ROOT")

outcome = {}
for name in MODULES:
    try:
        __import__(name)
        outcome[name] = "imported"
    except BaseException as error:
        outcome[name] = f"{type(error).__name__}: {error}"


def handler(event):
    # After the imports, which are to find what they find without this.
    import atexit
    import gc
    import importlib.metadata
    import locale
    import logging
    import os
    import re
    import signal
    import threading
    import time
    import warnings

    def named(text):
        """A text without addresses and numbers that are random."""
        return re.sub(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+", "#", str(text))

    def read(path):
        with open(path) as file:
            return file.read()

    def link(path):
        try:
            return named(os.readlink(path))
        except OSError:
            return None

    libraries = {}
    for line in read("/proc/self/maps").splitlines():
        _, _, _, device, inode, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and ".so" in path[0] and "pipsqueak_" not in path[0]:
            libraries.setdefault(path[0], set()).add((device, inode))
    distributions = list(importlib.metadata.distributions())
    files = [
        os.path.join(folder, one) for folder, _, ones in os.walk("/tmp") for one in ones
    ]
    modules = sorted(map(str, list(sys.modules)))
    return {
        "outcome": outcome,
        "names": {
            name: sorted(map(str, dir(sys.modules[name]))) for name in MODULES if name in sys.modules
        },
        "modules": [name for name in modules if _is_installed(name)],
        "other modules": [
            name for name in modules if not _is_installed(name) and not name.startswith(OWN)
        ],
        "distributions": sorted(f"{one.metadata['Name']} {one.version}" for one in distributions),
        "entry points": sorted(
            f"{point.group} {point.name} {point.value}" for one in distributions for point in one.entry_points
        ),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": sorted(named(read(f"/proc/self/task/{one}/comm")) for one in os.listdir("/proc/self/task")),
        "descriptors": sorted(str(link(f"/proc/self/fd/{one}")) for one in os.listdir("/proc/self/fd")),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if not name.startswith(OWN)
        },
        "signals": {
            str(number): named(signal.getsignal(number)) for number in signal.valid_signals()
        },
        "time zone": [*time.tzname, time.timezone],
        "locale": locale.setlocale(locale.LC_ALL),
        "libraries": sorted(libraries),
        "libraries mapped twice": sorted(path for path, ones in libraries.items() if len(ones) > 1),
        "files": sorted(named(path) for path in files),
        "path": sys.path,
        "finders": [named(one) for one in sys.meta_path],
        "path hooks": [named(one) for one in sys.path_hooks],
        "filters of warnings": [named(one) for one in warnings.filters],
        "logging": [logging.root.level, logging.root.disabled, named(logging.root.handlers)],
        "at exit": atexit._ncallbacks(),
        "flags": named(sys.flags),
        "options of warnings": sys.warnoptions,
        "limits": [sys.getrecursionlimit(), gc.get_threshold(), gc.isenabled(), sys.getswitchinterval()],
        "hooks": [named(sys.excepthook), named(sys.displayhook), named(threading.excepthook)],
        "streams": [named(type(one)) + str(one.encoding) + str(one.errors) for one in (sys.stdout, sys.stderr)],
        "folder": os.getcwd(),
        "arguments": sys.argv,
        "executable": sys.executable,
        "prefix": [sys.prefix, sys.base_prefix],
    }


def _is_installed(name):
    module = sys.modules.get(name)
    try:
        return "site-packages" in (module.__file__ or next(iter(module.__path__)))
    except Exception:
        return False
