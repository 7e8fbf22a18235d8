"""Failures of a function, as the supervisor is told them."""

# Frames of these are not told: the runtime's, and those of the import system.
HIDDEN = (__file__.rpartition("/")[0], "<frozen importlib")
# Folder of the user's code, once there is one.
code = "/"


class Failure(Exception):
    """A failure of the function."""

    def __init__(self, kind, message, trace=(), **rest):
        super().__init__(message)
        self.header = {
            "errorType": kind,
            "errorMessage": message,
            "stackTrace": list(trace),
            **rest,
        }


def of(error, kind=None, about="", **rest):
    """The failure that an error is: of its own kind, where no other is given."""
    return Failure(kind or type(error).__name__, about + _message(error), trace(error), **rest)


def trace(error):
    """The traceback's lines, from the user's first frame on; without those of what calls it."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith(HIDDEN)]
    own = (at for at, frame in enumerate(frames) if frame.filename.startswith(f"{code}/"))
    lines = traceback.format_list(frames[next(own, 0) :])
    if isinstance(error, SyntaxError):
        # It was not run, so its place is in no frame.
        lines += traceback.format_exception_only(type(error), error)[:-1]
    return [line.rstrip("\n") for line in lines]


def _message(error):
    try:
        return str(error)
    except Exception as another:
        return f"its text cannot be had: {type(another).__name__}"
