"""What is of a file and not of who has opened it: locks, leases, watches. Files that nobody may write are enough."""

import ctypes
import fcntl
import os
import signal
import struct
import time

libc = ctypes.CDLL(None, use_errno=True)
kept = []

ALL_EVENTS = 0xFFF
OFD_SETLK, OFD_GETLK = 37, 36
A_LOCK = "hhqqi4x"
SHARED, EXCLUSIVE, UNLOCKED = 0, 1, 2


def paths():
    return ["/", "/usr", "/usr/bin", "/usr/bin/env", os.path.realpath(os.__file__), "/etc", "/etc/passwd", "/etc/ssl/certs",
            "/dev/null", "/dev/zero", "/sys/devices/system/cpu", "/sys/devices/system/cpu/online"]


def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    kept.append(descriptor)
    return descriptor


def lock():
    """Takes all locks there are, and keeps them."""
    for path in paths():
        fcntl.flock(opened(path), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.isfile(path):
            fcntl.fcntl(opened(path), OFD_SETLK, struct.pack(A_LOCK, SHARED, 0, 0, 1, 0))
            fcntl.lockf(opened(path), fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 1)
    return len(kept)


def meets():
    """Files that somebody else has locked."""
    found = []
    for path in paths():
        try:
            fcntl.flock(opened(path), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found.append(f"flock {path}")
        if os.path.isfile(path):
            wanted = struct.pack(A_LOCK, EXCLUSIVE, 0, 0, 2, 0)
            told = struct.unpack(A_LOCK, fcntl.fcntl(opened(path), OFD_GETLK, wanted))
            if told[0] != UNLOCKED:
                found.append(f"lock {path} {told}")
    for descriptor in kept:
        os.close(descriptor)
    kept.clear()
    return found


def watch(seconds):
    """The events of the files that others cause meanwhile."""
    heard = []
    signal.signal(signal.SIGIO, lambda number, _: heard.append(number))
    for path in ("/usr/bin", "/etc"):
        fcntl.fcntl(opened(path), fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
    found, descriptor = [], libc.inotify_init1(os.O_NONBLOCK)
    names = {}
    for path in paths():
        # A sandbox's own interpreter opens devices.
        if not path.startswith("/dev"):
            names[libc.inotify_add_watch(descriptor, path.encode(), ALL_EVENTS)] = path
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.1)
        try:
            read = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            continue
        at = 0
        while at < len(read):
            number, mask, _, length = struct.unpack_from("iIII", read, at)
            name = read[at + 16:at + 16 + length].rstrip(b"\0").decode()
            found.append(f"{names.get(number)} {name} {mask:x}")
            at += 16 + length
    os.close(descriptor)
    return sorted(set(found)) + heard


def use():
    """Opens and reads all of them."""
    for path in paths():
        if os.path.isdir(path):
            os.listdir(path)
        elif os.path.isfile(path):
            open(path, "rb").read()
    os.spawnv(os.P_WAIT, "/usr/bin/env", ["env", "true"])


def lease():
    """Which files of others it may be told of before they are written."""
    found = []
    for path in paths():
        try:
            fcntl.fcntl(opened(path), fcntl.F_SETLEASE, fcntl.F_RDLCK)
            found.append(path)
        except OSError:
            pass
    return found


def handler(event):
    what, *arguments = event
    return {"lock": lock, "meets": meets, "watch": watch, "use": use, "lease": lease}[what](*arguments)


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(handler(json.loads(sys.argv[1]))), flush=True)
    # Until it is told to end.
    sys.stdin.read()
