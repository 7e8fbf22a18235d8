"""Messages to and from the supervisor: a line of JSON, then bytes that belong to it."""

import pipsqueak_native as native

# Packages replace functions of `json`.
from pipsqueak_runtime import json_text

if 0:
    from pipsqueak_runtime.shapes import *


def receive(channel):
    # type: (int) -> tuple[Any, bytes, list[int]] | None
    """Returns (header, body, descriptors), or None when the supervisor has closed the channel."""
    message = native.receive(channel)
    if message is None:
        return None
    frame, descriptors = message
    header, _, body = frame.partition(b"\n")
    return json_text.decode(header.decode()), body, descriptors


def send(channel, header, body=b""):
    # type: (int, object, bytes) -> None
    """Sends a header and its body."""
    native.send(channel, compose(header, body))


def compose(header, body=b""):
    # type: (object, bytes) -> bytes
    """A header and its body as one message."""
    return json_text.encode(header) + b"\n" + body
