import json, os, sys, sysconfig


def real(path):
    return os.path.realpath(path)


executable = real(getattr(sys, "_base_executable", sys.executable))
library = sysconfig.get_path("stdlib")
names = os.path.basename(library), "lib-dynload"
compiled = os.path.join(sys.base_exec_prefix, getattr(sys, "platlibdir", "lib"), *names)
# Where it is a library itself, as the linker has found it.
with open("/proc/self/maps") as maps:
    linked = {line.split(None, 5)[-1].strip() for line in maps if "/libpython" in line}
libraries = [real(path) for path in [library, compiled] + sorted(linked) if os.path.exists(path)]
# Where the linker was told to look for that.
built = os.path.dirname(sysconfig.get_config_var("LIBDIR") or "") if linked else ""
print(json.dumps({
    "executable": executable,
    "version": ".".join(map(str, sys.version_info[:3])),
    "base_prefix": sys.base_prefix,
    "cache_tag": sys.implementation.cache_tag,
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform(),
    "library": names[0],
    "built_for": built,
    "libraries": libraries,
}))
