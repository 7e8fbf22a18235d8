"""Failures of a function, as the supervisor is told them: within bounds, and as text that is none of the
function's code any more, whatever its exceptions are."""

from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

# Frames of these are not told: the runtime's, and those of the import system.
HIDDEN = (__file__.rpartition("/")[0], "<frozen importlib")
# Folder of the user's code, once there is one.
code = "/"
# Most characters of a message, of the name of an exception's class, and of a traceback's line.
LONGEST_MESSAGE = 16 << 10
LONGEST_NAME = 256
LONGEST_LINE = 1000
# Most lines of a traceback, and most frames that are read for it.
MOST_LINES = 100
MOST_FRAMES = 1000
# Most bytes of each as JSON, of which an answer has room for twice as many.
MOST_BYTES = 40 << 10

# Of the class itself, not of what its metaclass says.
_name_of = type.__dict__["__name__"].__get__


class Failure(Exception):
    """A failure of the function."""

    def __init__(self, kind, message, trace=(), **rest):
        # type: (str, str, Iterable[str], **Any) -> None
        super().__init__(message)
        trace = [printable(line, LONGEST_LINE) for line in trace]
        while _bytes("".join(trace)) > MOST_BYTES:
            del trace[len(trace) // 3 : len(trace) // 3 * 2 + 1]
        self.header = {
            "errorType": printable(kind, LONGEST_NAME),
            "errorMessage": printable(message, LONGEST_MESSAGE),
            "stackTrace": trace,
            **rest,
        }


def of(error, kind=None, about="", **rest):
    # type: (BaseException, str | None, str, **Any) -> Failure
    """The failure that an error is: of its own kind, where no other is given."""
    return Failure(kind or name(error), about + message(error), trace(error), **rest)


def name(error):
    # type: (BaseException) -> str
    """The name of an error's class."""
    try:
        return str.__str__(_name_of(type(error)))
    except Exception:
        return "Exception"


def message(error):
    # type: (BaseException) -> str
    """What an error says."""
    try:
        return str.__str__(str(error))
    except BaseException as another:
        # What it raises may be as bad.
        return f"its text cannot be had: {name(another)}"


def trace(error):
    # type: (BaseException) -> list[str]
    """The traceback's lines, from the user's first frame on; without those of what calls it."""
    try:
        return _trace(error)
    except BaseException:
        # The user's code has a say in it: where sources are, and what is in their place.
        return _plain_trace(error)


def printable(text, longest):
    # type: (str, int) -> str
    """Text that can be told: cut, and with escapes for what is no character."""
    told = text
    if len(text) > longest:
        told = f"{text[:longest]}… [{len(text) - longest} more characters]"
    try:
        told.encode()
    except UnicodeEncodeError:
        told = told.encode(errors="backslashreplace").decode()
    if _bytes(told) > MOST_BYTES:
        return printable(text, longest // 4)
    return told


def _bytes(text):
    # type: (str) -> int
    # As JSON: six for each that is not ASCII, or twice that.
    if text.isascii():
        return len(text)
    return len(text) + 5 * sum(char > "\x7f" for char in text) + 6 * sum(c > "\uffff" for c in text)


def _trace(error):
    # type: (BaseException) -> list[str]
    import traceback

    frames = _frames(error.__traceback__, traceback.extract_tb)
    frames = [frame for frame in frames if not frame.filename.startswith(HIDDEN)]
    own = (at for at, frame in enumerate(frames) if frame.filename.startswith(f"{code}/"))
    lines = traceback.format_list(frames[next(own, 0) :])
    if isinstance(error, SyntaxError):
        # It was not run, so its place is in no frame.
        lines += traceback.format_exception_only(type(error), error)[:-1]
    if len(lines) > MOST_LINES:
        left_out = f"  [{len(lines) - MOST_LINES} more are left out]"
        lines[MOST_LINES // 2 : -MOST_LINES // 2] = [left_out]
    return [line.rstrip("\n") for line in lines]


def _frames(trace, extract):
    # type: (TracebackType | None, Callable[..., list[FrameSummary]]) -> list[FrameSummary]
    count, one = 0, trace
    while one is not None:
        count, one = count + 1, one.tb_next
    if count <= MOST_FRAMES:
        return extract(trace)
    return [*extract(trace, MOST_FRAMES // 2), *extract(trace, -MOST_FRAMES // 2)]


def _plain_trace(error):
    # type: (BaseException) -> list[str]
    lines = []  # type: list[str]
    try:
        one = error.__traceback__
        while one is not None and len(lines) < MOST_LINES:
            place = one.tb_frame.f_code
            if not place.co_filename.startswith(HIDDEN):
                lines.append(
                    f'  File "{place.co_filename}", line {one.tb_lineno}, in {place.co_name}'
                )
            one = one.tb_next
    except BaseException:
        lines.append("  [there is more, which cannot be told]")
    return lines
