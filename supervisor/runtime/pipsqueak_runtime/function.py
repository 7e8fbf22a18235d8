"""A function's process: loads its handler once, then serves invocations."""

import json
from os import _exit, set_inheritable

import pipsqueak_native as native

from pipsqueak_runtime import failure, forked, handler, json_text, news, protocol, serving
from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *


def serve(own, code):
    # type: (int, str) -> NoReturn
    """Serves the supervisor on the descriptor `own` until it closes that, with the code in the folder
    `code`. Raises `native.Elsewhere` in what the function forks; never returns."""
    set_inheritable(own, False)
    channel = native.Channel(own, protocol.TOLD, protocol.OUTPUT)
    serving.prepare()
    news.begin()
    kind, order = _order(channel)
    if kind == protocol.STANDBY:
        from pipsqueak_runtime import standby

        standby.prepare(channel, order["modules"])
        kind, order = _order(channel)
    several = None
    if order["concurrency"] > 1:
        # Ahead of the handler's import, which may remember the streams.
        from pipsqueak_runtime import concurrency

        several = concurrency.Several(channel, order)

    def refuse(reason):
        # type: (str) -> NoReturn
        refusal = failure.Failure("Runtime.ImportOrder", reason, order=True)
        _end_unloaded(channel, several, refusal)

    try:
        function = handler.load(order, code, refuse)
    except failure.Failure as error:
        _end_unloaded(channel, several, error)
    if several:
        several.serve(function)
    longest = order["longest_result"]
    while True:
        try:
            _serve_one(channel, function, longest)
        except native.Elsewhere:
            raise
        except BaseException as error:
            # What handles a signal has raised where nothing of the function's ran.
            serving.interrupted(channel, error)


def _order(channel):
    # type: (native.Channel) -> tuple[int, Order]
    """What this process is to be: the kind of the message, and its header."""
    kind, header, _ = serving.receive(channel)
    channel.settle()
    order = json.loads(header)
    if trouble := protocol.trouble(kind, order):
        _end_unloaded(channel, None, failure.Failure("Runtime.ProtocolError", trouble))
    return kind, order


def _end_unloaded(channel, several, error):
    # type: (native.Channel, SeveralAtOnce | None, failure.Failure) -> NoReturn
    """Answers that the handler is not loaded, and why. Never returns, whatever the user's code does: it may be
    what has called."""
    for _ in range(100):
        try:
            header = {"error": {**error.header, "loading": True}}
            if not several:
                invocation = channel.unanswered() or serving.receive(channel)[1]
                header["request_id"] = json_text.decode(invocation)["request_id"]
            serving.answer(channel, header)
            break
        except BaseException:
            # What handles a signal has raised.
            pass
    _exit(1)


def _serve_one(channel, function, longest):
    # type: (native.Channel, Handler, int) -> None
    kind, told, payload = serving.receive(channel)
    if kind == protocol.TOLD:
        # Of an invocation that has not waited for it.
        return
    invocation = json_text.decode(told)
    streams = serving.streams_of(invocation, channel.send, lambda: serving.receive(channel))
    header, body = serving.run(function, longest, invocation, payload, streams)
    if left := serving.left_set():
        serving.print_raw(left)
    serving.answer(channel, header, body)
    if streams:
        streams.settle()
