"""Messages to and from the supervisor. The supervisor's side of this is `supervisor/src/protocol.rs`.

A message is a byte that tells its kind, a header, which is a line of JSON, and a body.
"""

import pipsqueak_native as native

# Packages replace functions of `json`.
from pipsqueak_runtime import json_text

if 0:
    from pipsqueak_runtime.shapes import *

# Both sides come with one program; each process is told the supervisor's by its first message.
VERSION = 1

# To a zygote.
IMPORT = 1
FORK = 2
# From a zygote.
READY = 17
FAILED = 18
UNREADY = 19
TRIED = 20
FORKED = 21
REFUSED = 22
# To a function's process.
STANDBY = 33
LOAD = 34
INVOKE = 35
TOLD = 36
OUTPUT = 37
# From a function's process.
ANSWER = 49
PRINTED = 50
SAID = 51
PREPARED = 52


def receive(channel):
    # type: (int) -> tuple[int, Any, list[int]] | None
    """Returns (kind, header, descriptors), or None when the supervisor has closed the channel."""
    message = native.receive(channel)
    if message is None:
        return None
    frame, descriptors = message
    return frame[0], json_text.decode(frame[1:].decode()), descriptors


def send(channel, kind, header):
    # type: (int, int, object) -> None
    """Sends a message without a body."""
    native.send(channel, compose(kind, header))


def compose(kind, header):
    # type: (int, object) -> bytes
    """A message without a body."""
    return bytes((kind,)) + json_text.encode(header) + b"\n"


def trouble(kind, header):
    # type: (int, Any) -> str | None
    """Why the first message of a process cannot be heeded, if it cannot."""
    if kind in (IMPORT, STANDBY, LOAD) and header.get("protocol") == VERSION:
        return None
    theirs = header.get("protocol") if isinstance(header, dict) else None
    return f"the supervisor speaks version {theirs} of the protocol, the runtime version {VERSION}"
