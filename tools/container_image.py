"""Writes the root of a container as a tar: an interpreter, what it links, and nothing else.

Made from this interpreter, and with it at another place, as images have theirs: no registry of
images is needed. Usage: container_image.py FILE"""

import ctypes.util
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable

NOT_NEEDED = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
}
# What packages from an index may link without bringing it.
OF_THE_SYSTEM = ["stdc++", "gcc_s", "z", "pthread", "dl", "rt", "util", "m"]


def linked(files: Iterable[pathlib.Path]) -> set[pathlib.Path]:
    """The libraries that programs and libraries are loaded with."""
    told = subprocess.run(["ldd", *files], capture_output=True, check=False, text=True).stdout
    return {pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", told)}


def main(target: str) -> None:
    executable = pathlib.Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    native = [path for path in (library / "lib-dynload").glob("*.so") if "tkinter" not in path.name]
    found = linked([executable, *native])
    found |= linked(found)
    names = {path.name: path for path in found}
    directory = next(path.parent for path in found if path.name.startswith("libc.so"))
    for name in filter(None, map(ctypes.util.find_library, OF_THE_SYSTEM)):
        if (directory / name).exists():
            names.setdefault(name, directory / name)

    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with tarfile.open(target, "w") as tar:

        def link(name: str, leads_to: str) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, leads_to
            tar.addfile(entry)

        def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            parts = pathlib.PurePath(entry.name).parts
            is_of_a_build = any(part.startswith("config-") for part in parts)
            return None if is_of_a_build or NOT_NEEDED & set(parts) else entry

        tar.add(executable, f"usr/local/bin/{version}")
        link("usr/local/bin/python3", version)
        link("usr/local/bin/python", version)
        link("lib", "usr/lib")
        tar.add(library, f"usr/local/lib/{version}", filter=keep)
        for name, path in sorted(names.items()):
            folder = "lib64" if name.startswith("ld-linux") else "usr/lib"
            tar.add(path.resolve(), f"{folder}/{name}")


if __name__ == "__main__":
    main(sys.argv[1])
