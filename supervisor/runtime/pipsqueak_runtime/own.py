"""Modules beside a function's handler that have the names of others. Where a plain interpreter is started
in the function's folder, they come before packages and most of the standard library."""

import os
import sys

from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

# Names of modules that every interpreter has when it begins, which nothing comes before.
plain = set()  # type: set[str]


def names(folder):
    # type: (str) -> set[str]
    """Names of the modules in a folder, and of folders, which may be packages."""
    try:
        return {entry.partition(".")[0] for entry in os.listdir(folder) if _may_be_module(entry)}
    except OSError:
        return set()


def _may_be_module(entry):
    # type: (str) -> bool
    dot = entry.find(".")
    return dot < 0 or entry[dot:] in (".py", ".pyc", ".so") or entry[-3:] == ".so"


def of_loaded(folder, found):
    # type: (str, Iterable[str]) -> list[str]
    """Those of the names in the folder that are of modules which are loaded already, and not by every
    interpreter."""
    return [name for name in found if name in sys.modules and _comes_first(folder, name)]


def _comes_first(folder, name):
    # type: (str, str) -> bool
    if name in plain or name in sys.builtin_module_names:
        return False
    return is_module(folder, name) and not sys.modules["_imp"].is_frozen(name)


def is_module(folder, name):
    # type: (str, str) -> bool
    """Whether a name of a module in a folder is not that of a folder without code of its own."""
    path = f"{folder}/{name}"
    if not os.path.isdir(path):
        return True
    return any(entry.partition(".")[0] == "__init__" for entry in os.listdir(path))


def make_room(folder):
    # type: (str) -> None
    """Has the function's code find its own modules, and import anew what was imported without these."""
    if of_loaded(folder, names(folder)):
        for name in list(sys.modules):
            top = name.partition(".")[0]
            if top not in plain and not top.startswith("pipsqueak_"):
                if getattr(sys.modules[name], "__file__", None):
                    del sys.modules[name]
