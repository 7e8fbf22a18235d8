"""Several invocations at once in one process, each in a thread of its own.

What a thread prints is told with the invocation that it serves. What other threads, C code and other
processes print cannot be told apart: the supervisor tells it with the answer that comes next.
"""

import sys
import threading
from contextvars import ContextVar
from queue import SimpleQueue

from pipsqueak_runtime import function, json_text

# A line that does not end is told in parts of so many letters.
LONGEST_LINE = 8 << 10
# A message has room for so many bytes beside its header.
LONGEST_PART = 32 << 10

_printing = ContextVar("invocation", default=None)


class Several:
    """The loop of such a process."""

    def __init__(self, channel, order):
        self._channel = channel
        self._longest = order["longest_result"]
        self._sending = threading.Lock()
        self._waiting = SimpleQueue()
        # Where what is said of streams is heard, by request id.
        self._streams = {}
        # Counted by whoever holds the lock that sends.
        self._inside = 0
        self._threads = 0
        for name in ("stdout", "stderr"):
            setattr(sys, name, Stream(getattr(sys, name)))

    def serve(self, handler):
        """Serves the supervisor until it closes the channel; never returns."""
        while True:
            message = function.receive(self._channel)
            if function.is_of_streams(message[0]):
                told = self._streams.get(json_text.decode(message[0])["request_id"])
                if told:
                    told.put(message)
                continue
            with self._sending:
                self._inside += 1
                is_short = self._threads < self._inside
                self._threads += is_short
            if is_short:
                name = f"invocation-{self._threads}"
                threading.Thread(target=self._work, args=(handler,), name=name, daemon=True).start()
            self._waiting.put(message)

    def _work(self, handler):
        while True:
            invocation, payload = self._waiting.get()
            request_id = json_text.decode(invocation)["request_id"]
            printing = Printing(self._print, request_id)
            token = _printing.set(printing)
            told = SimpleQueue()
            streams = function.streams_of(invocation, self._send, told.get)
            if streams:
                self._streams[request_id] = told
            header, body = function.run(handler, self._longest, invocation, payload, streams)
            if streams:
                del self._streams[request_id]
                # For who still waits for some of the body.
                told.put(None)
            _printing.reset(token)
            printing.flush()
            header["request_id"] = request_id
            with self._sending:
                self._inside -= 1
                function.answer(self._channel, header, body)

    def _print(self, header, body):
        self._send(json_text.encode(header), body)

    def _send(self, header, body):
        with self._sending:
            self._channel.send(header, body)


class Printing:
    """What one invocation prints, on its way line by line."""

    def __init__(self, send, request_id):
        self._send = send
        self._header = {"request_id": request_id, "printed": True}
        self._parts = []
        self._length = 0

    def write(self, text):
        self._parts.append(text)
        self._length += len(text)
        if "\n" in text or self._length > LONGEST_LINE:
            self.flush()

    def flush(self):
        text, self._parts, self._length = "".join(self._parts), [], 0
        data = text.encode(errors="backslashreplace")
        for begin in range(0, len(data), LONGEST_PART):
            self._send(self._header, data[begin : begin + LONGEST_PART])


class Stream:
    """In the place of stdout or stderr: knows which invocation prints. All else is the stream's."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        printing = _printing.get()
        if printing is None:
            return self._stream.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        printing.write(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        return getattr(self._stream, name)
