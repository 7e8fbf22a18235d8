"""JSON as functions are told it and as they answer: what `json` does, without what it does anew for
each text."""

import json
from json.encoder import c_make_encoder  # type: ignore[attr-defined]

from pipsqueak_runtime import failure
from pipsqueak_runtime import own_builtins as __builtins__
from pipsqueak_runtime.failure import Failure

if 0:
    from pipsqueak_runtime.shapes import *

_encoder = json.JSONEncoder(allow_nan=False)
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def decode(text):
    # type: (str) -> Any
    """The value of a text that is JSON, with nothing around it."""
    return _scan(text, 0)[0]


def encode(value):
    # type: (object) -> bytes
    """A value as JSON, in bytes. Raises TypeError, ValueError or RecursionError where it is none."""
    return "".join(_parts_of(value)).encode()


def marshal(value, what="the answer"):
    # type: (object, str) -> bytes
    """What a handler gives as JSON, in bytes. Raises the failure that it is none."""
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        reason = failure.message(error)
    except BaseException as error:
        # Values may be of classes that have a say in it.
        reason = f"{failure.name(error)}: {failure.message(error)}"
    raise Failure("Runtime.MarshalError", f"{what} is not JSON: {reason}", fit=True)


def _parts_of(value):
    # type: (object) -> Iterable[str]
    if _make is None:
        return [_encoder.encode(value)]
    # The first is what it is told by that a value is in itself: how deep a stack may be is the function's to say.
    return _make({}, *_how)(value, 0)


_make = c_make_encoder
_separators = _encoder.key_separator, _encoder.item_separator
_how = (
    _encoder.default,
    json.encoder.encode_basestring_ascii,
    None,
    *_separators,
    False,
    False,
    False,
)
