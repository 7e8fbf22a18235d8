"""Exceptions."""

import asyncio
import sys

from acts import act


@act("end")
def odd_text(call):
    texts = ["\udc80 \ud800", "\0\x1b[31m\r\n", "\U0001f600\u2028\ufffe", "", "\n\n", '"\\', "x" * 16384]
    raise ValueError(f"{call} {call.draw.choice(texts)}")


@act("end")
def long_text(call):
    raise call.draw.choice([ValueError, KeyError])(call.draw.choice("x\u20ac\U0001f600\udcff") * (1 << 20))


@act("end")
def text_that_raises(call):
    kind = call.draw.choice([KeyError, SystemExit, KeyboardInterrupt, RecursionError, MemoryError])

    class Odd(Exception):
        def __str__(self):
            raise kind("no")

        __repr__ = __str__

    raise Odd


@act("end")
def text_that_is_none(call):
    class Odd(Exception):
        def __str__(self):
            return call.draw

    raise Odd


@act("end")
def group(call):
    errors = [ValueError(f"{call} {n}") for n in range(call.draw.choice([1, 5, 300]))]
    kind = getattr(__import__("builtins"), "BaseExceptionGroup", None)
    if kind is None:
        raise RuntimeError(*errors)
    if call.draw.random() < 0.5:
        errors.append(SystemExit(3))
    raise kind(f"{call} several", errors)


@act("end")
def base(call):
    class Own(BaseException):
        pass

    raise Own(f"{call} base", 2)


@act("end", weight=6)
def exits(call):
    code = call.draw.choice([None, 0, 3, -1, 1 << 70, "why", ("a", 2), True, 2.5])
    if call.draw.random() < 0.5:
        sys.exit(code)
    raise SystemExit(code)


@act("end")
def interrupt(call):
    raise KeyboardInterrupt


@act("end")
def recursion(call):
    def again():
        again()

    again()


@act("end")
def memory(call):
    bytearray(1 << 62)


@act("end")
def stops(call):
    raise call.draw.choice([StopIteration, GeneratorExit, StopAsyncIteration, asyncio.CancelledError])(5)


@act("end")
def chain(call):
    error = None
    for n in range(call.draw.choice([3, 3000])):
        error, cause = ValueError(f"{call} {n}"), error
        error.__cause__ = error.__context__ = cause
    raise error


@act("end")
def deep(call):
    def down(n):
        if n:
            down(n - 1)
        raise ValueError(f"{call} deep")

    down(call.draw.randrange(900))


@act("end")
def syntax(call):
    exec(call.draw.choice(["def", "x = (", "\tx\n  y", "'\\udc80'\n$"]))


@act("end")
def import_error(call):
    __import__(call.draw.choice(["absent", "os.absent", "json.absent", "", "a" * 3000]))


@act("end")
def unicode(call):
    "\udc80".encode()


@act("end")
def os_error(call):
    open(call.draw.choice(["/\udc80/absent", "/absent/" + "x" * 300, "/tmp", 999999]), "w")


@act("end")
def odd_key(call):
    {}[call.draw.choice(["\udc80", None, (1, 2), "x" * 20000, b"\xff"])]


@act("end")
def odd_class(call):
    class Meta(type):
        __name__ = property(lambda self: 1 / 0)
        __module__ = None

    made = [
        Meta("Odd", (Exception,), {}),
        type("E" * 100000, (Exception,), {}),
        type("Odd", (Exception,), {"__class__": property(lambda self: 1 / 0)}),
        type("Odd", (Exception,), {"__traceback__": property(lambda self: 1 / 0)}),
        type("Odd", (Exception,), {"__getattribute__": lambda self, name: 1 / 0}),
        type("Odd", (Exception,), {"__bool__": lambda self: 1 / 0, "__eq__": None, "__len__": None}),
        type("Odd", (Exception,), {"__slots__": ()}),
    ]
    raise call.draw.choice(made)(f"{call} odd")


@act("end")
def odd_file(call):
    exec(compile("raise ValueError('odd file')", call.draw.choice(["\udc80", "\n" * 90000, ""]), "exec"))


@act("end")
def notes(call):
    error = ValueError(f"{call} noted")
    error.__notes__ = call.draw.choice([None, 5, ["\udc80"] * 3, [1], ["x" * (1 << 20)]])
    raise error


_one = ValueError("the same each time")


@act("end")
def the_same_again(call):
    for _ in range(50):
        try:
            raise _one
        except ValueError:
            pass
    raise _one


@act("end")
def in_finally(call):
    try:
        raise SystemExit(4)
    finally:
        raise ValueError(f"{call} instead")


@act("end")
def while_it_ends(call):
    class Odd:
        def __del__(self):
            raise ValueError(f"{call} while it is deleted")

    odd = Odd()
    raise KeyError(f"{call} {type(odd).__name__}")
