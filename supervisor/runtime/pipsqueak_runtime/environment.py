"""An environment that has more packages than that of the zygote which a process was forked from."""

import importlib
import os
import sys

FOLDER = f"/pipsqueak/env/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"

_known = set()  # type: set[str]


def note():
    # type: () -> None
    """Takes the `.pth` files that are there for those that the interpreter has read at its start."""
    _known.update(_found())


def lines():
    # type: () -> list[str]
    """The lines of those files."""
    found = []
    for name in sorted(_found()):
        try:
            with open(f"{FOLDER}/{name}", encoding="utf-8", errors="replace") as file:
                found += file.read().splitlines()
        except OSError:
            # The interpreter could not read it either.
            pass
    return found


def forget():
    # type: () -> None
    """Forgets what the folders on the path were seen to have: a child may see more there, and in folders that
    are as old. To do this in each child would copy the pages of all finders."""
    importlib.invalidate_caches()
    for name in ("importlib.metadata", "importlib_metadata"):
        # Its finder has a method for this, which cannot be called ahead of CPython 3.13.
        folder = getattr(sys.modules.get(name), "FastPath", None)
        clear = getattr(getattr(folder, "__new__", None), "cache_clear", None)
        if clear:
            clear()


def widen():
    # type: () -> None
    """Takes in what has come since, as the interpreter would have at its start. Nothing was looked for since a
    zygote has forgotten what there was."""
    # It is not there in an environment without any package. What is provided to everybody comes last.
    if FOLDER not in sys.path and os.path.isdir(FOLDER):
        sys.path.insert(-1, FOLDER)
    fresh = [name for name in sorted(_found()) if name not in _known]
    if fresh:
        import site

        for name in fresh:
            site.addpackage(FOLDER, name, None)
        _known.update(fresh)
    if "pkg_resources" in sys.modules:
        # It looks once, when it is imported.
        working_set = getattr(sys.modules["pkg_resources"], "working_set", None)
        if working_set is not None and FOLDER in working_set.entries:
            working_set.entries.remove(FOLDER)
            working_set.add_entry(FOLDER)


def _found():
    # type: () -> list[str]
    try:
        return [name for name in os.listdir(FOLDER) if name.endswith(".pth") and name[0] != "."]
    except OSError:
        return []
