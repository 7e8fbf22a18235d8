"""An environment that has more packages than that of the zygote which a process was forked from."""

import os
import sys

FOLDER = "/pipsqueak/env/lib/python%d.%d/site-packages" % sys.version_info[:2]

_known = set()


def note():
    """Takes the `.pth` files that are there for those that the interpreter has read at its start."""
    _known.update(_found())


def widen():
    """Takes in what has come since, as the interpreter would have at its start. Nothing was imported since a
    zygote has invalidated its finders' caches."""
    # It is not there in an environment without any package. What is provided to everybody comes last.
    if FOLDER not in sys.path and os.path.isdir(FOLDER):
        sys.path.insert(-1, FOLDER)
    fresh = [name for name in sorted(_found()) if name not in _known]
    if fresh:
        import site

        for name in fresh:
            site.addpackage(FOLDER, name, None)
        _known.update(fresh)


def _found():
    try:
        return [name for name in os.listdir(FOLDER) if name.endswith(".pth") and name[0] != "."]
    except OSError:
        return []
