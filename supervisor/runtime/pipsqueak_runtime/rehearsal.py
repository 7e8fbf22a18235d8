"""What every start does, done once where nobody waits for it.

A child that waits for its function shares its pages with its zygote until it changes them, and each
that a start changes first costs a fault and a copy. Importing this is a part of it.
"""

import os
import sys

from pipsqueak_runtime import context, handler, json_text

if 0:
    from pipsqueak_runtime.shapes import *

CODE = "import sys\n\ndef handler(event):\n    return event\n"
VARIABLES = (
    "_HANDLER",
    "LAMBDA_TASK_ROOT",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
)


def run():
    # type: () -> None
    """Does it, and leaves nothing of it but variables that each start sets anew."""
    fresh = [name for name in VARIABLES if name not in os.environ]
    context.take({"version": 0, "variables": dict.fromkeys(fresh, "")})
    names = {}  # type: dict[str, Any]
    exec(compile(CODE, __name__, "exec"), names)
    _, run_us = handler.call(lambda event, _invocation: names["handler"](event), "{}", {})
    json_text.encode({"run_us": run_us})
    if handler.watch:
        handler.watch.rehearse(__file__.rsplit("/", 2)[0])
    del sys.modules[__name__]
