"""A function's process: loads its handler once, then serves invocations."""

import json
import os
import sys

import pipsqueak_native as native

from pipsqueak_runtime import handler, json_text, news


def serve(own, code):
    """Serves the supervisor on the descriptor `own` until it closes that, with the code in the folder
    `code`; never returns."""
    os.set_inheritable(own, False)
    channel = native.Channel(own)
    # A function that is killed has told what it has printed.
    sys.stdout.reconfigure(line_buffering=True)
    news.begin()
    order = json.loads(receive(channel)[0])
    several = None
    if order["concurrency"] > 1:
        # Ahead of the handler's import, which may remember the streams.
        from pipsqueak_runtime import concurrency

        several = concurrency.Several(channel, order)
    try:
        function = handler.load(order, code)
    except handler.Failure as failure:
        answer(channel, {"error": failure.header})
        os._exit(1)
    if several:
        several.serve(function)
    longest = order["longest_result"]
    while True:
        invocation, payload = receive(channel)
        if is_of_streams(invocation):
            # Of an invocation that has not waited for it.
            continue
        streams = streams_of(invocation, channel.send, lambda: receive(channel))
        header, body = run(function, longest, invocation, payload, streams)
        answer(channel, header, body)
        if streams:
            streams.settle()


def receive(channel):
    """The next message's header and body; where none comes any more, the process ends."""
    message = channel.receive()
    if message is None:
        os._exit(0)
    return message


def is_of_streams(header):
    """Whether a message is about the streams of an invocation. Its body is bytes then."""
    return header.startswith('{"part"')


def streams_of(invocation, send, receive):
    """The streams of an invocation; None of one that has none."""
    # It has a number and times besides.
    if '"streamed"' not in invocation:
        return None
    from pipsqueak_runtime import streaming

    return streaming.Exchange(json_text.decode(invocation)["request_id"], send, receive)


def run(function, longest, invocation, payload, streams):
    """Runs the handler once. `invocation` is the header of the message, `payload` the event, both JSON;
    `streams`, where there are any, are over then. Returns the header and the body of the answer, which
    has `longest` bytes at most."""
    try:
        return _run(function, longest, invocation, payload, streams)
    finally:
        if streams:
            streams.end()


def _run(function, longest, invocation, payload, streams):
    try:
        body, run_us = handler.call(function, payload, invocation, streams)
    except handler.Failure as failure:
        return {"error": failure.header}, b""
    if len(body) > longest:
        message = (
            f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
            f"({longest} bytes)."
        )
        kind = "Function.ResponseSizeTooLarge"
        failure = handler.Failure(kind, message, run_us=run_us, fit=True)
        return {"error": failure.header}, b""
    return {"run_us": run_us}, body


def answer(channel, header, body=b""):
    """Sends an answer, what was printed and imported ahead of it."""
    # What was printed belongs to this invocation, so it must be on its way before the answer is.
    flush()
    if imported := news.imported():
        header["imported"] = imported
    channel.send(json_text.encode(header), body)


def flush():
    """Has on its way what was printed; whatever there is in the place of the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
