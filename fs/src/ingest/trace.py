"""Prints what importing modules reads: which files, in order, and which modules need which others.

`python -c ... SECONDS FILE`. Lines of the file, with a tab between: `module NAME` to import, `explored NAME` for a
package whose public subpackages are imported too, `beside FOLDER` to find other packages in.

Printed, with tabs between: `read MODULE PATH` when it happens; then `need MODULE MODULE`, `folder MODULE PATH` of
packages, and `suffix`, nothing, and what names of extension modules end in.

What this imports itself is not seen to be read by anybody, so it imports what each interpreter has at its start.
"""

import builtins
import os
import site
import sys
import time

bootstrap = sys.modules["_frozen_importlib"]


class Tracer:
    """Watches imports. A module is being imported as long as it is on the stack."""

    def __init__(self, told):
        self.told = told
        self.stack = []
        self.seen = set()
        self.needs = {}
        # Whether an extension module was loaded since the mapped libraries were last looked at.
        self.loaded = False
        self.find_and_load = bootstrap._find_and_load_unlocked
        self.plain_import = builtins.__import__

    def watch(self):
        sys.addaudithook(self.follow)
        bootstrap._find_and_load_unlocked = self.load
        builtins.__import__ = self.find

    def follow(self, event, arguments):
        if event == "open":
            self.note_libraries()
            self.note(arguments[0])
        elif event == "import" and arguments[1]:
            self.note_libraries()
            self.note(arguments[1])
            self.loaded = True

    def note(self, path):
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str) and path.startswith("/") and path not in self.seen and self.stack:
            self.seen.add(path)
            self.tell("read", self.stack[-1], path)

    def note_libraries(self):
        if self.loaded:
            # First: opening the list is an event too.
            self.loaded = False
            with open("/proc/self/maps") as maps:
                for line in maps:
                    _, found, path = line.rstrip("\n").partition("/")
                    self.note(found + path)

    def load(self, name, import_):
        """Takes the place of what imports a module that is not there yet."""
        self.need(name)
        self.stack.append(name)
        try:
            return self.find_and_load(name, import_)
        finally:
            self.note_libraries()
            self.stack.pop()

    def find(self, name, globals=None, locals=None, fromlist=(), level=0):
        """Takes the place of `__import__`: modules that are there already are needed too."""
        found = self.plain_import(name, globals, locals, fromlist, level)
        if self.stack:
            if level > 0:
                name = bootstrap._resolve_name(name, self.package(globals), level)
            self.need(name)
            for part in fromlist or ():
                if f"{name}.{part}" in sys.modules:
                    self.need(f"{name}.{part}")
        return found

    def package(self, globals):
        package = globals.get("__package__")
        if package is None:
            package = globals["__name__"]
            if "__path__" not in globals:
                package = package.rpartition(".")[0]
        return package

    def need(self, name):
        if self.stack and self.stack[-1] != name:
            self.needs.setdefault(self.stack[-1], {})[name] = True

    def tell(self, *words):
        if not any("\t" in word or "\n" in word for word in words):
            self.told.write("\t".join(words) + "\n")

    def finish(self):
        self.note_libraries()
        for module, needed in self.needs.items():
            for other in needed:
                self.tell("need", module, other)
        for name, module in list(sys.modules.items()):
            for folder in package_folders(module):
                self.tell("folder", name, folder)
        for suffix in sys.modules["_imp"].extension_suffixes():
            self.tell("suffix", "", suffix)


def package_folders(module):
    # A package may have put anything in the place of a module, or of its path.
    try:
        return [folder for folder in module.__path__ if isinstance(folder, str) and folder.startswith("/")]
    except Exception:
        return []


def subpackages(module):
    for folder in package_folders(module):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = entry.name
            if name.isidentifier() and not name.startswith("_") and "test" not in name:
                if os.path.exists(f"{entry.path}/__init__.py"):
                    yield f"{module.__name__}.{name}"


def main():
    until = time.monotonic() + float(sys.argv[1])
    wanted = {"module": [], "explored": [], "beside": []}
    with open(sys.argv[2]) as file:
        for line in file:
            kind, _, name = line.rstrip("\n").partition("\t")
            wanted[kind].append(name)
    told = os.fdopen(os.dup(1), "w", errors="surrogateescape")
    # What packages print at import is nobody's business here.
    os.dup2(2, 1)

    def load(name):
        if time.monotonic() < until:
            try:
                __import__(name)
                return sys.modules.get(name)
            except BaseException:
                # A package that cannot be imported here is read in no order.
                return None

    for folder in wanted["beside"]:
        site.addsitedir(folder)
    tracer = Tracer(told)
    tracer.watch()
    for name in wanted["module"]:
        load(name)
    for name in wanted["explored"]:
        for subpackage in subpackages(load(name)):
            load(subpackage)
    tracer.finish()
    told.close()
    # Whatever was imported may have threads, or work for the end, that nobody needs.
    os._exit(0)


main()
