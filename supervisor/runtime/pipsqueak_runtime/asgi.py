"""Serves HTTP requests with an ASGI application, whose lifespan begins with the process."""

import asyncio
import sys
import traceback

from pipsqueak_runtime import event_loop
from pipsqueak_runtime.http_event import Request

VERSIONS = {"version": "3.0", "spec_version": "2.4"}


class StartupFailed(Exception):
    """The application has said that it cannot start."""


def adapt(application):
    """The application, started, as a handler."""
    lifespan = Lifespan(application)
    event_loop.run(lifespan.start())

    def handle(event, context):
        request = Request(event)
        if request.is_websocket:
            return request.refuse_websocket()
        return event_loop.run(_answer(application, request, context, dict(lifespan.state)))

    return handle


class Lifespan:
    """An application's life. It has no end that the application hears of: a sandbox that is not needed
    any more is frozen, and ended as it is."""

    def __init__(self, application):
        self.application = application
        self.state = {}

    async def start(self):
        """Waits until the application has started, or is seen to know nothing of lifespans."""
        begun = asyncio.get_running_loop().create_future()
        messages = [{"type": "lifespan.startup"}]

        async def receive():
            if messages:
                return messages.pop()
            return await asyncio.get_running_loop().create_future()

        async def send(message):
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


async def _answer(application, request, context, state):
    response = Response()
    scope, receive = _scope(request, context, state), _receiver(request, response)
    try:
        await application(scope, receive, response.send)
    except Exception:
        if not response.is_whole:
            raise
        # The client has its answer, most likely that this has happened.
        traceback.print_exc(file=sys.stderr)
    if not response.is_whole:
        raise RuntimeError("the application did not send a whole response")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
    return request.answer(response.status, headers, bytes(response.body))


class Response:
    """What an application sends, collected."""

    def __init__(self):
        self.status = None
        self.headers = []
        self.body = bytearray()
        self.is_whole = False
        self.ended = asyncio.Event()

    async def send(self, message):
        """Takes one message of the application's."""
        kind = message["type"]
        if kind == "http.response.start" and self.status is None:
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
        elif kind == "http.response.body" and self.status is not None and not self.is_whole:
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
            if self.is_whole:
                self.ended.set()
        else:
            raise RuntimeError(f"{kind} is not expected here")


def _receiver(request, response):
    messages = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await response.ended.wait()
        return {"type": "http.disconnect"}

    return receive


def _scope(request, context, state):
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
