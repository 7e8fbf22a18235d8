"""Several invocations at once in one process, each in a thread of its own.

What a thread prints is told with the invocation that it serves. What other threads, C code and other
processes print cannot be told apart: the supervisor tells it with the answer that comes next.
"""

import os
import sys
from _queue import SimpleQueue
from _signal import set_wakeup_fd  # type: ignore[import-not-found]
from _thread import allocate_lock, start_new_thread
from contextvars import ContextVar
from threading import current_thread

from pipsqueak_native import Elsewhere, is_elsewhere

from pipsqueak_runtime import failure, forked, json_text, protocol, serving
from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

# A line that does not end is told in parts of so many bytes.
LONGEST_LINE = 8 << 10
# A message has room for so many bytes beside its header.
LONGEST_PART = 32 << 10

_printing = ContextVar("invocation", default=None)  # type: ContextVar[Printing | None]


class Several:
    """The loop of such a process."""

    def __init__(self, channel, order):
        # type: (Channel, Order) -> None
        self._channel = channel
        self._longest = order["longest_result"]
        self._sending = allocate_lock()
        self._waiting = SimpleQueue()  # type: SimpleQueue[tuple[Invocation, str]]
        # Where what is said of streams is heard, by request id.
        self._streams = {}  # type: dict[str, SimpleQueue[Message | None]]
        # Counted by whoever holds the lock that sends.
        self._inside = 0
        self._threads = 0
        # A signal may strike any thread, and is handled in this one.
        waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        set_wakeup_fd(woken, warn_on_full_buffer=False)
        channel.heed(waking)
        for name in ("stdout", "stderr"):
            setattr(sys, name, Stream(getattr(sys, name)))

    def serve(self, handler):
        # type: (Handler) -> NoReturn
        """Serves the supervisor until it closes the channel; never returns."""
        while True:
            try:
                self._serve_one(handler)
            except Elsewhere:
                raise
            except BaseException as error:
                # What handles a signal has raised.
                with self._sending:
                    serving.interrupted(self._channel, error)

    def _serve_one(self, handler):
        # type: (Handler) -> None
        message = serving.receive(self._channel)
        if message[0] == protocol.TOLD:
            told = self._streams.get(json_text.decode(message[1])["request_id"])
            if told:
                told.put(message)
            return
        invocation = json_text.decode(message[1])
        with self._sending:
            is_short = self._threads <= self._inside
        if is_short:
            # Where there can be no more, this one fails.
            start_new_thread(self._work, (handler,))
        with self._sending:
            self._threads += is_short
            self._inside += 1
            self._waiting.put((invocation, message[2]))
            self._channel.settle()

    def _work(self, handler):
        # type: (Handler) -> None
        _name_thread(self._threads)
        while True:
            invocation, payload = self._waiting.get()
            try:
                header, body = self._run(handler, invocation, payload)
            except Elsewhere as elsewhere:
                forked.end(elsewhere.args[0] if elsewhere.args else None)
            except BaseException as error:
                header = {"error": failure.of(error, fit=True).header}
                header["request_id"], body = invocation["request_id"], b""
            with self._sending:
                self._inside -= 1
                if not self._inside and (left := serving.left_set()):
                    serving.print_raw(left)
                serving.answer(self._channel, header, body, is_last=False)

    def _run(self, handler, invocation, payload):
        # type: (Handler, Invocation, str) -> Answer
        request_id = invocation["request_id"]
        printing = Printing(self._print, request_id)
        token = _printing.set(printing)
        told = SimpleQueue()  # type: SimpleQueue[Message | None]
        streams = serving.streams_of(invocation, self._send, told.get)
        if streams:
            self._streams[request_id] = told
        try:
            return serving.run(handler, self._longest, invocation, payload, streams)
        finally:
            if streams:
                del self._streams[request_id]
                # For who still waits for some of the body.
                told.put(None)
            _printing.reset(token)
            if not is_elsewhere():
                printing.flush()

    def _print(self, header, body):
        # type: (Header, bytes) -> None
        self._send(protocol.PRINTED, json_text.encode(header), body)

    def _send(self, kind, header, body):
        # type: (int, bytes, bytes) -> None
        with self._sending:
            self._channel.send(kind, header, body)


def _name_thread(number):
    # type: (int) -> None
    try:
        current_thread().name = f"invocation-{number}"
    except Exception:
        # Of a library that has threads of its own.
        pass


class Printing:
    """What one invocation prints, on its way line by line."""

    def __init__(self, send, request_id):
        # type: (Callable[[Header, bytes], None], str) -> None
        self._send = send
        self._header = {"request_id": request_id}
        self._parts = []  # type: list[bytes]
        self._length = 0

    def write(self, data):
        # type: (bytes) -> None
        self._parts.append(data)
        self._length += len(data)
        if b"\n" in data or self._length > LONGEST_LINE:
            self.flush()

    def flush(self):
        # type: () -> None
        data, self._parts, self._length = b"".join(self._parts), [], 0
        for begin in range(0, len(data), LONGEST_PART):
            self._send(self._header, data[begin : begin + LONGEST_PART])


class Stream:
    """In the place of stdout or stderr: knows which invocation prints. All else is the stream's."""

    def __init__(self, stream):
        # type: (TextIO) -> None
        self._stream = stream

    def write(self, text):
        # type: (str) -> int
        printing = _printing.get()
        if printing is None or is_elsewhere():
            return self._stream.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        printing.write(self._encoded(text))
        return len(text)

    def _encoded(self, text):
        # type: (str) -> bytes
        # Fails where the stream's own would.
        stream = self._stream
        if getattr(stream, "closed", False):
            raise ValueError("I/O operation on closed file.")
        encoding = getattr(stream, "encoding", None) or "utf-8"
        return str.encode(text, encoding, getattr(stream, "errors", None) or "backslashreplace")

    def writelines(self, lines):
        # type: (Iterable[str]) -> None
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        # type: (str) -> Any
        return getattr(self._stream, name)
