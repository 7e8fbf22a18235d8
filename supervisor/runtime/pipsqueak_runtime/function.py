"""A function's process: loads its handler once, then serves one invocation at a time."""

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
    try:
        function = handler.load(order, code)
    except handler.Failure as failure:
        _answer(own, {"error": failure.header})
        os._exit(1)
    while True:
        message = channel.receive(own)
        if message is None:
            os._exit(0)
        invocation, payload, _ = message
        context = handler.Context(order, invocation)
        try:
            answer, run_us = handler.call(function, payload, context)
            _answer(own, {"run_us": run_us}, answer)
        except handler.Failure as failure:
            _answer(own, {"error": failure.header})


def flush():
    """Has on its way what was printed; whatever there is in the place of the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _answer(own, header, body=b""):
    # What was printed belongs to this invocation, so it must be on its way before the answer is.
    flush()
    if imported := news.imported():
        header["imported"] = imported
    channel.send(own, header, body)
