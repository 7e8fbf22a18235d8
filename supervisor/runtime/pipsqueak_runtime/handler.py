"""User code: found, called, and its failures told."""

import json
import sys
import time


class Failure(Exception):
    """A failure of the function, as the supervisor is told it."""

    def __init__(self, kind, message, trace=(), **rest):
        super().__init__(message)
        self.header = {
            "errorType": kind,
            "errorMessage": message,
            "stackTrace": list(trace),
            **rest,
        }


class Context:
    """What a handler may ask about its invocation; names as in AWS Lambda's Python runtime."""

    def __init__(self, load, invoke):
        self.function_name = load["function"]
        self.function_version = str(load["version"])
        self.memory_limit_in_mb = str(load["memory"] >> 20)
        self.aws_request_id = invoke["request_id"]
        self._deadline = time.monotonic() + invoke["timeout_ms"] / 1000

    def get_remaining_time_in_millis(self):
        """Milliseconds until this invocation is ended."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def load(order, code):
    """Imports `module.function` of `order` from the folder `code`. Returns the function as taking
    (event, context)."""
    import os

    if order["wider"]:
        from pipsqueak_runtime import environment

        environment.widen()
    os.environ.update(order["variables"])
    os.chdir(code)
    sys.path.insert(0, code)
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].ORIGINAL_DIR = code
    _restored()
    module_name, _, name = order["handler"].rpartition(".")
    try:
        module = __import__(module_name, fromlist=["*"])
    except SyntaxError as error:
        raise Failure("Runtime.UserCodeSyntaxError", str(error), _trace(error)) from None
    except ImportError as error:
        message = f"cannot import {module_name}: {error}"
        raise Failure("Runtime.ImportModuleError", message, _trace(error)) from None
    except BaseException as error:
        raise Failure(type(error).__name__, str(error), _trace(error)) from None
    _restored()
    function = getattr(module, name, None)
    if not callable(function):
        message = f"{module_name} has no function {name}"
        raise Failure("Runtime.HandlerNotFound", message)
    if _positional(function) == 1:
        return lambda event, _context: function(event)
    return function


def _restored():
    """Calls the hooks for a fork's child that were not called yet. One that was started for the
    function alone is no other to its code: they run once ahead of the first invocation."""
    if "snapshot_restore_py" not in sys.modules:
        return
    from pipsqueak_runtime import snapshot

    try:
        snapshot.after()
    except snapshot.HookFailure as failure:
        message = f"a hook of register_after_restore failed: {failure}"
        raise Failure("Runtime.AfterRestoreError", message, _trace(failure.__cause__)) from None


def call(function, payload, context):
    """Runs a handler. Returns its answer as JSON bytes and the time it took in microseconds."""
    event = json.loads(payload)
    began = time.perf_counter_ns()
    try:
        answer = function(event, context)
    except BaseException as error:
        run_us = (time.perf_counter_ns() - began) // 1000
        kind, trace = type(error).__name__, _trace(error)
        # The process is fit to serve on: a handler that raises may well answer the next request.
        raise Failure(kind, str(error), trace, run_us=run_us, fit=True) from None
    run_us = (time.perf_counter_ns() - began) // 1000
    try:
        return json.dumps(answer, allow_nan=False).encode(), run_us
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the answer is not JSON: {error}"
        raise Failure("Runtime.MarshalError", message, run_us=run_us, fit=True) from None


def _positional(function):
    code = getattr(function, "__code__", None)
    if code is None:
        return 2
    bound = getattr(function, "__self__", None) is not None
    return code.co_argcount - bound


def _trace(error):
    """The traceback's lines, the user's frames alone."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    hidden = __file__.rpartition("/")[0]
    shown = [
        frame
        for frame in frames
        if not frame.filename.startswith((hidden, "<frozen importlib"))
    ]
    return [line.rstrip("\n") for line in traceback.format_list(shown)]
