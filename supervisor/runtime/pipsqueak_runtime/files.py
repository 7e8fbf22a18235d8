"""Files that imports have left in a zygote's `/tmp` and `/dev/shm`. Each child has its own, and is given a
copy of them, as if it had made them by its own imports."""

import marshal
import os
import stat

from pipsqueak_runtime import own_builtins as __builtins__

PLACES = (b"/tmp", b"/dev/shm")
# The most that a child is given: content in bytes, and how many files, folders and links.
MOST_BYTES = 4 << 20
MOST_ENTRIES = 1000
# Who has made what is not of imports.
HOLDER = 0
# What a file system of memory gives out at once, in bytes.
PAGE = 4096

# Files as one object, of which a child copies no page until it reads them. None where there are none.
_kept = None  # type: bytes | None


def unfit():
    # type: () -> set[str]
    """What children cannot be given, as texts."""
    return _survey()[1]


def keep():
    # type: () -> int
    """Keeps what there is for children. Returns how much room that takes, in bytes."""
    global _kept
    found, _ = _survey()
    entries, room = [], 0
    for path, status in found:
        content = _content(path, status.st_mode)
        entries.append((path, status.st_mode, status.st_mtime_ns, content))
        room += PAGE + (len(content) + PAGE - 1) // PAGE * PAGE
    _kept = marshal.dumps(entries) if entries else None
    return room


def give():
    # type: () -> None
    """Makes in a child what was kept."""
    if _kept is None:
        return
    made = []
    for path, mode, modified, content in marshal.loads(_kept):
        try:
            _make(path, mode, content)
        except FileExistsError:
            # By what a package does at a fork.
            continue
        made.append((path, mode, modified))
    # A folder's after those of what is in it: it may be closed, and tells when something was made in it.
    for path, mode, modified in reversed(made):
        if not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode))
        os.utime(path, ns=(modified, modified), follow_symlinks=False)


def _make(path, mode, content):
    # type: (bytes, int, bytes) -> None
    if stat.S_ISDIR(mode):
        os.mkdir(path, 0o700)
    elif stat.S_ISLNK(mode):
        os.symlink(content, path)
    else:
        with open(path, "xb") as file:
            file.write(content)


def _survey():
    # type: () -> tuple[list[tuple[bytes, os.stat_result]], set[str]]
    """What children can be given, as paths and states, folders ahead of what is in them; and what they
    cannot, as texts."""
    found, unfit, size = [], set(), 0  # type: list[tuple[bytes, os.stat_result]], set[str], int
    devices = {os.stat(place).st_dev for place in PLACES}
    folders = list(PLACES)
    for folder in folders:
        try:
            entries = os.scandir(folder)
        except OSError:
            unfit.add(f"a folder that cannot be read: {_text(folder)}")
            continue
        with entries:
            for path in (entry.path for entry in entries):
                status = _state(path)
                # What is mounted there each sandbox has, and the way to it.
                if status is None or status.st_dev not in devices:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(path)
                if status.st_uid == HOLDER:
                    continue
                if kind := _unfit_kind(path, status.st_mode):
                    unfit.add(f"{kind}: {_text(path)}")
                    continue
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
                if size > MOST_BYTES or len(found) == MOST_ENTRIES:
                    unfit.add(f"more than {MOST_ENTRIES} files or {MOST_BYTES >> 20} MiB in /tmp")
                    return found, unfit
                found.append((path, status))
    return found, unfit


def _state(path):
    # type: (bytes) -> os.stat_result | None
    try:
        return os.lstat(path)
    except OSError:
        # Somebody has removed it meanwhile.
        return None


def _unfit_kind(path, mode):
    # type: (bytes, int) -> str | None
    if stat.S_ISREG(mode):
        return None if os.access(path, os.R_OK) else "a file that cannot be read"
    if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return None
    return "a socket's file" if stat.S_ISSOCK(mode) else "a pipe's file"


def _content(path, mode):
    # type: (bytes, int) -> bytes
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISDIR(mode):
        return b""
    with open(path, "rb") as file:
        return file.read()


def _text(path):
    # type: (bytes) -> str
    return path.decode(errors="backslashreplace")
