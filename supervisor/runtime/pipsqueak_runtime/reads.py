"""What imports have asked of their surroundings, besides what every function of the zygote has.

A zygote serves a function only if each of these has the same answer for the function. Names accumulate
from a zygote to those that are forked from it.
"""

import os
import re
import sys

import pipsqueak_native as native

if 0:
    from pipsqueak_runtime.shapes import *

bootstrap = sys.modules["_frozen_importlib"]  # type: Any
# Stands for all names.
ALL = "*"
# Stands for all names of variables that say how the network is reached.
PROXIES = "*_proxy"
# Modules by which distributions are asked for.
ASKED_BY = ("importlib.metadata", "importlib_metadata", "pkg_resources")

# Names of variables that were read or set.
variables = set()  # type: set[str]
# Names of modules that were looked for and not found.
modules = set()  # type: set[str]
# Names of distributions that were looked for and not found.
distributions = set()  # type: set[str]

_ends = []  # type: list[Callable[[], None]]


def begin():
    # type: () -> None
    """Records until `end`."""
    _ends.append(_watch_variables())
    _ends.append(_watch_modules())
    for name in ASKED_BY:
        loaded(name)
    native.record_getenv(True)


def end():
    # type: () -> None
    """Records no longer."""
    native.record_getenv(False)
    while _ends:
        _ends.pop()()
    # Without the library that records it, nothing is known of what C code reads.
    names = native.names_of_getenv()
    variables.update([ALL] if names is None else names)


def told():
    # type: () -> dict[str, list[str]]
    """All names, as the supervisor is told."""
    return {
        "variables": sorted(variables),
        "modules": sorted(modules),
        "distributions": sorted(distributions),
    }


def note_start(folder, lines):
    # type: (str, Iterable[str]) -> None
    """Notes what ran in `folder` before anything could be recorded: `lines` of its `.pth` files, and modules
    that these have imported. It takes each name that they may read a variable by."""
    texts = [line for line in lines if line.startswith("import")]
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if type(file) is str and file.startswith(folder) and file.endswith(".py"):
            try:
                with open(file, encoding="utf-8", errors="replace") as source:
                    texts.append(source.read())
            except OSError:
                # It is gone, or never was one.
                pass
    for text in texts:
        if "environ" in text or "getenv" in text:
            variables.update(re.findall(r"""["']([A-Za-z_][A-Za-z0-9_]*)["']""", text))


def loaded(name):
    # type: (str) -> None
    """Has questions to a module recorded that was just imported."""
    if name not in ASKED_BY or name not in sys.modules:
        return
    module = sys.modules[name]
    if name == "pkg_resources":
        kind = getattr(module, "WorkingSet", None)
        watch = _watch_working_set
    else:
        kind = getattr(module, "MetadataPathFinder", None)
        watch = _watch_finder
    if kind is not None:
        _ends.append(watch(kind))


def _watch_variables():
    # type: () -> Callable[[], None]
    kind = type(os.environ)  # type: Any
    plain = {
        name: getattr(kind, name)
        for name in ("__getitem__", "__setitem__", "__delitem__", "__iter__")
    }
    # They read each value after its name was given to them.
    iterating = _codes_of_views()

    def note(name):
        # type: (Any) -> None
        if type(name) is bytes:
            name = os.fsdecode(name)
        if type(name) is str:
            variables.add(name)

    def read(self, name):
        # type: (Any, Any) -> Any
        if sys._getframe(1).f_code not in iterating:
            note(name)
        return plain["__getitem__"](self, name)

    def write(self, name, value):
        # type: (Any, Any, Any) -> None
        note(name)
        plain["__setitem__"](self, name, value)

    def delete(self, name):
        # type: (Any, Any) -> None
        note(name)
        plain["__delitem__"](self, name)

    def iterate(self):
        # type: (Any) -> Iterator[Any]
        variables.add(PROXIES if _asks_for_proxies(sys._getframe(1)) else ALL)
        return plain["__iter__"](self)

    kind.__getitem__, kind.__setitem__, kind.__delitem__, kind.__iter__ = (
        read,
        write,
        delete,
        iterate,
    )

    def end():
        # type: () -> None
        for name, method in plain.items():
            setattr(kind, name, method)

    return end


def _codes_of_views():
    # type: () -> set[CodeType]
    import _collections_abc as views

    return {views.ItemsView.__iter__.__code__, views.ValuesView.__iter__.__code__}


def _asks_for_proxies(frame):
    # type: (FrameType | None) -> bool
    # urllib goes through all variables, and takes those of some names.
    for _ in range(3):
        if frame is None:
            return False
        if frame.f_code.co_name == "getproxies_environment":
            return True
        frame = frame.f_back
    return False


def _watch_modules():
    # type: () -> Callable[[], None]
    plain = bootstrap._find_spec

    def find(name, path, target=None):
        # type: (str, Any, Any) -> Any
        spec = plain(name, path, target)
        if spec is None:
            modules.add(name)
        return spec

    def replace(function):
        # type: (Callable[..., Any]) -> None
        bootstrap._find_spec = function
        # It has this by a name of its own, and may be imported meanwhile.
        util = sys.modules.get("importlib.util")
        if util is not None and hasattr(util, "_find_spec"):
            util._find_spec = function  # type: ignore[attr-defined]

    replace(find)
    return lambda: replace(plain)


def _watch_finder(kind):
    # type: (Any) -> Callable[[], None]
    plain = kind.__dict__["find_distributions"]

    def find_distributions(cls, *context, **named):
        # type: (Any, *Any, **Any) -> Iterator[Any]
        found = list(plain.__get__(None, cls)(*context, **named))
        asked = context[0] if context else named.get("context")
        name = getattr(asked, "name", None)
        if name is None:
            distributions.add(ALL)
        elif not found:
            distributions.add(str(name))
        return iter(found)

    kind.find_distributions = classmethod(find_distributions)

    def end():
        # type: () -> None
        kind.find_distributions = plain

    return end


def _watch_working_set(kind):
    # type: (Any) -> Callable[[], None]
    plain_find, plain_iter = kind.find, kind.__iter__

    def find(self, requirement):
        # type: (Any, Any) -> Any
        found = plain_find(self, requirement)
        if found is None:
            distributions.add(str(requirement.key))
        return found

    def iterate(self):
        # type: (Any) -> Iterator[Any]
        distributions.add(ALL)
        return plain_iter(self)

    kind.find, kind.__iter__ = find, iterate

    def end():
        # type: () -> None
        kind.find, kind.__iter__ = plain_find, plain_iter

    return end
