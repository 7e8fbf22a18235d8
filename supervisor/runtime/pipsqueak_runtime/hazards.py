"""What imports leave that a fork would break or share.

A thread does not live in a child, a child process is not a child's, and a descriptor leads to what
all children would use at once, as is memory that is mapped to be shared. Files in `/tmp` are copied for
each child, but for those that cannot be, or are too many. Handlers do no harm: a fork keeps them, as an
import of the child's own would have made them.
"""

import _signal  # type: ignore[import-not-found]
import atexit
import os
import signal
import time

from pipsqueak_runtime import files

if 0:
    from pipsqueak_runtime.shapes import *

# The last descriptor that a sandbox's process is started with.
CHANNEL = 3
# How long a thread or process may take to be gone that has been waited for, in seconds.
PATIENCE = 0.05
# glibc sets some beyond these for its own threads.
SIGNALS = [int(number) for number in signal.valid_signals() if number < signal.SIGRTMIN]


class Hazard:
    """Something that an import has left: `key` is among what `look` finds as long as it is there."""

    def __init__(self, text, look, key):
        # type: (str, Look, Any) -> None
        self.text, self.look, self.key = text, look, key

    def is_there(self):
        # type: () -> bool
        return self.key in self.look()

    def by(self, text):
        # type: (str) -> Hazard
        """The same, and how it came."""
        return Hazard(self.text + text, self.look, self.key)


class Stays:
    """Something that an import has done for good."""

    def __init__(self, text):
        # type: (str) -> None
        self.text = text

    def is_there(self):
        # type: () -> bool
        return True

    def by(self, text):
        # type: (str) -> Stays
        """The same, and how it came."""
        return Stays(self.text + text)


class Probe:
    """Tells what there is that was not there when it was asked last."""

    def __init__(self):
        # type: () -> None
        # What a new interpreter has in its sandbox, whatever `.pth` files have done since.
        self.seen = {  # type: dict[Look, set[Any]]
            _threads: {os.getpid()},
            _processes: {1, os.getpid()},
            _descriptors: {found for found in _descriptors() if found[0] <= CHANNEL},
            _mapped: set(),
            files.unfit: set(),
            _signals: _signals(),
        }
        self.at_fork = 0
        self.counts = {}  # type: dict[str, int]

    def inherit(self):
        # type: () -> None
        """Takes what there is now for known, in a child: it was its zygote's to tell."""
        self.seen = {look: look() for look in self.seen}

    def watch_hooks(self):
        # type: () -> Callable[[], None]
        """Counts at-fork handlers, which nothing tells afterwards. Returns what ends the watch."""
        plain = os.register_at_fork

        def register_at_fork(**hooks):
            # type: (**Any) -> None
            self.at_fork += 1
            return plain(**hooks)

        def end():
            # type: () -> None
            os.register_at_fork = plain

        os.register_at_fork = register_at_fork
        return end

    def news(self):
        # type: () -> tuple[list[Hazard | Stays], list[str]]
        """Returns what a fork would break or share, a list of hazards, and what is only worth a
        remark, a list of texts."""
        threads, stopped = self._threads()
        found = [(f"a thread running: {_thread_name(key)}", _threads, key) for key in threads]  # type: list[tuple[str, Look, Any]]
        for key in self._fresh(_processes, _what_stays(_processes, self.seen[_processes])):
            found.append((f"a process running: {_read(f'/proc/{key}/comm')}", _processes, key))
        for key in self._fresh(_descriptors, _descriptors()):
            found.append((_describe(key[1]), _descriptors, key))
        for key in self._fresh(files.unfit, files.unfit()):
            found.append((key, files.unfit, key))
        remarks = [f"threads that stop for a fork: {stopped}"] if stopped else []
        for number, _ in self._fresh(_signals, _signals()):
            remarks.append(f"sets a handler of {signal.Signals(number).name}")
        for what, count in (("an atexit", atexit._ncallbacks()), ("an at-fork", self.at_fork)):
            if count > self.counts.get(what, 0):
                remarks.append(f"registers {what} handler")
            self.counts[what] = count
        return [Hazard(f"leaves {text}", look, key) for text, look, key in found], remarks

    def mapped(self):
        # type: () -> list[Hazard | Stays]
        """The same of memory that children would write to together, and of what a GPU's driver keeps in the
        process for it. Asked apart, because the list of what is mapped is long."""
        fresh = self._fresh(_mapped, _mapped())
        return [Hazard(f"leaves {key[0]}", _mapped, key) for key in fresh]

    def _fresh(self, look, now):
        # type: (Look, set[Any]) -> list[Any]
        """Those that `look` has found now and had not found when it was asked last."""
        fresh = now - self.seen[look]
        self.seen[look] = now
        return sorted(fresh)

    def _threads(self):
        # type: () -> tuple[list[int], int]
        """New threads that a fork would lose, and how many have stopped for one.

        OpenBLAS and others stop their threads when their process forks, and start them again when
        they are next needed; so a fork tells them from the rest."""
        now = _what_stays(_threads, self.seen[_threads])
        before = len(now)
        if now - self.seen[_threads]:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            now = _what_stays(_threads, self.seen[_threads])
        return self._fresh(_threads, now), before - len(now)


def _what_stays(look, known):
    # type: (Look, set[Any]) -> set[Any]
    """What `look` finds, when all that is new has had the time to be gone."""
    until = time.monotonic() + PATIENCE
    while (now := look()) - known and time.monotonic() < until:
        time.sleep(0.001)
    return now


def _threads():
    # type: () -> set[int]
    return {int(name) for name in os.listdir("/proc/self/task")}


def _processes():
    # type: () -> set[int]
    """All of the sandbox, those included that have left their parents."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _descriptors():
    # type: () -> set[tuple[int, str]]
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((int(number), os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            # The one that the list was read by.
            pass
    return found


def _mapped():
    # type: () -> set[tuple[str, bytes]]
    """What it is, and where."""
    with open("/proc/self/maps", "rb") as maps:
        text = maps.read()
    found = {("a GPU's driver loaded: libcuda", b"")} if b"/libcuda.so" in text else set()
    # Few processes have any, and the list is long.
    if any(mode in text for mode in (b"rw-s ", b"rwxs ", b"-w-s ")):
        for line in text.splitlines():
            place, mode, _, _, _, *name = line.split(None, 5)
            if mode[1:4:2] == b"ws":
                name = b"".join(name).decode(errors="backslashreplace")  # type: ignore[assignment]
                found.add((f"memory that processes share: {name}", place))
    return found


def _signals():
    # type: () -> set[tuple[int, tuple[int, int, int]]]
    """Numbers of signals and what is done at them. Python knows its own handlers, the kernel those
    of others."""
    with open("/proc/self/status", "rb") as status:
        masks = [line for line in status if line.startswith((b"SigIgn", b"SigCgt"))]
    ignored, caught = (int(mask.split()[1], 16) for mask in masks)
    # That of `signal` makes names of numbers, which takes longer than all the rest.
    handler = _signal.getsignal
    bits = ((number, 1 << number - 1) for number in SIGNALS)
    return {(number, (ignored & bit, caught & bit, id(handler(number)))) for number, bit in bits}


def _describe(target):
    # type: (str) -> str
    if target.startswith("socket:"):
        return "a socket open"
    if target.startswith("/dev/nvidia"):
        return f"a GPU's context: {target} is open"
    return f"a descriptor open: {target}"


def _thread_name(task):
    # type: (int) -> str
    import threading

    for thread in threading.enumerate():
        if thread.native_id == task:
            return thread.name
    return _read(f"/proc/self/task/{task}/comm")


def _read(path):
    # type: (str) -> str
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return "unknown"
