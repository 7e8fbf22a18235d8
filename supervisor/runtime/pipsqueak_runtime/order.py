"""What a function's code does ahead of an import holds for that import, although a zygote has imported the
same ahead of it all.

A zygote's child has modules that the function has not imported yet. Ahead of the first import of each it
is seen whether all is still as it was that the module's own import may have read. Where it is not, the
load ends, and the supervisor starts the function in an interpreter of its own.
"""

import _imp
import builtins
import gc
import os
import sys

import pipsqueak_native as native

from pipsqueak_runtime import output, own, reads

if 0:
    from pipsqueak_runtime.shapes import *

imports = native.imports
bootstrap = sys.modules["_frozen_importlib"]  # type: Any
# What a function's process has without any zygote.
BARE = frozenset(sys.modules)
# Those whose classes are patched, too.
OF_CLASSES = frozenset(
    "asyncio.base_events asyncio.events asyncio.tasks concurrent.futures.process concurrent.futures.thread "
    "datetime http.client io json.decoder json.encoder logging logging.handlers multiprocessing.process "
    "pathlib queue random selectors smtplib socket sqlite3 ssl subprocess threading urllib.request "
    "zipfile".split()
)
# Modules whose attributes are put in the place of others, by what patches, traces or tests; `builtins` first.
PATCHED = (
    "builtins _asyncio _io _posixsubprocess _queue _signal _socket _ssl _thread _warnings asyncio "
    "asyncio.base_events asyncio.events asyncio.locks asyncio.runners asyncio.subprocess asyncio.tasks atexit "
    "codecs collections collections.abc concurrent.futures concurrent.futures.process "
    "concurrent.futures.thread contextlib contextvars copy copyreg ctypes datetime decimal email functools gc "
    "getpass hashlib hmac http.client http.server importlib importlib.abc importlib.machinery "
    "importlib.metadata importlib.util inspect io itertools json json.decoder json.encoder locale logging "
    "logging.config logging.handlers math mimetypes multiprocessing multiprocessing.connection "
    "multiprocessing.context multiprocessing.process multiprocessing.queues operator os pathlib pickle "
    "pkgutil platform posix posixpath queue random re secrets select selectors shutil signal site smtplib "
    "socket socketserver sqlite3 ssl string struct subprocess sys tempfile threading time traceback types "
    "typing unittest urllib.error urllib.parse urllib.request warnings weakref xml.etree.ElementTree zipfile"
).split()

_PLAIN_ATTRIBUTE = type(sys).__getattribute__
_plain_import = builtins.__import__
_plain_find = bootstrap._find_and_load
# Where imports begin, and what watches them there.
_PLACES = [
    (vars(builtins), "__import__", imports.__import__, _plain_import),
    (vars(bootstrap), "_find_and_load", imports._find_and_load, _plain_find),
]


class Types:
    """Types of what a function's code makes."""

    function = type(lambda: None)  # type: type
    code = type((lambda: None).__code__)


class Hooks:
    """What the watch calls, and needs."""

    modules = sys.modules
    places = _PLACES
    objects = gc.get_objects
    types = Types


def record():
    # type: () -> None
    """Records what imports want."""
    imports.record(_plain_find, output.loaded)
    for names, name, watching, _ in _PLACES:
        names[name] = watching


def seal():
    # type: () -> None
    """Takes what there is for what children have ahead of their functions."""
    for names, name, watching, plain in _PLACES:
        if names[name] is watching:
            names[name] = plain
    built_in = set(sys.builtin_module_names)
    own_ones = {name for name in sys.modules if name.startswith("pipsqueak_")}
    early = {name for name in BARE - own_ones - built_in - own.plain if not _imp.is_frozen(name)}
    imports.seal(
        Hooks,
        list(BARE | own_ones | built_in),
        early,
        set(reads.modules),
        tables(),
        list(packages()),
        _acting(),
    )


def packages():
    # type: () -> Iterator[tuple[str, dict[str, Any]]]
    """Modules that are not the interpreter's, each with its dictionary."""
    for name, module in list(sys.modules.items()):
        if not isinstance(module, type(sys)):
            continue
        # One that is loaded when something is asked of it is asked nothing.
        names = _PLAIN_ATTRIBUTE(module, "__dict__")
        file = names.get("__file__")
        if isinstance(file, str) and isinstance(name, str) and not name.startswith("pipsqueak_"):
            if name not in BARE and not _is_of_interpreter(file):
                yield name, names


def _is_of_interpreter(file):
    # type: (str) -> bool
    return file.startswith(LIBRARY) and "/site-packages/" not in file


def _acting():
    # type: () -> list[int]
    """Numbers of the operations that call something, or change an object other than a module's own names."""
    # Nothing that is not there may be imported: the folders of packages would be looked at, and what they have
    # be remembered, which a child may see more of.
    before = set(sys.modules)
    if sys.version_info >= (3, 13):
        from _opcode_metadata import opmap
    else:
        # It does without its library, which would stay mapped.
        sys.modules.setdefault("_opcode", None)  # type: ignore[arg-type]
        from opcode import opmap
    numbers = {number for name, number in opmap.items() if name.startswith(ACTING)}
    for name in set(sys.modules) - before:
        del sys.modules[name]
    return [number for number in numbers if number < 256]


# The interpreter's library.
LIBRARY = os.path.dirname(os.__file__) + "/"
ACTING = (
    "BEFORE_",
    "CALL",
    "DELETE_ATTR",
    "DELETE_SUBSCR",
    "INPLACE_",
    "LOAD_SPECIAL",
    "SETUP_WITH",
    "STORE_ATTR",
    "STORE_SLICE",
    "STORE_SUBSCR",
)


def tables():
    # type: () -> list[tuple[str, dict[str, Any]]]
    """What is put in the place of others, by what patches: the names of modules and classes of the interpreter,
    each with its dictionary."""
    tables = []
    for name in PATCHED:
        module = sys.modules.get(name)
        if type(module) is not type(sys):
            continue
        tables.append((name, vars(module)))
        if name in OF_CLASSES:
            tables += _classes(module)
    return tables


def _classes(module):
    # type: (ModuleType) -> Iterator[tuple[str, dict[str, Any]]]
    """The tables of a module's classes. Those of the interpreter's own cannot be changed."""
    for name, value in vars(module).items():
        if isinstance(value, type) and getattr(value, "__module__", None) == module.__name__:
            if value.__flags__ & HEAP_TYPE and not issubclass(value, BaseException):
                # The view of it tells what it is a view of.
                yield f"{module.__name__}.{name}", gc.get_referents(vars(value))[0]


HEAP_TYPE = 1 << 9


def difference():
    # type: () -> str | None
    """What is otherwise than it was when the load began, and may make a difference to an import."""
    found = imports.differences()
    if found["others"]:
        return f"{found['others'][0]} was changed"
    for name in found["variables"]:
        if _is_read(name):
            return f"the variable {name} was set"
    reason = _of_lists(found["lists"])
    if reason:
        return reason
    changed = imports.changed_attribute()
    return changed and f"{changed} was changed"


def _is_read(name):
    # type: (str) -> bool
    if name.lower().endswith("_proxy") and reads.PROXIES in reads.variables:
        return True
    return name in reads.variables or reads.ALL in reads.variables


def _of_lists(before):
    # type: (dict[str, list[int]]) -> str | None
    if "argv" in before:
        return "sys.argv was changed"
    for name in ("meta_path", "path_hooks"):
        if name in before and not _begins_as(getattr(sys, name), before[name]):
            return f"sys.{name} was changed"
    return _of_path(before["path"]) if "path" in before else None


def _begins_as(now, before):
    # type: (list[Any], list[int]) -> bool
    return [id(one) for one in now[: len(before)]] == before


def _of_path(before):
    # type: (list[int]) -> str | None
    now = sys.path
    known = set(before)
    if known - {id(one) for one in now}:
        return "sys.path was changed"
    last = max(at for at, one in enumerate(now) if id(one) in known)
    for at, one in enumerate(now):
        if id(one) in known or not isinstance(one, str):
            continue
        if not os.path.isdir(one):
            if os.path.exists(one) and at < last:
                return f"sys.path was changed: {one}"
        else:
            reason = _of_folder(one, at < last)
            if reason:
                return reason
    return None


def _of_folder(folder, is_ahead):
    # type: (str, bool) -> str | None
    names = own.names(folder)
    missed = [name for name in names & reads.modules if own.is_module(folder, name)]
    if missed:
        return f"{folder} has a module {missed[0]}, which a package has looked for,"
    if is_ahead:
        found = imports.untaken(list(names))
        imports.shadow([name for name in found if own.is_module(folder, name)])
    return None


Hooks.difference, Hooks.tell = difference, output.tell  # type: ignore[attr-defined]
