"""Tells all that a program can find out about the process it runs in, and whether what starts
others works there."""

import asyncio
import concurrent.futures
import decimal
import gc
import locale
import logging
import multiprocessing
import multiprocessing.shared_memory
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings

import numpy
import requests

LOG_STREAM = "AWS_LAMBDA_LOG_STREAM_NAME"
AT_IMPORT = {"argv": list(sys.argv), "path": list(sys.path), "directory": os.getcwd()}


def double(number):
    return 2 * number


def tell(queue):
    queue.put([os.getcwd(), __name__, multiprocessing.current_process().name])


def kind_of(descriptor):
    mode = os.fstat(descriptor).st_mode
    target = os.readlink(f"/proc/self/fd/{descriptor}")
    return [stat.S_IFMT(mode), target.split(":")[0]]


def descriptors():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = [*kind_of(int(number)), os.get_inheritable(int(number)), os.get_blocking(int(number))]
        except OSError:
            pass
    return found


def stream(file):
    names = ("name", "mode", "encoding", "errors", "line_buffering", "write_through", "newlines", "closed")
    kept = [one.seekable() for one in (file, file.buffer, file.buffer.raw)]
    return [file.fileno(), file.isatty(), kept, *(getattr(file, name) for name in names)]


def status(*names):
    with open("/proc/self/status") as lines:
        found = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    return {name: found.get(name) for name in names}


def limits():
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def main_thread():
    thread = threading.main_thread()
    return {
        "is_current": thread is threading.current_thread(),
        "name": thread.name,
        "alive": thread.is_alive(),
        "daemon": thread.daemon,
        "ident": thread.ident == threading.get_ident(),
        "native": thread.native_id == threading.get_native_id(),
        "native_is_process": threading.get_native_id() == os.getpid(),
    }


def other_thread():
    """What a new thread sees."""
    found = []
    thread = threading.Thread(target=lambda: found.append([threading.active_count(), threading.current_thread().name]))
    thread.start()
    thread.join(10)
    return found


def timer():
    """A signal's handler runs, and its timer does."""
    called = []
    before = signal.signal(signal.SIGALRM, lambda *_: called.append(True))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.2)
    signal.signal(signal.SIGALRM, before)
    return called


def loops():
    async def both():
        process = await asyncio.create_subprocess_exec("true")
        later = asyncio.get_running_loop().run_in_executor(None, double, 3)
        return [await process.wait(), await later, await asyncio.sleep(0, 4)]

    try:
        asyncio.get_running_loop()
        running = True
    except RuntimeError:
        running = False
    policy = type(asyncio.get_event_loop_policy()).__name__
    return [running, policy, asyncio.run(both())]


def started(method):
    """What a process of `multiprocessing` tells, and a pool."""
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=tell, args=(queue,))
    process.start()
    told = queue.get()
    process.join()
    with context.Pool(2) as pool:
        return [told[:2], told[2].split("-")[0], process.exitcode, pool.map(double, [1, 2])]


def futures():
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        by_threads = list(threads.map(double, [1, 2]))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as processes:
        return [by_threads, list(processes.map(double, [1, 2]))]


def shared():
    """Shared memory, which the resource tracker looks after."""
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=16)
    memory.buf[0] = 7
    value = memory.buf[0]
    memory.close()
    memory.unlink()
    with multiprocessing.Lock():
        return value


def interpreter():
    code = "import sys; print(sys.flags.isolated, sys.path, sys.argv)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def importers():
    names = lambda objects: [getattr(one, "__name__", type(one).__name__) for one in objects]
    return [names(sys.meta_path), names(sys.path_hooks)]


def main_module():
    module = sys.modules["__main__"]
    return [type(module).__name__, {name: repr(value) for name, value in vars(module).items() if name != "__builtins__"}]


def modules():
    """Where what is imported says it comes from."""
    found = {}
    for name, module in list(sys.modules.items()):
        # Read without asking those that import more when they are asked.
        if isinstance(module, types.ModuleType):
            own = object.__getattribute__(module, "__dict__")
            spec = own.get("__spec__")
            found[name] = [str(own.get("__file__")), type(getattr(spec, "loader", None)).__name__]
    return found


def report():
    return {
        # First: what starts processes may leave some.
        "descriptors": descriptors(),
        "abi": sys.abiflags,
        "at import": AT_IMPORT,
        "affinity": sorted(os.sched_getaffinity(0)),
        "argv": sys.argv,
        "asyncio": loops(),
        "audited": [sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__],
        "bytecode": sys.dont_write_bytecode,
        "concurrent.futures": futures(),
        "decimal": repr(decimal.getcontext()),
        "directory": os.getcwd(),
        "environment": {k: v for k, v in os.environ.items() if k != LOG_STREAM},
        "log stream": os.environ[LOG_STREAM],
        "executable": [sys.executable, sys.prefix, sys.base_prefix, sys.orig_argv],
        "flags": repr(sys.flags),
        "frozen objects": gc.get_freeze_count() > 0,
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.garbage)],
        "groups": [os.getuid(), os.getgid(), os.getgroups(), os.geteuid(), os.getegid()],
        "importers": importers(),
        "interpreter": interpreter(),
        "locale": [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), sys.getfilesystemencoding()],
        "limits": limits(),
        "logging": [repr(handler) for handler in logging.root.handlers] + [logging.root.level],
        "main module": main_module(),
        "modules": modules(),
        "multiprocessing fork": started("fork"),
        "multiprocessing forkserver": started("forkserver"),
        "multiprocessing shared memory": shared(),
        "multiprocessing spawn": started("spawn"),
        "multiprocessing state": [
            multiprocessing.current_process().name,
            multiprocessing.get_start_method(),
            multiprocessing.parent_process() is None,
            len(multiprocessing.current_process().authkey),
            len(multiprocessing.active_children()),
        ],
        "name": open("/proc/self/comm").read(),
        "nice": [os.nice(0), os.sched_getscheduler(0), open("/proc/self/oom_score_adj").read()],
        "parent and group": [os.getppid(), os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
        "path": sys.path,
        "process": os.getpid(),
        "recursion": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "requests": type(requests.Session().get_adapter("https://host")).__name__,
        "signals": {number.name: str(signal.getsignal(number)) for number in signal.Signals},
        "status": status(
            "Umask", "State", "TracerPid", "Uid", "Gid", "Groups", "Threads", "SigPnd", "SigBlk", "SigIgn",
            "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "THP_enabled",
        ),
        "stdin, stdout, stderr": [*map(stream, (sys.stdin, sys.stdout, sys.stderr)), sys.stdout is sys.__stdout__],
        "sum": float(numpy.ones((200, 200)).dot(numpy.ones((200, 200))).sum()),
        "temporary files": tempfile.gettempdir(),
        "thread": main_thread(),
        "thread, another": other_thread(),
        "timer": timer(),
        "timers": signal.getitimer(signal.ITIMER_REAL),
        "warnings": [repr(each) for each in warnings.filters] + [sys.warnoptions, sys._xoptions],
    }


def handler(event):
    return report()
