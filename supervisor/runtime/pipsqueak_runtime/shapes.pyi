"""Types of what passes between the modules. Checkers read this; no interpreter does.

The other modules take all of it, where only checkers look: names that are imported one by one would each
be read at every start.
"""

from asyncio import AbstractEventLoop as AbstractEventLoop
from asyncio import Task as Task
from collections.abc import AsyncIterable as AsyncIterable
from collections.abc import AsyncIterator as AsyncIterator
from collections.abc import Awaitable as Awaitable
from collections.abc import Callable as Callable
from collections.abc import Coroutine as Coroutine
from collections.abc import Iterable as Iterable
from collections.abc import Iterator as Iterator
from collections.abc import Mapping
from collections.abc import Sequence as Sequence
from logging import Logger as Logger
from threading import Lock as Lock
from traceback import FrameSummary as FrameSummary
from types import CodeType as CodeType
from types import FrameType as FrameType
from types import ModuleType as ModuleType
from types import TracebackType as TracebackType
from typing import Any as Any
from typing import BinaryIO as BinaryIO
from typing import NoReturn as NoReturn
from typing import TextIO as TextIO
from typing import TypeAlias

from pipsqueak_native import Channel as Channel

from pipsqueak_runtime.concurrency import Several
from pipsqueak_runtime.context import Context
from pipsqueak_runtime.hazards import Hazard, Probe, Stays
from pipsqueak_runtime.streaming import Exchange
from pipsqueak_runtime.uniqueness import Generators

# What the supervisor says of a function's process, of an invocation, and what it is answered.
Order: TypeAlias = dict[str, Any]
Invocation: TypeAlias = dict[str, Any]
Header: TypeAlias = dict[str, Any]

# A kind, a header, and a body that is text, or bytes where it is of streams.
Message: TypeAlias = tuple[int, str, Any]
# A header, and a body that is JSON.
Answer: TypeAlias = tuple[Header, bytes]
Send: TypeAlias = Callable[[int, bytes, bytes], None]
Receive: TypeAlias = Callable[[], Message | None]

# Takes the event and the invocation.
Handler: TypeAlias = Callable[[Any, Invocation], Any]
# Takes the reason.
Refuse: TypeAlias = Callable[[str], NoReturn]
# What was awaited gives, or what it raises.
Outcome: TypeAlias = tuple[Any, BaseException | None]
# Classes, by other names than where they are made.
HazardProbe: TypeAlias = Probe
Hazards: TypeAlias = list[Hazard | Stays]
Invoked: TypeAlias = Context
RandomGenerators: TypeAlias = Generators
SeveralAtOnce: TypeAlias = Several
Streams: TypeAlias = Exchange

# Headers of HTTP.
Pairs: TypeAlias = list[tuple[str, str]]
# A function with its arguments.
Hook: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], Mapping[str, Any]]
# Finds what there is at the moment.
Look: TypeAlias = Callable[[], set[Any]]
