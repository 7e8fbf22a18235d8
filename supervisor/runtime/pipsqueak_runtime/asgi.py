"""Serves HTTP requests with an ASGI application, whose lifespan begins with the process."""

import asyncio
import sys
import traceback

from pipsqueak_runtime import event_loop, streaming
from pipsqueak_runtime.context import exchange
from pipsqueak_runtime.http_event import Request

if 0:
    from pipsqueak_runtime.shapes import *

VERSIONS = {"version": "3.0", "spec_version": "2.4"}


class StartupFailed(Exception):
    """The application has said that it cannot start."""


def adapt(application):
    # type: (Any) -> Callable[[Any, Invoked], Any]
    """The application, started, as a handler."""
    lifespan = Lifespan(application)
    event_loop.run(lifespan.start())

    def handle(event, context):
        # type: (Any, Invoked) -> Any
        request = Request(event)
        streams = exchange.get()
        if request.is_websocket:
            return request.refuse_websocket(streams)
        scope = _scope(request, context, dict(lifespan.state))
        return event_loop.run(_answer(application, request, scope, streams))

    return handle


class Lifespan:
    """An application's life. It has no end that the application hears of: a sandbox that is not needed
    any more is frozen, and ended as it is."""

    def __init__(self, application):
        # type: (Any) -> None
        self.application = application
        self.state = {}  # type: dict[str, Any]

    async def start(self):
        # type: () -> None
        """Waits until the application has started, or is seen to know nothing of lifespans."""
        begun = asyncio.get_running_loop().create_future()
        messages = [{"type": "lifespan.startup"}]

        async def receive():
            # type: () -> Any
            if messages:
                return messages.pop()
            return await asyncio.get_running_loop().create_future()

        async def send(message):
            # type: (dict[str, Any]) -> None
            if begun.done():
                return
            if message["type"] == "lifespan.startup.complete":
                begun.set_result(None)
            elif message["type"] == "lifespan.startup.failed":
                reason = message.get("message") or "it does not say why"
                begun.set_exception(StartupFailed(f"the application failed to start: {reason}"))

        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        # Kept, because a loop keeps no task alive.
        self.task = asyncio.ensure_future(self.application(scope, receive, send))
        await asyncio.wait([begun, self.task], return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            begun.result()
        else:
            # Many raise for a scope that they do not know.
            self.task.exception()


async def _answer(application, request, scope, streams):
    # type: (Any, Request, dict[str, Any], Streams | None) -> Any
    response = Collected(request) if streams is None else Streamed(request, streams)
    receive = _receiver(request, response, streams)
    try:
        await application(scope, receive, response.send)
    except Exception:
        if not response.is_whole:
            raise
        # The client has its answer, most likely that this has happened.
        traceback.print_exc(file=sys.stderr)
    if not response.is_whole:
        raise RuntimeError("the application did not send a whole response")
    return response.answer()


class Response:
    """What an application sends."""

    def __init__(self, request):
        # type: (Request) -> None
        self.request = request
        self.head = None  # type: tuple[int, Pairs] | None
        self.is_whole = False
        self.ended = asyncio.Event()

    async def send(self, message):
        # type: (dict[str, Any]) -> None
        """Takes one message of the application's."""
        kind = message["type"]
        if kind == "http.response.start" and self.head is None:
            pairs = message.get("headers", ())
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
            self.head = message["status"], pairs
        elif kind == "http.response.body" and self.head is not None and not self.is_whole:
            await self.take(message.get("body", b""))  # type: ignore[attr-defined]
            self.is_whole = not message.get("more_body", False)
            if self.is_whole:
                self.ended.set()
        else:
            raise RuntimeError(f"{kind} is not expected here")


class Collected(Response):
    """One that is answered as a whole."""

    def __init__(self, request):
        # type: (Request) -> None
        super().__init__(request)
        self.body = bytearray()

    async def take(self, data):
        # type: (bytes) -> None
        self.body += data

    def answer(self):
        # type: () -> dict[str, Any]
        return self.request.answer(*self.head, bytes(self.body))  # type: ignore[call-arg, misc]


class Streamed(Response):
    """One that the client has as it comes."""

    def __init__(self, request, streams):
        # type: (Request, Streams) -> None
        super().__init__(request)
        self.streams = streams
        self.is_begun = False

    async def take(self, data):
        # type: (bytes) -> None
        if not self.is_begun:
            self.is_begun = True
            self.streams.head(self.request.head(*self.head))  # type: ignore[misc]
        await streaming.write(self.streams, data)

    def answer(self):
        # type: () -> object
        return streaming.DELIVERED


def _receiver(request, response, streams):
    # type: (Request, Response, Streams | None) -> Callable[[], Awaitable[dict[str, Any]]]
    is_read = False

    async def receive():
        # type: () -> dict[str, Any]
        nonlocal is_read
        if is_read:
            await response.ended.wait()
            return {"type": "http.disconnect"}
        if streams and request.has_no_body:
            try:
                body = await asyncio.to_thread(streams.read)
            except ConnectionAbortedError:
                is_read = True
                return {"type": "http.disconnect"}
            is_read = not body
        else:
            body, is_read = request.body, True
        return {"type": "http.request", "body": body, "more_body": not is_read}

    return receive


def _scope(request, context, state):
    # type: (Request, Invoked, dict[str, Any]) -> dict[str, Any]
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.decoded_path.decode("utf-8", "replace"),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in request.headers],
        "client": (request.client, 0) if request.client else None,
        "server": (request.server, request.port),
        "state": state,
        "aws.event": request.event,
        "aws.context": context,
    }
