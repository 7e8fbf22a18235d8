"""What a handler is told beside its event, by the names of AWS Lambda's Python runtime."""

import os
import sys
import time
from contextvars import ContextVar

import pipsqueak_native as native

from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

# Functions have no account; where they say no region, they are in this one.
ACCOUNT = "000000000000"
REGION = "local"
# The streams of the invocation that is served, where it is streamed.
exchange = ContextVar("exchange", default=None)  # type: ContextVar[Streams | None]
# Of this process, once it is a function's.
_stream = None  # type: str | None
_started_with = None  # type: dict[str, str] | None


class Context:
    """An invocation. `load` is the order that made the process the function's, `invoke` what came
    with the event, `exchange` its streams where it is streamed."""

    def __init__(self, load, invoke, exchange=None):
        # type: (Order, Invocation, Streams | None) -> None
        self.function_name = load["function"]
        self.function_version = str(load["version"])
        self.memory_limit_in_mb = str(load["memory"] >> 20)
        self.log_group_name = _group(load)
        self.log_stream_name = _stream
        region = load["variables"].get("AWS_REGION", REGION)
        self.invoked_function_arn = (
            f"arn:aws:lambda:{region}:{ACCOUNT}:function:{self.function_name}"
        )
        self.aws_request_id = invoke["request_id"]
        self.tenant_id = invoke.get("tenant_id")
        told = invoke.get("client_context")
        self.client_context = told and ClientContext(told)
        self.identity = Identity(invoke.get("identity") or {})
        self._exchange = exchange
        self._body = None  # type: BinaryIO | None
        self._deadline = native.now() + invoke["timeout_ms"] * 1_000_000

    def get_remaining_time_in_millis(self):
        # type: () -> int
        """Milliseconds until this invocation is ended."""
        return max(0, (self._deadline - native.now()) // 1_000_000)

    @property
    def body(self):
        # type: () -> BinaryIO
        """What the client sends beside the event while the handler runs: a binary file, empty where
        there is nothing."""
        if self._body is None:
            from pipsqueak_runtime import streaming

            self._body = streaming.body(self._exchange)
        return self._body

    def log(self, message):
        # type: (object) -> None
        """Prints, without a line's end."""
        sys.stdout.write(str(message))


class ClientContext:
    """What a client tells of itself: `custom` and `env` as it sent them."""

    def __init__(self, told):
        # type: (dict[str, Any]) -> None
        self.custom = told.get("custom")
        self.env = told.get("env")
        self.client = told.get("client") and Client(told["client"])


class Client:
    """The application that the client is."""

    def __init__(self, told):
        # type: (dict[str, Any]) -> None
        self.installation_id = told.get("installation_id")
        self.app_title = told.get("app_title")
        self.app_version_name = told.get("app_version_name")
        self.app_version_code = told.get("app_version_code")
        self.app_package_name = told.get("app_package_name")


class Identity:
    """Amazon Cognito's word for who invokes."""

    def __init__(self, told):
        # type: (dict[str, Any]) -> None
        self.cognito_identity_id = told.get("cognitoIdentityId")
        self.cognito_identity_pool_id = told.get("cognitoIdentityPoolId")


def started_with():
    # type: () -> dict[str, str]
    """The variables that the interpreter was started with."""
    global _started_with
    if _started_with is None:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
        _started_with = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    return _started_with


def take(load):
    # type: (Order) -> None
    """Sets the variables of a function: what is told by `load`, and the name of its log. Those that the
    interpreter was started with may have been changed by what has run since, and are left as they are."""
    global _stream
    _stream = (
        f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{load['version']}]{os.urandom(16).hex()}"
    )
    before = started_with()
    for name, value in load["variables"].items():
        if before.get(name) != value:
            os.environ[name] = value
    os.environ["AWS_LAMBDA_LOG_STREAM_NAME"] = _stream


def _group(load):
    # type: (Order) -> str
    return f"/aws/lambda/{load['function']}"
