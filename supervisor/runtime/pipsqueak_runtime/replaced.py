"""What imports replace in modules of others.

A function that imports the same packages in another order, or not all of them, would see something else. So a
zygote does without a module that does this: its children import it when the function does.
"""

import sys

import pipsqueak_native as native

from pipsqueak_runtime import order

if 0:
    from pipsqueak_runtime.shapes import *

# Replaced by what only tells how a process has failed, which no import reads.
TOLD = {"sys.excepthook", "sys.unraisablehook", "threading.excepthook"}

# So many names are told.
TELLING = 3


class Watch:
    """Tells what was replaced since it was asked last."""

    def __init__(self):
        # type: () -> None
        self.held = native.Held()
        self.news("")

    def news(self, name):
        # type: (str) -> list[str]
        """Names of what is not of the package of the module `name`, and was replaced."""
        packages = [one for one in order.packages() if not _is_initializing(one[1])]
        found = self.held.replaced(top(name), sys.modules, order.tables(), packages)
        return [one for one in found if one not in TOLD]


def told(names):
    # type: (list[str]) -> str
    """Some of the names, for who reads why a module is in no zygote."""
    more = len(names) - TELLING
    return ", ".join(names[:TELLING]) + (f" and {more} more" if more > 0 else "")


def top(name):
    # type: (str) -> str
    """The package of a module."""
    return name.partition(".")[0]


def _is_initializing(names):
    # type: (dict[str, Any]) -> bool
    """True if a module, whose names these are, is still being imported: it is at work on itself."""
    return getattr(names.get("__spec__"), "_initializing", False)
