"""The limits that programs find, each in its way."""

import os


def text(path):
    with open(path) as file:
        return file.read().strip()


def own_groups():
    """Paths of the own control groups, by the controllers of the hierarchy."""
    lines = [line.split(":", 2) for line in text("/proc/self/cgroup").splitlines()]
    return {name: path for _, names, path in lines for name in names.split(",")}


def like_duckdb():
    """By `/proc/self/cgroup`, below the usual place."""
    groups = own_groups()
    if "memory" in groups:
        return int(text(f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes"))
    return int(text(f"/sys/fs/cgroup{groups['']}/memory.max"))


def like_java():
    """By the mounts: where the group is below the root of one that has the controller."""
    groups = own_groups()
    found = {}
    for line in text("/proc/self/mountinfo").splitlines():
        of_mount, of_file_system = line.split(" - ")
        root, place = of_mount.split()[3:5]
        kind, _, options = of_file_system.split()[:3]
        for name in options.split(",") if kind == "cgroup" else [""] if kind == "cgroup2" else []:
            if name in groups and groups[name].startswith(root):
                found[name] = place + groups[name][len(root):]
    memory = found["memory"] + "/memory.limit_in_bytes" if "memory" in found else found[""] + "/memory.max"
    if "cpu" in found:
        quota, period = (int(text(f"{found['cpu']}/cpu.cfs_{name}_us")) for name in ("quota", "period"))
    else:
        quota, period = map(int, text(f"{found['']}/cpu.max").split())
    return [int(text(memory)), quota / period]


def like_ray():
    """At the usual places alone."""
    for path in ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"):
        if os.path.exists(path):
            return int(text(path))


def what_can_be_written():
    found = [os.path.join(folder, name) for folder, _, names in os.walk("/sys/fs/cgroup") for name in names]
    assert len(found) > 10
    could = []
    for path in found:
        try:
            os.close(os.open(path, os.O_WRONLY))
            could.append(path)
        except OSError:
            pass
    return could


def groups_seen():
    """Folders below the own groups, and processes that are not the sandbox's own."""
    below = [os.path.join(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    inner = [path for path in below if path.count("/") > 4]
    others = {number for path in below if os.path.exists(f"{path}/cgroup.procs")
              for number in text(f"{path}/cgroup.procs").split()}
    return [inner, sorted(number for number in others if not os.path.exists(f"/proc/{number}"))]


def handler(_):
    return {"duckdb": like_duckdb(), "java": like_java(), "ray": like_ray(), "written": what_can_be_written(),
            "seen": groups_seen()}
