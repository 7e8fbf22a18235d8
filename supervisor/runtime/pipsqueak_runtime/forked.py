"""How a process ends that a function has forked and that comes back into the runtime: as in a script, at
its end or by what was raised. It answers nobody."""

import sys

import pipsqueak_native as native

from pipsqueak_runtime import failure
from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *


def stay(error=None):
    # type: (BaseException | None) -> None
    """Raises `Elsewhere` with the error in a process that was forked by the one that was asked."""
    if native.is_elsewhere():
        if error is None:
            raise native.Elsewhere
        raise (
            native.Elsewhere(*error.args)
            if type(error) is native.Elsewhere
            else native.Elsewhere(error)
        )


def leave(error):
    # type: (BaseException | None) -> None
    """Returns where the interpreter is to end as at a script's end; else raises what ends it."""
    if error is None:
        return
    error = error.with_traceback(_own(error.__traceback__))
    if not isinstance(error, SystemExit):
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            # The interpreter tells it then, as it does where that cannot be called.
            pass
        else:
            # It has been told, and the interpreter ends as it does after this one.
            sys.excepthook = lambda *_: None
    raise error


def end(error):
    # type: (BaseException | None) -> NoReturn
    """Ends the process from any of its threads; never returns."""
    import atexit
    import os
    import threading

    code = 0
    try:
        leave(error)
    except SystemExit as exit:
        code = _code(exit.code)
    except BaseException:
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _code(code):
    # type: (object) -> int
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _own(trace):
    # type: (TracebackType | None) -> TracebackType | None
    """The traceback without the runtime's frames ahead of the user's."""
    begin = trace
    while begin and begin.tb_frame.f_code.co_filename.startswith(failure.HIDDEN):
        begin = begin.tb_next
    return begin or trace
