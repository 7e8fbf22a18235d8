"""What is put in the place of something, taken away, or set otherwise."""

import _thread
import asyncio
import builtins
import contextvars
import gc
import io
import json
import locale
import os
import queue
import resource
import select
import socket
import sys
import threading
import time
import traceback
import warnings

from acts import Answer, act


def _put(module, names, value=None):
    for name in names.split():
        if hasattr(module, name):
            setattr(module, name, value)


@act("shared")
def clocks(call):
    odd = call.draw.choice([None, lambda *_: -(10**30), lambda *_: "noon", lambda *_: float("nan")])
    _put(time, "time monotonic perf_counter time_ns monotonic_ns perf_counter_ns sleep gmtime strftime", odd)


@act("shared")
def json_(call):
    _put(json, "loads dumps JSONEncoder JSONDecoder")
    _put(json.encoder, "c_make_encoder encode_basestring_ascii encode_basestring JSONEncoder INFINITY")
    if call.draw.random() < 0.5:
        _put(json.decoder.JSONDecoder, "decode raw_decode")


@act("shared")
def files(call):
    _put(os, "write read close open dup2 getpid _exit stat listdir fork pipe pipe2 waitpid set_inheritable")
    _put(io, "open TextIOWrapper StringIO")


@act("shared")
def sockets(call):
    _put(socket, "socket socketpair create_connection")
    _put(select, "select poll epoll")


@act("shared")
def threads(call):
    _put(threading, "Thread Lock RLock Condition Event current_thread _shutdown _start_new_thread")
    _put(_thread, "start_new_thread allocate_lock get_ident start_joinable_thread")
    _put(queue, "Queue SimpleQueue")
    _put(contextvars, "copy_context ContextVar")


@act("shared", weight=4)
def built_in(call):
    names = "open print len str dict list type isinstance getattr hasattr iter next zip Exception BaseException"
    for name in call.draw.sample(names.split(), 4):
        setattr(builtins, name, call.draw.choice([None, lambda *_, **__: 1 / 0]))


@act("shared")
def imports(call):
    builtins.__import__ = call.draw.choice([None, lambda *_, **__: 1 / 0])


@act("shared")
def modules_removed(call):
    gone = call.draw.choice(["json", "os", "sys", "threading", "asyncio", "*", "contextvars", "traceback"])
    for name in list(sys.modules):
        if gone == "*" or name.partition(".")[0] == gone:
            del sys.modules[name]


@act("shared")
def modules_odd(call):
    sys.modules[5] = sys.modules["x" * 100_000] = sys.modules["\udc80"] = 5
    for name in ("traceback", "asyncio", "faulthandler", "linecache", "__main__"):
        sys.modules[name] = call.draw.choice([None, 5, type(sys)(name)])
    if call.draw.random() < 0.3:
        sys.modules = None


@act("shared")
def tracebacks(call):
    import linecache

    _put(traceback, call.draw.choice(["extract_tb format_list", "print_exc format_exception_only StackSummary"]))
    _put(linecache, "checkcache getline getlines lazycache")


@act("shared")
def paths(call):
    sys.path[:] = call.draw.choice([[], ["/absent"], [5], ["\udc80"]])
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


@act("shared")
def folder_gone(call):
    path = f"/tmp/gone-{os.getpid()}-{call.draw.random()}"
    os.mkdir(path)
    # Another may have left a umask by which its owner could not enter it, but root could.
    os.chmod(path, 0o700)
    os.chdir(path)
    os.rmdir(path)


@act("shared")
def environment(call):
    os.environ.clear()
    os.environ["\udc80"] = "\udc80"
    os.umask(0o777)
    time.tzset()


@act("shared")
def descriptors(call):
    os.closerange(4, 200)


@act("end", "shared", weight=1)
def all_descriptors(call):
    os.closerange(3, 200)


@act("shared")
def descriptors_used_up(call):
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass


@act("shared")
def limits(call):
    name, value = call.draw.choice([("NOFILE", 0), ("NOFILE", 3), ("FSIZE", 0), ("STACK", 1 << 20), ("CORE", 0)])
    number = getattr(resource, f"RLIMIT_{name}")
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))


@act("shared")
def address_space(call):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(100 << 20)


@act("shared")
def collector(call):
    def fail(*_):
        raise ValueError("of the collector")

    call.draw.choice([gc.disable, gc.freeze, lambda: gc.set_threshold(1), lambda: gc.callbacks.append(fail)])()
    gc.collect()


@act("shared")
def recursion(call):
    sys.setrecursionlimit(call.draw.choice([60, 100, 10**5]))


@act("shared")
def traced(call):
    kind = call.draw.choice([sys.settrace, sys.setprofile])

    def fail(*_):
        raise ValueError("of a tracer")

    kind(call.draw.choice([fail, lambda *_: None, lambda *_: 5]))


@act("shared")
def audited(call):
    names = call.draw.choice([("open", "import"), ("os.fork", "subprocess.Popen"), None])

    def fail(name, _):
        if names is None or name in names:
            raise PermissionError(f"{name} is forbidden")

    sys.addaudithook(fail)


@act("shared")
def warned(call):
    warnings.simplefilter("error")
    warnings.showwarning = None


@act("shared")
def hooks(call):
    _put(sys, "excepthook displayhook unraisablehook exc_info stdin __stdout__ __stderr__ _getframe")
    sys.argv = sys.flags = sys.hexversion = sys.version_info = None


@act("shared")
def switching(call):
    sys.setswitchinterval(call.draw.choice([1e-6, 100]))


@act("shared")
def places(call):
    locale.setlocale(locale.LC_ALL, "C")
    sys.setdlopenflags(0x101)
    sys.set_int_max_str_digits(0) if hasattr(sys, "set_int_max_str_digits") else None


@act("shared")
def loop_closed(call):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


@act("shared")
def loop_left(call):
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(1000), loop)


@act("shared")
def loop_patched(call):
    asyncio.set_event_loop_policy(None)
    _put(asyncio, "get_event_loop new_event_loop run set_event_loop", lambda *_: 1 / 0)


@act("shared")
def never_awaited(call):
    async def nothing():
        pass

    nothing()


@act("shared")
def running_loop(call):
    asyncio._set_running_loop(asyncio.new_event_loop())


@act()
def deleted_late(call):
    class Odd:
        def __del__(self):
            raise SystemExit("while it is deleted")

    odd = Odd()
    odd.itself = odd


@act()
def generator_hooks(call):
    sys.set_asyncgen_hooks(lambda _: 1 / 0, lambda _: 1 / 0)
