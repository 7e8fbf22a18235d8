"""What imports print, warn of and log in a zygote, where nobody hears it. A function that imports the same
has it in its log."""

import os
import sys
import warnings
from os import write

import pipsqueak_native as native

from pipsqueak_runtime import failure

if 0:
    from pipsqueak_runtime.shapes import *

imports = native.imports
# Most bytes that are kept of what is printed, and most warnings.
MOST_BYTES = 64 << 10
MOST_WARNINGS = 200

# What has happened, by the numbers of events.
_printed = {}  # type: dict[int, bytes | None]
_warned = {}  # type: dict[int, tuple[str, Warning | str, type[Warning], tuple[str, int]]]
_logged = {}  # type: dict[int, int]
# The highest level of what each module has logged, by the modules' numbers.
_levels = {}  # type: dict[int, int]
_ends = []  # type: list[Callable[[], None]]
_logging_was = None  # type: tuple[int, bool, int, list[int]] | None
_plain_show, _plain_impl, _plain_warning = (
    warnings._showwarnmsg,  # type: ignore[attr-defined]
    warnings._showwarnmsg_impl,  # type: ignore[attr-defined]
    warnings.showwarning,
)


class _AnyText:
    """In the place of a pattern. A list in which somebody collects warnings gets them as ever."""

    def match(self, _text):
        # type: (str) -> bool
        return warnings._showwarnmsg_impl is _plain_impl and warnings.showwarning is _plain_warning  # type: ignore[attr-defined]


class _AnyModule:
    """In the place of a pattern; knows the last one."""

    def match(self, name):
        # type: (str) -> bool
        self.name = name
        return True


_module = _AnyModule()
_EVERY = ("always", _AnyText(), Warning, _module, 0)


def open():
    # type: () -> None
    """Has a file for what is printed."""
    file = os.memfd_create("printed", os.MFD_CLOEXEC)
    _print_to(file)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _print_to(file):
    # type: (int) -> None
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)


def record():
    # type: () -> None
    """Records until `end`."""
    warnings.simplefilter("always")
    warnings.filters[0] = _EVERY  # type: ignore[index]
    warnings._showwarnmsg = _show  # type: ignore[attr-defined]
    if "logging" in sys.modules:
        loaded()


def loaded():
    # type: () -> None
    """Records what is logged; `logging` was just imported."""
    kind = sys.modules["logging"].Logger
    plain = kind.isEnabledFor

    def is_enabled(self, level):
        # type: (Logger, int) -> bool
        _note_level(level)
        return plain(self, level)

    def end():
        # type: () -> None
        kind.isEnabledFor = plain

    kind.isEnabledFor = is_enabled
    _ends.append(end)


def _note_level(level):
    # type: (int) -> None
    module = imports.importing()
    if module is not None and level > _levels.get(module, 0):
        number = imports.note()
        _levels[module] = _logged[number] = level  # type: ignore[index]


def _show(message):
    # type: (warnings.WarningMessage) -> None
    number = imports.note()
    if not _EVERY[1].match(""):
        _plain_show(message)
    elif number is not None and len(_warned) < MOST_WARNINGS:
        # Without what it is about, which would not go as long as it is kept.
        place = (message.filename, message.lineno)
        _warned[number] = (_module.name, message.message, message.category, place)


def end():
    # type: () -> None
    """Keeps what was recorded, and records no longer."""
    global _logging_was
    while _ends:
        _ends.pop()()
    warnings._showwarnmsg = _plain_show  # type: ignore[attr-defined]
    while _EVERY in warnings.filters:  # type: ignore[comparison-overlap]
        warnings.filters.remove(_EVERY)  # type: ignore[attr-defined]
    # Has what was looked up in the filters forgotten.
    warnings.simplefilter("default", _Never, append=True)
    warnings.filters.pop()  # type: ignore[attr-defined]
    room = MOST_BYTES - sum(len(data or b"") for data in _printed.values())
    for number, begin, end in imports.printed():
        room -= end - begin
        _printed[number] = os.pread(1, end - begin, begin) if room >= 0 else None
    _print_to(os.open("/dev/null", os.O_RDWR))
    _logging_was = _logging_is()


class _Never(Warning):
    """Nothing warns of this."""


def _logging_is():
    # type: () -> tuple[int, bool, int, list[int]] | None
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    root = logging.root
    return root.level, root.disabled, root.manager.disable, [id(one) for one in root.handlers]


def tell(events):
    # type: (Iterable[int]) -> str | None
    """Does in a child what an import would have done in it. Returns why it cannot."""
    for number in events:
        if number in _printed:
            if _printed[number] is None:
                return "much is printed"
            sys.stdout.flush()
            write(1, _printed[number])  # type: ignore[arg-type]
        elif number in _warned:
            reason = _warn(*_warned[number])
            if reason:
                return reason
        elif number in _logged and _logging_is() != _logging_was:
            if _logged[number] >= sys.modules["logging"].root.getEffectiveLevel():
                return "logging was configured"
    return None


def _warn(module, message, category, place):
    # type: (str, Warning | str, type[Warning], tuple[str, int]) -> str | None
    filename, line = place
    names = getattr(sys.modules.get(module), "__dict__", {})
    if filename.startswith(failure.HIDDEN):
        # Of who imports, which was the zygote.
        frame = sys._getframe()
        while frame.f_back and frame.f_code.co_filename.startswith(failure.HIDDEN):
            frame = frame.f_back
        filename, line, names = frame.f_code.co_filename, frame.f_lineno, frame.f_globals
        module = names.get("__name__")  # type: ignore[assignment]
    registry = names.setdefault("__warningregistry__", {})
    try:
        warnings.warn_explicit(message, category, filename, line, module, registry)
    except Exception as error:
        return f"a filter makes an error of a {failure.name(error)}, and was set"
    return None
