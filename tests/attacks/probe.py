"""Tries what must not succeed, and tells how each attempt ended.

The same text is a function, a package whose import attacks, and the head of a `setup.py`.
"""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)


def attempt(act):
    """`done` and what came of it, or `refused` and the errno."""
    try:
        return ["done", repr(act())]
    except OSError as error:
        return ["refused", error.errno]
    except subprocess.CalledProcessError as error:
        return ["refused", error.returncode]


def call(number, arguments):
    """The errno of a system call, 0 where it succeeds."""
    ctypes.set_errno(0)
    before = os.getpid()
    answer = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if os.getpid() != before:
        os._exit(0)
    return 0 if answer >= 0 else ctypes.get_errno()


def status():
    wanted = ("Cap", "NoNewPrivs", "Seccomp:", "Groups")
    lines = [line.split(":", 1) for line in open("/proc/self/status") if line.startswith(wanted)]
    return {name: value.strip() for name, value in lines}


def descriptors():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            pass
    return found


def map_shared(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return len(mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_WRITE | mmap.PROT_READ))
    finally:
        os.close(descriptor)


def old_calls():
    """How a child ends that asks for its number as 32-bit programs do."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    child = os.fork()
    if child == 0:
        ctypes.CFUNCTYPE(ctypes.c_long)(address)()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def limit(which, most):
    try:
        resource.setrlimit(which, (most, most))
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error)) from None


def kill_by_descriptor(pid):
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def open_again(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return open(f"/proc/self/fd/{descriptor}", "r+b")
    finally:
        os.close(descriptor)


def run(*command):
    return subprocess.check_call(command, stderr=subprocess.DEVNULL)


def writes(path):
    """All ways to change a file and the folder that it is in."""
    folder = os.path.dirname(path)
    return {
        "write": lambda: open(path, "w"),
        "update": lambda: open(path, "r+b"),
        "append": lambda: open(path, "ab"),
        "truncate": lambda: os.truncate(path, 0),
        "map": lambda: map_shared(path),
        "utime": lambda: os.utime(path),
        "chmod": lambda: os.chmod(path, 0o777),
        "chown": lambda: os.chown(path, os.getuid(), os.getgid()),
        "xattr": lambda: os.setxattr(path, "user.x", b"x"),
        "unlink": lambda: os.unlink(path),
        "rename": lambda: os.rename(path, path + ".x"),
        "take": lambda: os.rename(path, "/tmp/taken"),
        "link": lambda: os.link(path, path + ".x"),
        "keep": lambda: os.link(path, "/tmp/kept"),
        "symlink": lambda: os.symlink("/tmp", path + ".x"),
        "create": lambda: open(path + ".x", "w"),
        "mkdir": lambda: os.mkdir(path + ".x"),
        "unnamed": lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR),
        "by descriptor": lambda: open_again(path),
    }


def ways_out(host):
    """What would reach something that is not the sandbox's."""
    listed = ["/etc/shadow", "/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/root/tmp",
              "/proc/1/cwd/tmp", "/proc/self/root/../etc/shadow", "/dev/mem", "/dev/kmsg",
              "/dev/fuse", "/dev/vda", "/sys/kernel", "/run/docker.sock", *host["files"]]
    acts = {f"read {path}": lambda path=path: open(path, "rb").read(1) for path in listed}
    folders = ["/proc/1/fd", "/proc/1/map_files", "/proc/1/root", *host["folders"]]
    acts |= {f"list {path}": lambda path=path: os.listdir(path) for path in folders}
    written = ["/proc/self/exe", "/proc/1/exe", "/proc/sysrq-trigger", "/proc/self/oom_score_adj",
               "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/self/mem",
               "/proc/self/uid_map", "/proc/self/setgroups", "/proc/1/oom_score_adj",
               "/sys/fs/cgroup/cgroup.procs", "/etc/passwd", "/etc/ld.so.preload", "/usr/bin/env"]
    acts |= {f"write {path}": lambda path=path: open(path, "r+b").write(b"0") for path in written}
    for name, path in {"library": os.__file__, "interpreter": sys.executable}.items():
        acts |= {f"{way} {name}": act for way, act in writes(os.path.realpath(path)).items()}
    if host["package"]:
        package = sys.modules["attacker"].__file__ if "attacker" in sys.modules else __file__
        acts |= {f"{way} package": act for way, act in writes(package).items()}
    acts |= {
        "user 0": lambda: os.setresuid(0, 0, 0),
        "group 0": lambda: os.setresgid(0, 0, 0),
        "groups": lambda: os.setgroups([0]),
        "chroot": lambda: os.chroot("/tmp"),
        "device": lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)),
        "character device": lambda: os.mknod("/tmp/mem", 0o20666, os.makedev(1, 1)),
        "signal holder": lambda: os.kill(1, signal.SIGKILL),
        "stop holder": lambda: os.kill(1, signal.SIGSTOP),
        "kill holder by descriptor": lambda: kill_by_descriptor(1),
        "mount": lambda: run("mount", "-t", "tmpfs", "x", "/tmp"),
        "mount cgroup": lambda: run("mount", "-t", "cgroup2", "x", "/tmp"),
        "unshare": lambda: run("unshare", "-Ur", "true"),
        "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
        "netfilter": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12),
        "crypto socket": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
        "vsock": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM, 0),
        "abstract socket": lambda: socket.socket(socket.AF_UNIX).connect("\0" + host["abstract"]),
        "supervisor": lambda: socket.socket(socket.AF_UNIX).connect(host["socket"]),
        "more files": lambda: limit(resource.RLIMIT_NOFILE, 1 << 20),
        "cores": lambda: limit(resource.RLIMIT_CORE, 1 << 20),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -10),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    }
    acts |= {f"signal {pid}": lambda pid=pid: os.kill(pid, 0) for pid in host["processes"]}
    return {name: attempt(act) for name, act in acts.items()}


def masked():
    """What is read of files that are there and tell nothing."""
    found = {}
    for name in ("keys", "key-users", "timer_list", "timer_stats", "interrupts", "kcore",
                 "sched_debug", "latency_stats", "cmdline", "config.gz", "kallsyms"):
        try:
            found[name] = len(open(f"/proc/{name}", "rb").read(1))
        except FileNotFoundError:
            pass
    for name in ("acpi", "scsi", "asound"):
        try:
            found[name] = len(os.listdir(f"/proc/{name}"))
        except FileNotFoundError:
            pass
    return found


def report(host):
    return {
        "command": open("/proc/self/cmdline").read(),
        "status": status(),
        "descriptors": descriptors(),
        "calls": {name: call(number, arguments) for name, number, arguments in host["calls"]},
        "old calls": old_calls() if platform.machine() == "x86_64" else -signal.SIGSYS,
        "ways out": ways_out(host),
        "masked": masked(),
    }
