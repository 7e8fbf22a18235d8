"""A package that tries to get into the sandboxes of its zygote's children, and tells what came of it.

What its zygote and the helpers there have found is in the zygote's `/tmp/report`; what happened in a child is in
`found` there.
"""

import ctypes
import json
import os
import resource
import signal
import time

libc = ctypes.CDLL(None, use_errno=True)
NAMESPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x08000000 | 0x04000000 | 0x02000000
WITH_NETWORK = NAMESPACES | 0x40000000
OWNER = 999
found = []
handlers = []


def capabilities():
    """What this thread may, as a number: effective and permitted."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    return sets[0] | sets[1] | (sets[3] | sets[4]) << 32


def check(answer):
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def attempt(what, act):
    """Notes what succeeded that must not."""
    try:
        result = act()
    except (OSError, ValueError, EOFError) as error:
        result = ["refused", getattr(error, "errno", None)]
    else:
        result = ["done", repr(result)[:80]]
    found.append([what, *result, capabilities()])


def apart(act):
    """Does something in a process of its own, and waits for it; what that finds is told by a pipe."""
    reading, writing = os.pipe()
    child = libc.fork()
    if child == 0:
        found.clear()
        try:
            act()
        finally:
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
    os.close(writing)
    told = b""
    while piece := os.read(reading, 65536):
        told += piece
    os.close(reading)
    os.waitpid(child, 0)
    found.extend(json.loads(told or b"[]"))


def tell():
    with open("/tmp/report", "a") as report:
        for line in found:
            report.write(json.dumps(line) + "\n")
    found.clear()


def holders():
    """Descriptors of processes that this one has."""
    numbers = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "pidfd" in os.readlink(f"/proc/self/fd/{name}"):
                numbers.append(int(name))
        except OSError:
            pass
    return numbers


def others():
    own = os.getpid()
    return [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, own, ZYGOTE)]


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def read_memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = next(int(line.split("-")[0], 16) for line in maps if " rw-p " in line)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return memory.read(16)


def read_vm(pid):
    buffer = ctypes.create_string_buffer(16)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
    remote = (ctypes.c_void_p * 2)(0x100000, 16)
    return check(libc.process_vm_readv(pid, local, 1, remote, 1, 0))


def enter(number, flags):
    check(libc.setns(number, flags))
    return "entered"


def attack_descriptor(number):
    for flags in (NAMESPACES, WITH_NETWORK, 0x10000000, 0x40000000, 0x00020000):
        attempt(f"setns {flags:x}", lambda flags=flags: enter(number, flags))


def become_owner():
    """All calls that would make this process's user the one that owns children's sandboxes."""
    for name, call in {
        "setuid": lambda: libc.setuid(OWNER),
        "seteuid": lambda: libc.seteuid(OWNER),
        "setreuid": lambda: libc.setreuid(-1, OWNER),
        "setreuid real": lambda: libc.setreuid(OWNER, -1),
        "setresuid": lambda: libc.setresuid(-1, OWNER, -1),
        "setresuid all": lambda: libc.setresuid(OWNER, OWNER, OWNER),
        "setresuid real": lambda: libc.setresuid(OWNER, -1, -1),
        "setresuid both": lambda: libc.setresuid(1000, OWNER, OWNER),
    }.items():
        attempt(name, lambda call=call: check(call()))
    attempt("setfsuid", lambda: check(-1 if libc.setfsuid(OWNER) * 0 + libc.setfsuid(-1) != OWNER else 0))


def attack_processes():
    for pid in others():
        for name in ("environ", "maps", "auxv", "syscall", "stack", "io"):
            attempt(f"read {name} of a child", lambda name=name: read(f"/proc/{pid}/{name}") or "empty")
        for name in ("fd", "root", "cwd", "map_files"):
            attempt(f"list {name} of a child", lambda name=name: os.listdir(f"/proc/{pid}/{name}"))
        attempt("read memory of a child", lambda: read_memory(pid))
        attempt("read memory of a child at once", lambda: read_vm(pid))
        attempt("trace a child", lambda: check(libc.ptrace(0x4206, pid, 0, 0)))
        attempt("signal a child", lambda: os.kill(pid, 0))
        attempt("limit a child", lambda: resource.prlimit(pid, resource.RLIMIT_NPROC, (9, 9)))
        attempt("bind a child", lambda: os.sched_setaffinity(pid, [0]))
        attempt("hold a child's network", lambda: os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))
        try:
            number = os.pidfd_open(pid)
        except OSError:
            continue
        attempt("take a descriptor of a child", lambda: check(libc.syscall(438, number, 3, 0)))
        apart(lambda: attack_descriptor(number))
        os.close(number)
    for flags in (0x10000000, 0x20000000, 0x40000000, 0x00020000):
        attempt(f"unshare {flags:x}", lambda flags=flags: check(libc.unshare(flags)))


def passage():
    """Where our own way into sandboxes is mapped, by which a process could try to go itself."""
    with open("/proc/self/maps") as maps:
        first = next(maps)
    return int(first.split("-")[0], 16) if "pipsqueak_native" in first else None


def go_through(number):
    """Goes there by the front door, by the call that asks, and past it."""
    start = passage()
    if start is None:
        return
    every = ctypes.create_string_buffer(b"\xff" * 8)
    for offset in range(0, 64):
        for blocked in (True, False):
            def jump(offset=offset, blocked=blocked):
                if blocked:
                    libc.syscall(14, 0, every, None, 8)
                go = ctypes.CFUNCTYPE(*[ctypes.c_long] * 4)(start + offset)
                return go(number, WITH_NETWORK, 0)
            what = f"passage at {offset}, blocked: {blocked}"
            apart(lambda what=what, jump=jump: attempt(what, jump))
            # A jump that fails ends the process.
            found.append([what, "tried", None, capabilities()])


def helper(numbers):
    """Goes on in the zygote's sandbox while its children begin and run."""
    for number in numbers:
        apart(lambda number=number: attack_descriptor(number))
        go_through(number)
    apart(become_owner)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        attack_processes()
        tell()
        time.sleep(0.3)
    with open("/tmp/over", "w"):
        pass


def before():
    numbers = holders()
    if not numbers or os.path.exists("/tmp/begun"):
        return
    with open("/tmp/begun", "w"):
        pass
    if libc.fork() == 0:
        # Leaves its zygote.
        if libc.fork() == 0:
            found.clear()
            try:
                helper(numbers)
            finally:
                os._exit(0)
        os._exit(0)
    os.wait()


@ctypes.CFUNCTYPE(None)
def in_usher():
    """Called by the C library ahead of any fork: in whoever forks a child of a zygote."""
    found.append(["fork", "prepared", "", capabilities()])


@ctypes.CFUNCTYPE(None)
def in_child():
    found.append(["fork", "in the child", "", capabilities()])


if "zygote" in open("/proc/self/cmdline").read():
    ZYGOTE = os.getpid()
    libc.pthread_atfork = libc.__register_atfork
    libc.__register_atfork(in_usher, None, in_child, None)
    os.register_at_fork(before=before)
    os.register_at_fork(after_in_child=lambda: found.append(["fork", "after", "", capabilities()]))
    os.register_at_fork(after_in_parent=tell)
    signal.signal(signal.SIGALRM, lambda *_: found.append(["signal", "", "", capabilities()]))
