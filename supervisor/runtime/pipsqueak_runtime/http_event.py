"""HTTP requests and responses as AWS's gateways put them into JSON: the payload formats 2.0 and 1.0 of
API Gateway, the latter also of load balancers; and a short form for people, `{"path": "/"}`."""

import base64
from urllib.parse import quote, unquote_to_bytes, urlencode

from pipsqueak_runtime.failure import Failure
from pipsqueak_runtime.streaming import DELIVERED

if 0:
    from pipsqueak_runtime.shapes import *

EXPECTED = (
    'an HTTP application takes an HTTP request: {"path": "/"} with "method", "headers" and "body" '
    "where they are needed, or an event of API Gateway's payload format 2.0 or 1.0"
)


def refused(reason):
    # type: (str) -> Failure
    """The failure that an event is which is no HTTP request. The process is fit to serve on."""
    return Failure("Runtime.UnmarshalError", f"{EXPECTED}; {reason}", fit=True)


class Request:
    """An HTTP request: `path` is percent-encoded, as is `query`; header names are in lower case."""

    def __init__(self, event):
        # type: (Any) -> None
        if not isinstance(event, dict):
            raise refused(f"this event is a {type(event).__name__}")
        context = _dict(event, "requestContext")
        if "eventType" in context and "connectionId" in context:
            raise refused("this event is of a websocket, and functions do not speak that")
        self.event = event
        self.is_first_format = "httpMethod" in event
        if self.is_first_format:
            self._read_first(event, context)
        elif "rawPath" in event:
            self._read_second(event, context)
        else:
            self._read_short(event)
        self.path = "/" + quote(self.path, safe="/%:@!$&'()*+,;=-._~").removeprefix("/")  # type: ignore[has-type]
        self.has_no_body = event.get("body") is None
        self.body = _body(event)
        names = dict(self.headers)  # type: ignore[has-type]
        self.scheme = names.get("x-forwarded-proto", "http").partition(",")[0].strip()
        host = names.get("host") or context.get("domainName") or "localhost"
        self.server, port = _server(host)
        port = names.get("x-forwarded-port") or port or ("443" if self.scheme == "https" else "80")
        self.port = int(port) if port.isdecimal() else 80
        self.is_websocket = names.get("upgrade", "").strip().lower() == "websocket"

    def _read_second(self, event, context):
        # type: (dict[str, Any], dict[str, Any]) -> None
        http = _dict(context, "http")
        self.method = _text(http, "method", "GET")
        self.path = _text(event, "rawPath")
        self.query = _text(event, "rawQueryString")
        self.headers = _headers(_dict(event, "headers"))
        self.client = http.get("sourceIp")
        cookies = event.get("cookies")
        if cookies and "cookie" not in dict(self.headers):
            self.headers.append(("cookie", "; ".join(cookies)))

    def _read_first(self, event, context):
        # type: (dict[str, Any], dict[str, Any]) -> None
        self.method = _text(event, "httpMethod")
        self.path = _text(event, "path")
        several = _dict(event, "multiValueQueryStringParameters")
        pairs = several or _dict(event, "queryStringParameters")  # type: Any
        pairs = [(key, value) for key, values in pairs.items() for value in _list(values)]
        # A load balancer passes on what it was sent, API Gateway has decoded it.
        is_balanced = "elb" in context
        self.query = "&".join(f"{k}={v}" for k, v in pairs) if is_balanced else urlencode(pairs)
        several = _dict(event, "multiValueHeaders")
        self.headers = _headers(several or _dict(event, "headers"))
        forwarded = dict(self.headers).get("x-forwarded-for", "").partition(",")[0].strip()
        self.client = _dict(context, "identity").get("sourceIp") or forwarded or None

    def _read_short(self, event):
        # type: (dict[str, Any]) -> None
        if not isinstance(event.get("path"), str):
            named = ", ".join(sorted(event)[:10])
            raise refused(f"this event has {named or 'nothing'}")
        self.method = _text(event, "method", "GET").upper()
        self.path, _, self.query = event["path"].partition("?")
        self.headers = _headers(_dict(event, "headers"))
        self.client = None

    @property
    def decoded_path(self):
        # type: () -> bytes
        """The path's bytes."""
        return unquote_to_bytes(self.path)

    def answer(self, status, headers, body):
        # type: (int, Pairs, Any) -> dict[str, Any]
        """The response in the form of the request. `headers` are pairs of text, `body` is bytes."""
        try:
            body, is_base64 = body.decode(), False
        except UnicodeDecodeError:
            body, is_base64 = base64.b64encode(body).decode(), True
        return self.head(status, headers) | {"body": body, "isBase64Encoded": is_base64}

    def head(self, status, headers):
        # type: (int, Pairs) -> dict[str, Any]
        """The response without its body."""
        answer = {"statusCode": status}  # type: dict[str, Any]
        several = {}  # type: dict[str, list[str]]
        for name, value in headers:
            several.setdefault(name.lower(), []).append(value)
        if self.is_first_format:
            # Some readers want the one, some the other.
            answer["headers"] = {name: values[-1] for name, values in several.items()}
            answer["multiValueHeaders"] = several
        else:
            cookies = several.pop("set-cookie", [])
            answer["headers"] = {name: ", ".join(values) for name, values in several.items()}
            if cookies:
                answer["cookies"] = cookies
        return answer

    def refuse_websocket(self, streams):
        # type: (Streams | None) -> object
        """Answers whoever wants to speak another protocol, by `streams` where there are any."""
        headers = [("content-type", "text/plain"), ("upgrade", "HTTP/1.1")]
        text = b"functions do not speak the websocket protocol\n"
        if streams is None:
            return self.answer(426, headers, text)
        streams.head(self.head(426, headers))
        streams.write(text)
        return DELIVERED


def _dict(event, key):
    # type: (dict[str, Any], str) -> dict[str, Any]
    value = event.get(key)
    if value is not None and not isinstance(value, dict):
        raise refused(f"{key} of this event is no object")
    return value or {}


def _text(event, key, otherwise=""):
    # type: (dict[str, Any], str, str) -> str
    value = event.get(key)
    if value is not None and not isinstance(value, str):
        raise refused(f"{key} of this event is no text")
    return value or otherwise


def _list(values):
    # type: (Any) -> list[Any]
    return values if isinstance(values, list) else [values]


def _headers(headers):
    # type: (dict[str, Any]) -> Pairs
    pairs = ((name.lower(), value) for name, values in headers.items() for value in _list(values))
    return [(name, str(value)) for name, value in pairs if value is not None]


def _body(event):
    # type: (dict[str, Any]) -> bytes
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise refused("its body is to be text, or bytes in base64 with isBase64Encoded")
    if not event.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise refused(f"its body is not base64: {error}") from None


def _server(host):
    # type: (str) -> tuple[str, str]
    """Name and port of `host`, `host:port`, `[::1]:port`."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdecimal() else (host, "")
