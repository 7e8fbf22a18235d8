"""Importing an environment's packages ahead of the functions that will want them."""

import _thread
import os
import sys
import time

from pipsqueak_runtime import environment, failure, forked, reads, replaced
from pipsqueak_runtime.hazards import Stays

if 0:
    from pipsqueak_runtime.shapes import *

bootstrap = sys.modules["_frozen_importlib"]  # type: Any
# What runs before any import, the environment's `.pth` files, is told under this name.
START = "site"
# What runs after all of them is told under this one.
END = "snapshot_restore_py"


class Account:
    """What a module's import has cost and left, without those of other modules that are wanted."""

    def __init__(self):
        # type: () -> None
        self.ns = 0
        self.bytes = 0
        self.hazards = []  # type: Hazards
        self.remarks = []  # type: list[str]


class Preloading:
    """Imports modules and keeps an account of each."""

    def __init__(self, wanted, probe, generators):
        # type: (Iterable[str], HazardProbe, RandomGenerators) -> None
        self.wanted = dict.fromkeys(wanted)
        self.accounts = {}  # type: dict[str, Account]
        self.failed = None  # type: dict[str, Any] | None
        # Modules whose imports have failed, and the wanted ones that were importing them.
        self.importers = {}  # type: dict[str, list[str]]
        # Wanted modules that are being imported, each by the one before it.
        self.open = []  # type: list[str]
        self.thread = _thread.get_ident()
        self.plain = bootstrap._find_and_load_unlocked
        self.probe, self.generators = probe, generators
        self.since = self.bytes = 0
        self.replaced = None  # type: replaced.Watch | None
        # Something was loaded since it was looked at what is mapped.
        self.has_loaded = False

    def run(self):
        # type: () -> None
        """Imports them all, or those before the first that fails: what that leaves half-imported is in
        the way of all else."""
        self.account(START).hazards, _ = self.probe.news()
        end_watch = self.probe.watch_hooks()
        self.generators.begin()
        reads.note_start(environment.FOLDER, environment.lines())
        reads.begin()
        self.replaced = replaced.Watch()
        bootstrap._find_and_load_unlocked = self.load
        try:
            for name in self.wanted:
                try:
                    __import__(name)
                except BaseException as error:
                    # What a package raises is not always an Exception: some exit.
                    forked.stay(error)
                    self.fail(name, error)
                    break
                forked.stay()
                # Few of them are not there by then, and the list of what is mapped is long.
                if self.has_loaded:
                    self.has_loaded = False
                    self.account(name).hazards += self.probe.mapped()
        finally:
            bootstrap._find_and_load_unlocked = self.plain
            reads.end()
            end_watch()
            # It holds as much as all modules have names.
            self.replaced = None

    def load(self, name, import_, **lazy):
        # type: (str, Any, **Any) -> ModuleType
        """Takes the place of what imports a module that is not there yet. From CPython 3.15 on `lazy` says what
        is to come of a submodule that is nowhere."""
        self.has_loaded = True
        module = self._load(name, import_, lazy)
        reads.loaded(name)
        return module

    def _load(self, name, import_, lazy):
        # type: (str, Any, dict[str, Any]) -> ModuleType
        if name == "random":
            random = self.plain(name, import_, **lazy)
            self.generators.watch(random)
            return random
        if name not in self.wanted or _thread.get_ident() != self.thread:
            return self.plain(name, import_, **lazy)
        # Looking costs milliseconds, and a package's own modules are its own.
        importer = self.open[-1] if self.open else None
        is_other = importer is None or replaced.top(importer) != replaced.top(name)
        self.settle(is_other)
        self.open.append(name)
        try:
            return self.plain(name, import_, **lazy)
        except BaseException:
            # They may do without it.
            self.importers.setdefault(name, []).extend(self.open[:-1])
            raise
        finally:
            self.settle(is_other)
            self.open.pop()

    def fail(self, name, error):
        # type: (str, BaseException) -> None
        """Notes why a module cannot be imported ahead, and what has gone on without it."""
        reason = f"cannot be imported ahead: {failure.name(error)}: {failure.message(error)}"
        self.failed = {
            "module": name,
            "reason": failure.printable(reason, 200),
            "importers": self.importers.get(name, []),
        }

    def settle(self, leaves_package):
        # type: (bool) -> None
        """Charges what has changed since the last time to the module that is being imported; what
        is hazardous to those, too, that it is imported by."""
        now, owned = time.perf_counter_ns(), private_bytes()
        left, remarks = self.probe.news()
        if self.open and leaves_package:
            others = self.replaced.news(self.open[-1])  # type: ignore[union-attr]
            left += [Stays(f"replaces {replaced.told(others)}")] if others else []
        if self.open:
            own = self.account(self.open[-1])
            own.ns += now - self.since
            own.bytes += owned - self.bytes
            own.hazards += left
            own.remarks += remarks
            for importer in self.open[:-1]:
                by = f", by importing {self.open[-1]}"
                self.account(importer).hazards += [hazard.by(by) for hazard in left]
        # What it takes to look is nobody's.
        self.since, self.bytes = time.perf_counter_ns(), private_bytes()

    def account(self, name):
        # type: (str) -> Account
        """The account of a module."""
        return self.accounts.setdefault(name, Account())

    def tell(self):
        # type: () -> dict[str, Any]
        """All of it, as the supervisor is told, when hooks have run. What is gone by now does no
        harm."""
        self.account(END).hazards += self.probe.news()[0]
        others = [name for name in (START, END) if self.account(name).hazards]
        return {
            "modules": [
                {
                    "module": name,
                    "us": self.account(name).ns // 1000,
                    "bytes": self.account(name).bytes,
                    "hazards": [one.text for one in self.account(name).hazards if one.is_there()],
                    "remarks": self.account(name).remarks,
                }
                for name in dict.fromkeys([*self.wanted, *others])
            ],
            "reads": reads.told(),
        }


def private_bytes():
    # type: () -> int
    """Memory that is this process's alone, or shared with who it was forked from, in bytes."""
    with open("/proc/self/statm", "rb") as statm:
        _, resident, shared, *_ = statm.read().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
