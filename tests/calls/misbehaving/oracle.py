"""`python oracle.py main|thread HANDLER...`: tells of misbehaving handlers, of each as a line of JSON, what it does and how a
plain process fares with it, and with a call after it. A HANDLER is `FIRST+COUNT`, drawn by so many seeds, or
`SEED:ACT,ACT`, of these acts.
"""

import concurrent.futures
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "handlers")
sys.path.insert(0, FOLDER)
from acts import ACTS

# How long a plain process may take, in seconds: one that hangs, whether that is said of what it does or not.
PATIENCE = 40
HANGING = 4
# Descriptors from here on are no handler's.
OWN = 900
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

# Whatever follows these prints where several share a process, and not in a plain process.
ALONE = ["printing.closed_descriptors", "printing.other_descriptors", "printing.does_not_block"]
# Prints a line that has no end.
UNENDED = "printing.without_any_end"
# What is awaited needs a library, and an event loop, that are there only then: how they fail says nothing where
# these have taken away what they need.
_LIBRARY = "patches.built_in patches.imports patches.modules_removed patches.modules_odd patches.paths patches.audited"
_LIBRARY += " patches.warned patches.hooks patches.loop_patched patches.sockets patches.threads patches.files"
_LIBRARY += " patches.descriptors_used_up patches.limits patches.address_space printing.closed_descriptors"
_TIMERS = "signals.alarm_left signals.timer_left signals.timer_handled"
APART = [
    (last, _LIBRARY.split())
    for last in ("answers.awaited", "answers.awaited_items", "answers.odd_awaitable", "answers.ends_its_loop",
                 "process.child_in_a_task")
] + [
    # These take long, on a busy machine.
    (last, _TIMERS.split())
    for last in ("process.takes_memory", "process.child_takes_memory", "process.too_many", "threads.too_many")
] + [
    # What is forked while a thread prints waits for that thread's lock, in any process.
    (last, ["threads.left", "threads.raises_later", "threads.raises_without_threading"])
    for last in ACTS
    if last.startswith("process.child_")
]


def drawn(mode, seed, only):
    """The acts of a seed, each with a seed of its own: one that ends the handler comes last."""
    draw = random.Random(seed)
    draw.random()
    names = only or _names(draw)
    if mode == "thread":
        # There a loop runs in a thread of its own, in which none is left running.
        names = [name for name in names if name != "patches.running_loop"] or names
        names = [name for name in names if name in ALONE][:1] or names
    return [[name, draw.randrange(1 << 32)] for name in names]


def _names(draw):
    def some(kinds, count):
        names = [name for name in ACTS if ("end" in ACTS[name].traits) == kinds]
        return draw.choices(names, [ACTS[name].weight for name in names], k=count)

    while True:
        before = list(dict.fromkeys(some(False, draw.choice([0, 1, 1, 2, 2, 3]))))
        names = before + some(True, 1 if not before else draw.choice([0, 1]))
        is_apart = any(names[-1:] == [last] and set(before) & set(others) for last, others in APART)
        if not is_apart and not (UNENDED in names and any(map(_may_print, names))):
            return names


def _may_print(name):
    """Whether something else of an act may come behind a line that has no end."""
    late = ["patches.deleted_late", "raising.while_it_ends"]
    return "beside" in ACTS[name].traits or name in late


def case(mode, seed, only=None):
    """What a handler does, and what a plain process makes of it."""
    acts = drawn(mode, seed, only)
    token = f"c{seed}{mode[0]}"
    traits = sorted({trait for name, _ in acts for trait in ACTS[name].traits})
    first = {"call": token, "acts": acts}
    second = {"call": f"{token}w", "wait": 0.02}
    ended, begun = run(mode, [first, second], "hangs" in traits)
    if len(ended) == 1:
        # The call after it is of a process of its own.
        ended += run(mode, [second], False)[0]
    (outcome, printed), (then, then_printed) = ended
    return {
        "seed": seed,
        "acts": [name for name, _ in acts],
        "begun": begun,
        "traits": traits,
        "events": [first, second],
        "outcome": outcome,
        "printed": printed,
        "then": then,
        "then_printed": then_printed,
    }


def run(mode, events, hangs):
    """How each of some calls of one plain process has ended, and the lines that it has printed; no more
    after the one that has ended the process. Beside that, the acts that were begun."""
    pipes = [os.pipe() for _ in range(2)]
    (report, report_in), (printed, printed_in) = pipes
    # High, where no handler looks for them.
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, OWN) for one in (report_in, printed_in)]
    command = [sys.executable, "-I", "-X", "utf8", os.path.join(os.path.dirname(FOLDER), "plain.py"), FOLDER]
    command += [*map(str, high), mode, json.dumps(events)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed_in, stderr=printed_in, pass_fds=high,
            env=ENVIRONMENT, start_new_session=True,
        )
        for one in (report_in, printed_in, *high):
            os.close(one)
        # What is left of it may have the pipes open for long.
        readers = [_Reader(one) for one in (report, printed)]
        try:
            status = process.wait(HANGING if hangs else PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    told, text = [reader.end() for reader in readers]
    said = [json.loads(line) for line in told.splitlines()]
    begun = [one["begun"] for one in said if "begun" in one]
    outcomes = [one for one in said if "begun" not in one]
    parts = re.split(rb"\n<end of \d+>\n", text)
    ended = list(zip(outcomes, map(_lines, parts)))
    if len(ended) < len(events):
        how = {"hangs": True} if status is None else {"ended": _how(status)}
        ended.append((how, _lines(parts[len(ended)] if len(ended) < len(parts) else b"")))
    return ended, begun


class _Reader:
    def __init__(self, descriptor):
        self._parts = []
        self._thread = threading.Thread(target=self._read, args=[descriptor], daemon=True)
        self._thread.start()

    def _read(self, descriptor):
        with open(descriptor, "rb", 0) as source:
            while part := source.read(1 << 16):
                self._parts.append(part)

    def end(self):
        # What has left its session may have it open for long.
        self._thread.join(5)
        return b"".join(self._parts)


def _lines(text):
    return text.decode(errors="replace").split("\n")


def _how(status):
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"


def main(mode, *handlers):
    wanted = []
    for handler in handlers:
        seed, _, acts = handler.partition(":")
        first, _, count = seed.partition("+")
        for one in range(int(first), int(first) + int(count or 1)):
            wanted.append((one, acts.split(",") if acts else None))
    # What a shell has in the background ignores it, and so does what that starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for told in pool.map(lambda one: case(mode, *one), wanted):
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
