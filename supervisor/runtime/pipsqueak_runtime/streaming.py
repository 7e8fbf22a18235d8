"""What is streamed while a handler runs: its result to the client, and a body to it, part by part."""

import errno
import io
from _thread import allocate_lock
from collections import deque

from pipsqueak_native import is_elsewhere

from pipsqueak_runtime import forked, json_text
from pipsqueak_runtime import own_builtins as __builtins__
from pipsqueak_runtime.protocol import SAID

if 0:
    from pipsqueak_runtime.shapes import *

# As in the supervisor's `function/parts`: the longest part of a result, in bytes, and how many may be
# on their way.
PART_BYTES = 64 << 10
WINDOW = 8
# Stands for an answer that the client has already.
DELIVERED = object()
BYTES = (bytes, bytearray, memoryview)


class Condition:
    """What `threading.Condition` is, with locks that are the interpreter's whatever a library has put in
    their place."""

    def __init__(self):
        # type: () -> None
        self._lock = allocate_lock()
        self.acquire, self.release = self._lock.acquire, self._lock.release
        self._waiting = []  # type: list[Lock]

    def __enter__(self):
        # type: () -> None
        self._lock.acquire()

    def __exit__(self, *_):
        # type: (*object) -> None
        self._lock.release()

    def wait(self):
        # type: () -> None
        """Waits for `notify_all`; called with the lock held, as that is."""
        mine = allocate_lock()
        mine.acquire()
        self._waiting.append(mine)
        self._lock.release()
        try:
            mine.acquire()
        finally:
            self._lock.acquire()

    def notify_all(self):
        # type: () -> None
        """Has all go on that wait."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.release()


class Exchange:
    """The streams of one invocation. `send` takes a message's kind, header and body; `receive` gives the next
    that the supervisor says of these streams, or None where nothing more comes. Any thread may call."""

    def __init__(self, request_id, send, receive):
        # type: (str, Send, Receive) -> None
        self._request_id = request_id
        self._send = send
        self._receive = receive
        self._changed = Condition()
        self._is_receiving = False
        # Parts of the result that the client's connection has not taken.
        self._ahead = 0
        # Of the body.
        self._parts = deque()  # type: deque[bytes]
        self._is_asked = False
        self._has_ended = False
        self._is_gone = False

    def head(self, head):
        # type: (object) -> None
        """Gives the client what precedes the result."""
        self._give("head", json_text.encode(head))

    def write(self, data):
        # type: (bytes | bytearray | memoryview) -> None
        """Gives the client some of the result. Raises BrokenPipeError where it has gone."""
        _stay()
        data = memoryview(data).cast("B")
        for begin in range(0, len(data), PART_BYTES):
            self._give("result", bytes(data[begin : begin + PART_BYTES]))

    def has_room(self, length):
        # type: (int) -> bool
        """Whether so many bytes can be written without waiting."""
        return length <= PART_BYTES and self._ahead < WINDOW

    def read(self):
        # type: () -> bytes
        """The next part of the body, which is empty at its end. Raises ConnectionAbortedError where the
        client has gone before that."""
        _stay()
        with self._changed:
            if not (self._is_asked or self._is_there()):
                self._is_asked = True
                self._say("more")
            self._wait(self._is_there)
            if self._parts:
                return self._parts.popleft()
            if self._has_ended:
                return b""
        text = "the client has gone before it had sent the whole body"
        raise ConnectionAbortedError(errno.ECONNABORTED, text)

    def end(self):
        # type: () -> None
        """Ends the streams, ahead of the answer: who still writes or reads fails."""
        with self._changed:
            self._is_gone = True

    def settle(self):
        # type: () -> None
        """Waits until nobody receives: the next message is not for these streams."""
        with self._changed:
            while self._is_receiving:
                self._changed.wait()

    def _is_there(self):
        # type: () -> object
        return self._parts or self._has_ended or self._is_gone

    def _give(self, part, data):
        # type: (str, bytes) -> None
        with self._changed:
            if self._ahead >= WINDOW:
                # Until there is room for some, so that not each waits.
                self._wait(lambda: self._ahead <= WINDOW // 2 or self._is_gone)
            if self._is_gone:
                raise BrokenPipeError(errno.EPIPE, "the client has gone")
            self._ahead += 1
            self._say(part, data)

    def _say(self, part, data=b""):
        # type: (str, bytes) -> None
        header = json_text.encode({"request_id": self._request_id, "part": part})
        self._send(SAID, header, data)

    def _wait(self, met):
        # type: (Callable[[], object]) -> None
        # One of those who wait receives, for all of them.
        while not met():
            if self._is_receiving:
                self._changed.wait()
                continue
            self._is_receiving = True
            self._changed.release()
            try:
                message = self._receive()
            finally:
                self._changed.acquire()
                self._is_receiving = False
                self._changed.notify_all()
            self._hear(message)

    def _hear(self, message):
        # type: (Message | None) -> None
        told = json_text.decode(message[1])["part"] if message else "gone"
        if told == "taken":
            self._ahead -= 1
        elif told == "body":
            self._is_asked = False
            if message[2]:  # type: ignore[index]
                self._parts.append(message[2])  # type: ignore[index]
            else:
                self._has_ended = True
        else:
            self._is_gone = True


class Body(io.RawIOBase):
    """A body as a file."""

    def __init__(self, exchange):
        # type: (Exchange) -> None
        self._exchange = exchange
        self._rest = b""  # type: bytes | memoryview

    def readable(self):
        # type: () -> bool
        return True

    def readinto(self, buffer):
        # type: (Any) -> int
        if not self._rest:
            self._rest = memoryview(self._exchange.read())
        length = min(len(buffer), len(self._rest))
        buffer[:length], self._rest = self._rest[:length], self._rest[length:]
        return length


def body(exchange):
    # type: (Exchange | None) -> BinaryIO
    """The body of an invocation as a buffered file; an empty one where there is no exchange."""
    return io.BytesIO() if exchange is None else io.BufferedReader(Body(exchange), PART_BYTES)


def deliver(exchange, answer):
    # type: (Exchange, Any) -> None
    """Gives the client what a handler has answered, item by item where it has several: bytes and text as
    they are, anything else as a line of JSON."""
    kind = type(answer)
    if answer is DELIVERED:
        return
    if hasattr(kind, "__await__"):
        from pipsqueak_runtime import event_loop

        deliver(exchange, event_loop.run(answer))
    elif hasattr(kind, "__anext__"):
        from pipsqueak_runtime import event_loop

        event_loop.run(_deliver_each(exchange, answer))
    elif hasattr(kind, "__next__"):
        try:
            for item in answer:
                forked.stay()
                exchange.write(_bytes(item))
        finally:
            # It cleans up before it is told that it is over.
            getattr(answer, "close", int)()
    else:
        forked.stay()
        exchange.write(answer if kind in BYTES else json_text.marshal(answer))


async def write(exchange, data):
    # type: (Exchange, bytes) -> None
    """Gives the client some of the result, without holding up the loop."""
    if exchange.has_room(len(data)):
        exchange.write(data)
    else:
        import asyncio

        await asyncio.to_thread(exchange.write, data)


async def _deliver_each(exchange, answer):
    # type: (Exchange, AsyncIterator[Any]) -> None
    try:
        async for item in answer:
            forked.stay()
            await write(exchange, _bytes(item))
    finally:
        if hasattr(answer, "aclose"):
            await answer.aclose()


def _stay():
    # type: () -> None
    if is_elsewhere():
        text = "the client is that of the process which has forked this one"
        raise BrokenPipeError(errno.EPIPE, text)


def _bytes(item):
    # type: (object) -> bytes
    if isinstance(item, BYTES):
        return bytes(item)
    if isinstance(item, str):
        return item.encode()
    return json_text.marshal(item, "an item of the answer") + b"\n"
