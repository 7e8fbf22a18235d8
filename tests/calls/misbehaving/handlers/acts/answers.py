"""What a handler returns, JSON or not."""

import collections
import datetime
import decimal
import enum

from acts import Answer, act


class Number(enum.IntEnum):
    ONE = 1


Point = collections.namedtuple("Point", "x y")


@act("end")
def no_numbers(call):
    odd = call.draw.choice([float("nan"), float("inf"), -float("inf")])
    return Answer(call.draw.choice([odd, [odd], {odd: 1}, {"a": {"b": odd}}]))


@act("end", weight=4)
def deep(call):
    value = call.draw.choice([[], {}, 1])
    for n in range(call.draw.choice([50, 127, 200, 600, 100_000])):
        value = [value] if n % 2 else {"a": value}
    return Answer(value)


@act("end")
def circular(call):
    value = [1]
    value.append(call.draw.choice([value, {"a": value}, (value,)]))
    return Answer(value)


@act("end")
def long(call):
    return Answer(call.draw.choice(["x", "\u20ac", "\0", "\ud800"]) * call.draw.choice([100_000, 800_000]))


@act("end")
def too_long(call):
    return Answer("x" * (7 << 20))


@act("end", weight=4)
def hostile(call):
    kind = call.draw.choice([ZeroDivisionError, SystemExit, KeyboardInterrupt, ValueError, RecursionError])

    def fail(*_):
        raise kind("\udc80 of the value")

    made = [
        type("Odd", (dict,), {"items": fail})(a=1),
        type("Odd", (dict,), {"items": lambda self: 5})(a=1),
        type("Odd", (dict,), {"items": lambda self: [(1, 2, 3)]})(a=1),
        type("Odd", (dict,), {"__iter__": fail, "keys": fail})(a=1),
        type("Odd", (list,), {"__iter__": fail, "__len__": fail})([1]),
        type("Odd", (tuple,), {"__iter__": fail})((1,)),
        type("Odd", (int,), {"__repr__": fail, "__str__": fail})(7),
        type("Odd", (float,), {"__repr__": fail, "__str__": fail})(7.5),
        type("Odd", (str,), {"__repr__": fail, "__str__": fail, "encode": fail})("text"),
        type("Odd", (), {"__class__": property(fail)})(),
        type("Odd", (), {"__repr__": fail})(),
        type("Odd", (), {"__getattribute__": fail})(),
        type("Odd", (), {"__del__": fail})(),
    ]
    odd = call.draw.choice(made)
    return Answer(call.draw.choice([odd, [odd], {"a": odd}, {"a": [1, odd]}]))


@act("end", weight=4)
def no_json(call):
    made = [
        {1, 2}, b"bytes", 1j, object(), range(3), decimal.Decimal(1), datetime.date(2026, 11, 30),
        memoryview(b"a"), Exception("a"), len, int, {(1, 2): 3}, {b"a": 1}, {object(): 1}, ...,
        NotImplemented, frozenset(), slice(1), iter([1]), map(str, [1]), zip([1]),
    ]
    odd = call.draw.choice(made)
    return Answer(call.draw.choice([odd, [odd]]))


@act("end", weight=4)
def odd_json(call):
    made = [
        None, True, "", [], {}, (), 0.1, -0.0, 1e400 / 1e400 if False else 1e308, 10**400, -(10**4299), 10**5000,
        "\ud800", "\0", "\u2028\u2029</script>", '"\\/', "\x7f\x80", {"\ud800": 1}, {1: 1, "1": 2},
        {None: 1, True: 2, 1.5: 3, Number.ONE: 4}, Number.ONE, Point(1, 2), {"": ""},
        collections.OrderedDict(b=1, a=2), collections.defaultdict(list, a=[1]), "\U0001f600",
        {"__proto__": 1}, {"error": {"errorType": "Odd"}}, {"request_id": "other"}, '{"part"', "\n{}\n",
        5e-324, 123456789012345678901234567890,
    ]
    return Answer(call.draw.choice(made))


@act("end", weight=3)
def generators(call):
    end = call.draw.choice(["ends", "raises", "exits", "odd", "closes"])

    def items():
        try:
            for n in range(3):
                call.say(f"item {n}")
                yield n
            if end == "raises":
                raise ValueError(f"{call} after three")
            if end == "exits":
                raise SystemExit(3)
            if end == "odd":
                yield object()
        finally:
            call.say("no more items")

    made = items()
    if end == "closes":
        next(made)
        made.close()
    return Answer(made)


@act("end", weight=3)
def awaited(call):
    import asyncio

    end = call.draw.choice(["returns", "raises", "exits", "interrupts", "cancels", "odd", "task", "many"])

    async def answer():
        call.say("awaited")
        await asyncio.sleep(0.01)
        if end == "raises":
            raise ValueError(f"{call} awaited")
        if end == "exits":
            raise SystemExit(3)
        if end == "interrupts":
            raise KeyboardInterrupt
        if end == "cancels":
            raise asyncio.CancelledError
        if end == "odd":
            return {1, 2}
        if end == "task":
            # Nobody waits for it.
            asyncio.ensure_future(asyncio.sleep(1000))
        if end == "many":
            return await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(100)))
        return ["awaited", end]

    return Answer(answer())


@act("end")
def awaited_items(call):
    end = call.draw.choice(["ends", "raises"])

    async def items():
        yield 1
        if end == "raises":
            raise ValueError(f"{call} between")
        yield "\ud800"

    return Answer(items())


@act("end")
def odd_awaitable(call):
    class Odd:
        def __await__(self):
            return call.draw.choice([5, iter([]), iter([5])])

    return Answer(Odd())


@act("end", "shared")
def ends_its_loop(call):
    import asyncio
    import os

    how = call.draw.choice(["deaf", "closed", "stopped"])

    async def answer():
        loop = asyncio.get_running_loop()
        if how == "deaf":
            os.close(loop._selector.fileno())
        if how == "closed":
            loop._selector.close()
        if how == "stopped":
            asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0.01)
        return "awaited"

    return Answer(answer())
