"""Which modules of distributions a function has imported that nobody had imported for it."""

import sys

ENVIRONMENT = "/pipsqueak/env/"
# An answer has room for some 2,000 names beside the longest body; others are told with the next.
MOST = 1500

_known = set()
_count = 0


def begin():
    """Takes what is imported now for known, unless the zygote has done so for all its children."""
    if not _known:
        know()


def know():
    """Takes what is imported now for known."""
    global _known, _count
    _known = set(sys.modules)
    _count = len(_known)


def imported():
    """Names of modules that were imported since this was asked last."""
    global _count
    if len(sys.modules) == _count:
        return []
    names = _unknown()
    if len(names) <= MOST:
        _count = len(sys.modules)
    told = names[:MOST]
    _known.update(told)
    return [name for name in told if _is_of_distribution(sys.modules.get(name))]


def _unknown():
    # New ones come last. To look at the others' names too would copy the pages that those are in, which
    # a function shares with its zygote.
    expected, names = len(sys.modules) - _count, []
    try:
        for name in reversed(sys.modules):
            if name not in _known:
                names.append(name)
            elif len(names) >= expected:
                return names
    except RuntimeError:
        # Another thread imports at this moment.
        names = [name for name in list(sys.modules) if name not in _known]
    return names


def _is_of_distribution(module):
    # A package may have put anything in the place of a module, or of its attributes.
    try:
        places = module.__file__ or next(iter(module.__path__))
        return places.startswith(ENVIRONMENT)
    except Exception:
        return False
