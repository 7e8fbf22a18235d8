"""What is printed, and where streams go. A line with `fd` is told apart from others' by nothing but who
prints it to a descriptor; one with `later` comes when it comes, and one with `astray` from what was left running, into nobody's call."""

import io
import logging
import os
import subprocess
import sys
import warnings

from acts import act


@act()
def much(call):
    for n in range(call.draw.choice([10, 1000])):
        call.say(f"line {n} {'x' * 50}")


@act()
def too_much(call):
    for n in range(300):
        call.say(f"line {n} {'x' * 2000}")


@act()
def long_line(call):
    call.say("\u20ac" * call.draw.choice([5000, 50000]))


@act()
def without_an_end(call):
    print(f"{call} begun", end="")
    print(" and ended", flush=call.draw.random() < 0.5)


@act()
def without_any_end(call):
    print(f"{call} not ended", end="")


@act()
def errors(call):
    print(f"{call} to stderr", file=sys.stderr)
    sys.stderr.write(f"{call} written\n")
    sys.stderr.writelines([f"{call} one\n", f"{call} two\n"])


@act()
def odd_text(call):
    call.say(call.draw.choice(["\udc80", "\0", "\x1b[31m", "a\rb", "\U0001f600\ufffe", "\udcff"]))


@act()
def no_character(call):
    call.say("\ud800")


@act()
def no_text(call):
    for odd in (5, None, b"bytes"):
        try:
            sys.stdout.write(odd)
        except TypeError as error:
            call.say(f"{type(error).__name__}")


@act()
def bytes_(call):
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{call} fd ".encode() + bytes(set(range(256)) - {10, 13, 60, 62}) + b"\n")
    sys.stdout.buffer.flush()


@act()
def descriptors(call):
    sys.stdout.flush()
    os.write(call.draw.choice([1, 2]), f"{call} fd written\n".encode())


@act()
def child(call):
    sys.stdout.flush()
    subprocess.run(["sh", "-c", f"echo '{call} fd by a child'; echo '{call} fd and so on' >&2"])


@act("beside")
def child_later(call):
    subprocess.Popen(["sh", "-c", f"sleep 0.15; echo '{call} fd astray'"])


@act()
def logs(call):
    logging.getLogger("acts").handlers = [logging.StreamHandler()]
    logging.getLogger("acts").error("%s logged", call.token)
    warnings.warn(f"{call} warned", stacklevel=1)


@act()
def asks(call):
    try:
        call.say(repr(input(f"{call} asks\n")))
    except EOFError as error:
        call.say(f"{type(error).__name__}")


@act("shared")
def closed(call):
    getattr(sys, call.draw.choice(["stdout", "stderr"])).close()


@act("shared")
def none(call):
    sys.stdout = sys.stderr = None


@act("shared")
def deleted(call):
    del sys.stdout


@act("shared")
def replaced(call):
    sys.stdout = io.StringIO()
    call.say("is kept")


@act("shared")
def replaced_badly(call):
    kind = call.draw.choice([KeyError, SystemExit, KeyboardInterrupt, BlockingIOError])

    def fail(*_):
        raise kind("of a stream")

    sys.stdout = type("Odd", (), {"write": lambda *_: 0, "flush": fail})()
    if call.draw.random() < 0.5:
        sys.stderr = type("Odd", (), {"__getattr__": fail})()


@act("shared")
def detached(call):
    sys.stdout.detach()


@act("shared")
def wrapped(call):
    sys.stdout.flush()
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, "utf-16", line_buffering=True)


@act("shared")
def reconfigured(call):
    kinds = [dict(encoding="ascii", errors="strict"), dict(line_buffering=False)]
    sys.stdout.reconfigure(**call.draw.choice(kinds))


@act("shared")
def does_not_block(call):
    os.set_blocking(1, False)
    call.say("at once")


@act("shared")
def closed_descriptors(call):
    sys.stdout.flush()
    for number in call.draw.choice([(0,), (1,), (2,), (1, 2), (0, 1, 2)]):
        os.close(number)


@act("shared")
def other_descriptors(call):
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    for number in call.draw.choice([(1,), (2,), (1, 2), (0, 1, 2)]):
        os.dup2(null, number)


@act("shared")
def swapped(call):
    sys.stdout, sys.stderr = sys.stderr, sys.stdout
    call.say("swapped")


@act("shared")
def own_print(call):
    import builtins

    plain = builtins.print
    builtins.print = lambda *texts, **how: plain("own", *texts, **how)
    call.say("printed by another")
