"""A function's process: loads its handler once, then serves invocations."""

import os
import sys

from pipsqueak_runtime import channel, handler, news


def serve(own, code):
    """Serves the supervisor until it closes the channel, with the code in the folder `code`; never
    returns."""
    os.set_inheritable(own, False)
    # A function that is killed has told what it has printed.
    sys.stdout.reconfigure(line_buffering=True)
    news.begin()
    message = channel.receive(own)
    if message is None:
        os._exit(0)
    order = message[0]
    several = None
    if order["concurrency"] > 1:
        # Ahead of the handler's import, which may remember the streams.
        from pipsqueak_runtime import concurrency

        several = concurrency.Several(own, order)
    try:
        function = handler.load(order, code)
    except handler.Failure as failure:
        answer(own, {"error": failure.header})
        os._exit(1)
    if several:
        several.serve(function)
    while True:
        message = channel.receive(own)
        if message is None:
            os._exit(0)
        invocation, payload, _ = message
        answer(own, *run(function, order, invocation, payload))


def run(function, order, invocation, payload):
    """Runs the handler once. Returns the header and the body of the answer."""
    context = handler.Context(order, invocation)
    try:
        body, run_us = handler.call(function, payload, context)
    except handler.Failure as failure:
        return {"error": failure.header}, b""
    if len(body) > order["longest_result"]:
        message = (
            f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
            f"({order['longest_result']} bytes)."
        )
        kind = "Function.ResponseSizeTooLarge"
        failure = handler.Failure(kind, message, run_us=run_us, fit=True)
        return {"error": failure.header}, b""
    return {"run_us": run_us}, body


def answer(own, header, body=b""):
    """Sends an answer, what was printed and imported ahead of it."""
    # What was printed belongs to this invocation, so it must be on its way before the answer is.
    flush()
    if imported := news.imported():
        header["imported"] = imported
    channel.send(own, header, body)


def flush():
    """Has on its way what was printed; whatever there is in the place of the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
