"""User code: found, and called."""

import os
import sys
from contextvars import copy_context

import pipsqueak_native as native

from pipsqueak_runtime import context, failure, forked, json_text, own
from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

Context, Failure = context.Context, failure.Failure
exchange, stay = context.exchange, forked.stay
# A clock that is nobody's to change.
now = native.now
# What is returned as it is. Of all else it is found out whether it must be waited for, or collected.
PLAIN = frozenset([dict, list, tuple, str, int, float, bool, type(None)])
GENERATOR = type(_ for _ in ())
# Flag of the code of `async def`.
COROUTINE = 0x80
# Has the order hold in which a function's code does things, in a zygote's child.
watch = None  # type: native.Imports | None


def load(order, code, refuse):
    # type: (Order, str, Refuse) -> Handler
    """Imports `module.function` of `order` from the folder `code`. Returns the function as taking the
    event, and what is told of the invocation. Where it may not be loaded in this process, `refuse` is told
    why and does not return. In what the import has forked `Elsewhere` is raised."""
    try:
        function = _load(order, code, refuse)
    except BaseException as error:
        stay(error.__cause__ if type(error) is Failure else error)
        if type(error) is not Failure:
            error = failure.of(error)
        raise error from None
    stay()
    return function


def _load(order, code, refuse):
    # type: (Order, str, Refuse) -> Handler
    if order["wider"]:
        from pipsqueak_runtime import environment

        environment.widen()
    context.take(order)
    os.chdir(code)
    sys.path.insert(0, code)
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].ORIGINAL_DIR = code  # type: ignore[attr-defined]
    failure.code = code
    module_name, _, name = order["handler"].rpartition(".")
    if watch:
        watch.begin(code, module_name, refuse)
    else:
        own.make_room(code)
    _restored()
    try:
        # The module itself, and nothing else of a package: every module has this name.
        module = __import__(module_name, fromlist=["__name__"])
    except SyntaxError as error:
        raise failure.of(error, "Runtime.UserCodeSyntaxError") from error
    except ImportError as error:
        about = f"cannot import {module_name}: "
        raise failure.of(error, "Runtime.ImportModuleError", about) from error
    _restored()
    function = getattr(module, name, None)
    if not callable(function):
        message = f"{module_name} has no function {name}"
        raise Failure("Runtime.HandlerNotFound", message)
    if watch:
        watch.end(code)
    return _adapted(function, order)


def _restored():
    # type: () -> None
    """Calls the hooks for a fork's child that were not called yet. One that was started for the
    function alone is no other to its code: they run once ahead of the first invocation."""
    if "snapshot_restore_py" not in sys.modules:
        return
    from pipsqueak_runtime import snapshot

    try:
        snapshot.after()
    except snapshot.HookFailure as error:
        message = f"a hook of register_after_restore failed: {error}"
        trace = failure.trace(error.__cause__)  # type: ignore[arg-type]
        raise Failure("Runtime.AfterRestoreError", message, trace) from error.__cause__


def _adapted(function, order):
    # type: (Callable[..., Any], Order) -> Handler
    """A function of one or two parameters, or an ASGI or WSGI application, told by its parameters."""
    names, is_async = _parameters(function)
    if len(names) == 3 and (is_async or names[0] == "scope"):
        from pipsqueak_runtime import asgi

        return _with_context(asgi.adapt(function), order)
    if len(names) == 2 and names[1].startswith("start_resp"):
        from pipsqueak_runtime import wsgi

        return _with_context(wsgi.adapt(function), order)
    if len(names) == 1:
        return lambda event, _invocation: function(event)
    return _with_context(function, order)


def _with_context(function, order):
    # type: (Callable[[Any, Invoked], Any], Order) -> Handler
    def handle(event, invocation):
        # type: (Any, Invocation) -> Any
        return function(event, Context(order, invocation, exchange.get()))

    return handle


def _parameters(function):
    # type: (Any) -> tuple[tuple[str, ...], bool]
    """Names of the positional parameters that are left to a caller, and whether its answer is awaited;
    no names where that cannot be told."""
    if getattr(function, "__code__", None) is None and not isinstance(function, type):
        function = getattr(function, "__call__", None)  # noqa: B004 — its code is wanted
    code = getattr(function, "__code__", None)
    if code is None:
        return (), False
    bound = getattr(function, "__self__", None) is not None
    # A wrapper that takes whatever comes passes it on to what it wraps.
    while code.co_argcount <= bound and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
        inner = getattr(function, "__code__", None)
        if inner is None:
            break
        code = inner
    return code.co_varnames[bound : code.co_argcount], bool(code.co_flags & COROUTINE)


def call(function, payload, invocation, streams=None):
    # type: (Handler, str, Invocation, Streams | None) -> tuple[bytes, int]
    """Runs a handler. Returns its answer as JSON bytes and the time it took in microseconds. Where the
    invocation is streamed the client has the answer already, and what is returned is null. In what the
    handler has forked `Elsewhere` is raised."""
    try:
        event = json_text.decode(payload)
    except (RecursionError, ValueError) as error:
        reason = f"the event cannot be read: {failure.message(error)}"
        raise Failure("Runtime.UnmarshalError", reason, fit=True) from None
    began = now()
    try:
        # What it sets of context variables is this invocation's alone.
        own = copy_context()
        if streams is None:
            answer = own.run(_answer, function, event, invocation)
        else:
            own.run(exchange.set, streams)
            answer = own.run(_deliver, function, event, invocation)
    except BaseException as error:
        run_us = (now() - began) // 1000
        stay(error)
        if type(error) is not Failure:
            # The process is fit to serve on: a handler that raises may well answer the next request.
            error = failure.of(error, fit=True)
        error.header["run_us"] = run_us
        raise error from None
    run_us = (now() - began) // 1000
    stay()
    try:
        return json_text.marshal(answer), run_us
    except Failure as refusal:
        refusal.header["run_us"] = run_us
        raise


def _deliver(function, event, invocation):
    # type: (Handler, Any, Invocation) -> None
    from pipsqueak_runtime import streaming

    streaming.deliver(exchange.get(), function(event, invocation))  # type: ignore[arg-type]


def _answer(function, event, invocation):
    # type: (Handler, Any, Invocation) -> Any
    answer = function(event, invocation)
    kind = type(answer)
    if kind in PLAIN:
        return answer
    if kind is GENERATOR:
        return list(answer)
    if hasattr(kind, "__await__") or hasattr(kind, "__anext__"):
        from pipsqueak_runtime import event_loop

        wait = event_loop.run if hasattr(kind, "__await__") else event_loop.collect
        return wait(answer)
    return answer
