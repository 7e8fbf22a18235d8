"""Which modules of distributions a function has imported that nobody had imported for it."""

import sys

from pipsqueak_runtime import own_builtins as __builtins__

ENVIRONMENT = "/pipsqueak/env/"
# An answer has room for some 2,000 names beside the longest body; others are told with the next.
MOST = 1500
# Longest of these.
LONGEST = 200

_known = set()  # type: set[str]
_count = 0


def begin():
    # type: () -> None
    """Takes what is imported now for known, unless the zygote has done so for all its children."""
    if not _known:
        know()


def know():
    # type: () -> None
    """Takes what is imported now for known."""
    global _known, _count
    _known = set(sys.modules)
    _count = len(_known)


def imported():
    # type: () -> list[str]
    """Names of modules that were imported since this was asked last."""
    try:
        return _imported()
    except Exception:
        # Functions put anything into `sys.modules`, under any key.
        return []


def _imported():
    # type: () -> list[str]
    global _count
    fresh = len(sys.modules) - _count
    if not fresh:
        return []
    names = _latest(fresh)
    if len(names) <= MOST:
        _count = len(sys.modules)
    told = names[:MOST]
    _known.update(told)
    return [name for name in told if _is_of_distribution(name)]


def _latest(count):
    # type: (int) -> list[str]
    # They are in the order of their import. A name that is looked at is written to, for it counts its
    # references; so those of a zygote's modules are left alone, or a child would copy their pages.
    names = []
    try:
        for name in reversed(sys.modules):
            if name not in _known:
                names.append(name)
            elif len(names) >= count:
                break
    except RuntimeError:
        # Another thread imports meanwhile.
        return [name for name in list(sys.modules) if name not in _known]
    return names[::-1]


def _is_of_distribution(name):
    # type: (object) -> bool
    # A package may have put anything in the place of a module, or of its attributes.
    if type(name) is not str or len(name) > LONGEST or not name.isprintable():
        return False
    module = sys.modules.get(name)
    try:
        places = module.__file__ or next(iter(module.__path__))  # type: ignore[union-attr]
        return places.startswith(ENVIRONMENT) is True
    except Exception:
        return False
