"""Compiles what is below a folder, running nothing of it: `python -c ... FOLDER OUT SHARE`.

Bytecode is written below OUT, at the paths that it has below FOLDER: whoever compiles can change nothing of what is
compiled. SHARE is `late` for what is in folders of tests, `early` for what is not, or `all`.

Makes what `compileall` makes with `unchecked-hash`, in two thirds of the time: nothing is collected as garbage, and
nothing is written aside and renamed, because nobody reads it yet. What is not for this version of Python is left out.
"""

import errno
import gc
import importlib.util
import marshal
import os
import sys

# Of PEP 552: valid by the source's hash, which nobody checks.
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
NUMBER_BYTES = 4
# Files that are worth a process more.
ENOUGH = 50
# Folders that importing a package does not come to.
LATE = {"test", "tests"}

FOLDER, OUT, SHARE = sys.argv[1:4]


def sources(folder):
    for parent, _, names in os.walk(folder):
        is_late = not LATE.isdisjoint(parent[len(folder) :].split("/"))
        if SHARE != "all" and is_late != (SHARE == "late"):
            continue
        for name in names:
            if name.endswith(".py"):
                yield f"{parent}/{name}"


def compile_file(path):
    target = OUT + importlib.util.cache_from_source(path)[len(FOLDER) :]
    with open(path, "rb") as file:
        source = file.read()
    code = compile(source, path, "exec", dont_inherit=True)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as file:
        file.write(importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source))
        file.write(marshal.dumps(code))


def work(paths, queue):
    while number := os.read(queue, NUMBER_BYTES):
        try:
            compile_file(paths[int.from_bytes(number, "little")])
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        except Exception:
            # A file may be for another version of Python, or be no Python at all.
            pass


def start(paths, queue):
    pid = os.fork()
    if pid == 0:
        # 1 would say that what was asked for is wrong.
        status = 70
        try:
            work(paths, queue)
            status = 0
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(status)
    return pid


def main():
    gc.disable()
    paths = list(sources(FOLDER))
    # Who reads a number takes it from all, because the place in an open file is shared.
    queue = os.memfd_create("queue")
    os.write(queue, b"".join(number.to_bytes(NUMBER_BYTES, "little") for number in range(len(paths))))
    os.lseek(queue, 0, os.SEEK_SET)
    workers = min(len(os.sched_getaffinity(0)), len(paths) // ENOUGH + 1)
    running = {start(paths, queue) for _ in range(workers)}
    failed = 0
    while running:
        pid, status = os.wait()
        running.remove(pid)
        if os.WIFSIGNALED(status):
            # The compiler has crashed, on a file that is taken by now.
            running.add(start(paths, queue))
        else:
            failed = failed or os.WEXITSTATUS(status)
    sys.exit(failed)


main()
