"""Serves HTTP requests with a WSGI application (PEP 3333)."""

import io
import sys

from pipsqueak_runtime.context import exchange
from pipsqueak_runtime.http_event import DELIVERED, Request

if 0:
    from pipsqueak_runtime.shapes import *


def adapt(application):
    # type: (Any) -> Callable[[Any, Invoked], Any]
    """The application as a handler."""

    def handle(event, context):
        # type: (Any, Invoked) -> Any
        request = Request(event)
        streams = exchange.get()
        if request.is_websocket:
            return request.refuse_websocket(streams)
        if streams is None:
            return _answer(application, request, context)
        return _deliver(application, request, context, streams)

    return handle


def _answer(application, request, context):
    # type: (Any, Request, Invoked) -> dict[str, Any]
    body = []  # type: list[bytes]
    status, headers = _run(application, _environ(request, context), body.append)
    return request.answer(status, headers, b"".join(body))


def _deliver(application, request, context, streams):
    # type: (Any, Request, Invoked, Streams) -> object
    environ = _environ(request, context)
    if request.has_no_body:
        environ["wsgi.input"] = context.body
        environ["wsgi.input_terminated"] = True
        length = dict(request.headers).get("content-length", "")
        del environ["CONTENT_LENGTH"]
        if length.isdecimal():
            environ["CONTENT_LENGTH"] = length
    _run(application, environ, streams.write, lambda *head: streams.head(request.head(*head)))
    return DELIVERED


def _run(application, environ, write, begin=lambda status, headers: None):
    # type: (Any, dict[str, Any], Callable[[bytes], object], Callable[[int, Pairs], object]) -> list[Any]
    """Has a request answered: `begin` takes status and headers ahead of the body, `write` each part of
    that. Returns status and headers."""
    started, begun = [], False  # type: list[Any], bool

    def start_response(status, headers, exc_info=None):
        # type: (str, Pairs, Any) -> Callable[[bytes], None]
        # An application may think better of it until something of the body is on its way.
        if exc_info and begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if started and not exc_info:
            raise RuntimeError("start_response was called before, and without exc_info")
        started[:] = [int(status.split(" ", 1)[0]), headers]
        return give

    def give(data, is_end=False):
        # type: (bytes, bool) -> None
        nonlocal begun
        if not begun and (data or is_end):
            if not started:
                raise RuntimeError("the application did not call start_response")
            begun = True
            begin(*started)
        if data:
            write(data)

    chunks = application(environ, start_response)
    try:
        for chunk in chunks:
            give(chunk)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    give(b"", is_end=True)
    return started


def _environ(request, context):
    # type: (Request, Invoked) -> dict[str, Any]
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.decoded_path.decode("latin-1"),
        "QUERY_STRING": _native(request.query),
        "SERVER_NAME": request.server,
        "SERVER_PORT": str(request.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "aws.event": request.event,
        "aws.context": context,
    }
    if request.client:
        environ["REMOTE_ADDR"] = request.client
    several = {}  # type: dict[str, list[str]]
    for name, value in request.headers:
        # It would look like another, one that a gateway vouches for.
        if "_" in name:
            continue
        several.setdefault(name.upper().replace("-", "_"), []).append(_native(value))
    for name, values in several.items():
        if name == "CONTENT_TYPE":
            environ[name] = values[-1]
        elif name != "CONTENT_LENGTH":
            environ[f"HTTP_{name}"] = ("; " if name == "COOKIE" else ",").join(values)
    return environ


def _native(text):
    # type: (str) -> str
    """Text as WSGI wants it: a character for each byte."""
    return text.encode().decode("latin-1")
