"""Serves HTTP requests with a WSGI application (PEP 3333)."""

import io
import sys

from pipsqueak_runtime.http_event import Request


def adapt(application):
    """The application as a handler."""

    def handle(event, context):
        request = Request(event)
        if request.is_websocket:
            return request.refuse_websocket()
        return _answer(application, request, context)

    return handle


def _answer(application, request, context):
    started, body = [], []

    def start_response(status, headers, exc_info=None):
        # An application may think better of it until something of the body is on its way.
        if exc_info and any(body):
            raise exc_info[1].with_traceback(exc_info[2])
        if started and not exc_info:
            raise RuntimeError("start_response was called before, and without exc_info")
        started[:] = [status, headers]
        return body.append

    chunks = application(_environ(request, context), start_response)
    try:
        body.extend(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    if not started:
        raise RuntimeError("the application did not call start_response")
    status, headers = started
    return request.answer(int(status.split(" ", 1)[0]), headers, b"".join(body))


def _environ(request, context):
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
    several = {}
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
    """Text as WSGI wants it: a character for each byte."""
    return text.encode().decode("latin-1")
