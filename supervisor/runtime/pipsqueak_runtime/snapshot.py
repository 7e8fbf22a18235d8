"""Calls the hooks that packages and functions have registered with `snapshot_restore_py`."""

import sys

if 0:
    from pipsqueak_runtime.shapes import *

NAME = "snapshot_restore_py"
_prepared = 0
_restored = 0


class HookFailure(Exception):
    """A hook has raised."""

    def __init__(self, hook, error):
        # type: (object, BaseException) -> None
        name = getattr(hook, "__qualname__", repr(hook))
        where = getattr(hook, "__module__", "an unknown module")
        super().__init__(f"{name} of {where}: {type(error).__name__}: {error}")


def before():
    # type: () -> None
    """Calls what is to be called ahead of a fork, last in, first out, and was not called by the zygote
    that this one was forked from."""
    global _prepared
    hooks = list(_registered("get_before_snapshot"))
    for hook in reversed(hooks[_prepared:]):
        _call(hook)
    _prepared = len(hooks)


def after():
    # type: () -> None
    """Calls what is to be called after a fork, first in, first out, and was not called yet."""
    global _restored
    hooks = _registered("get_after_restore")
    while _restored < len(hooks):
        hook = hooks[_restored]
        _restored += 1
        _call(hook)


def _registered(getter):
    # type: (str) -> Sequence[Hook]
    # An environment may have a package of that name that knows nothing of this.
    get = getattr(sys.modules.get(NAME), getter, None)
    return get() if get else ()


def _call(hook):
    # type: (Hook) -> None
    function, arguments, named = hook
    try:
        function(*arguments, **named)
    except BaseException as error:
        raise HookFailure(function, error) from error
