"""What every way of serving does with an invocation: receives it, runs the handler, answers."""

import sys
from os import _exit, write

import pipsqueak_native as native

from pipsqueak_runtime import failure, handler, json_text, news
from pipsqueak_runtime import own_builtins as __builtins__
from pipsqueak_runtime.protocol import ANSWER

if 0:
    from pipsqueak_runtime.shapes import *

# Those that the process was started with; a function may put others in their place.
_streams = (sys.stdout, sys.stderr)
_modules = sys.modules


def prepare():
    # type: () -> None
    """Makes the streams those of a function."""
    global _streams
    # A function that is killed has told what it has printed.
    for stream in (sys.stdout, sys.__stdout__):
        try:
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        except Exception:
            # Packages put other things in its place.
            pass
    _streams = (sys.stdout, sys.stderr)


def interrupted(channel, error):
    # type: (native.Channel, BaseException) -> None
    """Has the invocation fail that is neither answered nor anybody's, if there is one, because of an
    error that is not its handler's; else tells of it."""
    while True:
        try:
            invocation = channel.unanswered()
            if invocation is None:
                print_raw("".join(f"{line}\n" for line in failure.trace(error)))
                print_raw(f"{failure.name(error)}: {failure.message(error)}\n")
                return
            header = {"error": failure.of(error, fit=True).header}
            header["request_id"] = json_text.decode(invocation)["request_id"]
            return answer(channel, header)
        except native.Elsewhere:
            raise
        except BaseException as another:
            error = another


def receive(channel):
    # type: (native.Channel) -> Message
    """The next message's kind, header and body; where none comes any more, the process ends."""
    try:
        message = channel.receive()
    except native.Broken as broken:
        _end_broken(broken)
    if message is None:
        _exit(0)
    return message


def _end_broken(broken):
    # type: (native.Broken) -> NoReturn
    print_raw(f"the channel to the supervisor is broken: {broken}\n")
    _exit(1)


def streams_of(invocation, send, receive):
    # type: (Invocation, Send, Receive) -> Streams | None
    """The streams of an invocation; None of one that has none."""
    if "streamed" not in invocation:
        return None
    from pipsqueak_runtime import streaming

    return streaming.Exchange(invocation["request_id"], send, receive)


def run(function, longest, invocation, payload, streams):
    # type: (Handler, int, Invocation, str, Streams | None) -> Answer
    """Runs the handler once. `invocation` is what is told of it, `payload` the event as JSON; `streams`,
    where there are any, are over then. Returns the header and the body of the answer, which has
    `longest` bytes at most. Raises `native.Elsewhere` in what the handler has forked, and nothing else."""
    try:
        header, body = _run(function, longest, invocation, payload, streams)
    except failure.Failure as error:
        header, body = {"error": error.header}, b""
    except native.Elsewhere:
        raise
    except BaseException as error:
        header, body = {"error": failure.of(error, fit=True).header}, b""
    if streams:
        streams.end()
    header["request_id"] = invocation["request_id"]
    return header, body


def _run(function, longest, invocation, payload, streams):
    # type: (Handler, int, Invocation, str, Streams | None) -> Answer
    body, run_us = handler.call(function, payload, invocation, streams)
    if len(body) > longest:
        message = (
            f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
            f"({longest} bytes)."
        )
        kind = "Function.ResponseSizeTooLarge"
        raise failure.Failure(kind, message, run_us=run_us, fit=True)
    return {"run_us": run_us}, body


def answer(channel, header, body=b"", is_last=True):
    # type: (native.Channel, Header, bytes, bool) -> None
    """Sends an answer, what was printed and imported ahead of it; `is_last` if it is to the message that
    was received last."""
    # What was printed belongs to this invocation, so it must be on its way before the answer is.
    flush()
    if imported := news.imported():
        header["imported"] = imported
    if handler.watch and (unlike := handler.watch.unlike()):
        header["unlike"] = unlike
    if channel.has_left_others():
        header["others"] = True
    try:
        send = channel.answer if is_last else channel.send
        send(ANSWER, json_text.encode(header), body)
    except native.Broken as broken:
        _end_broken(broken)


def flush():
    # type: () -> None
    """Has on its way what was printed; whatever there is in the place of the streams."""
    for name, own in zip(("stdout", "stderr"), _streams):
        try:
            own.flush()
        except BaseException:
            # It may be closed.
            pass
        try:
            stream = getattr(sys, name)
            if stream is not own:
                stream.flush()
        except BaseException:
            pass


def left_set():
    # type: () -> str
    """Stops what would strike a later invocation; what was still set, as a line for the log."""
    if "faulthandler" in _modules:
        try:
            _modules["faulthandler"].cancel_dump_traceback_later()
        except Exception:
            pass
    timers = native.stop_timers()
    if not timers:
        return ""
    return f"[{' and '.join(timers)} still set when the handler had ended: stopped]\n"


def print_raw(text):
    # type: (str) -> None
    """Prints with nothing between that a function could have changed."""
    try:
        write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass
