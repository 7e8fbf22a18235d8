"""Builds wheels that no honest tool makes, and an index of them: `wheels.py FOLDER MARK NAME...`.

MARK is a path of the host where nothing may ever appear.
"""

import base64
import hashlib
import html
import os
import stat
import sys
import warnings
import zipfile

ZEROS = 64 << 20


class Raw(zipfile.ZipInfo):
    """An entry whose name is bytes that are no UTF-8 and do not say what they are."""

    def _encodeFilenameFlags(self):
        return self.raw_name, self.flag_bits


def digest(content):
    raw = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def line(path, content, hashed=None, size=None):
    quoted = '"' + path.replace('"', '""') + '"' if "," in path or '"' in path else path
    size = len(content) if size is None else size
    return f"{quoted},{hashed or digest(content)},{size}"


class Wheel:
    def __init__(self, name, version="1.0"):
        self.name, self.version = name, version
        self.info = f"{name}-{version}.dist-info"
        self.entries, self.lines = [], []
        self.has_record = True

    def add(self, path, content=b"", mode=0o644, raw=None, listed=True, **lies):
        content = content.encode() if isinstance(content, str) else content
        self.entries.append((path, content, mode, raw))
        if listed:
            self.lines.append(line(path, content, **lies))
        return self

    def write(self, folder):
        self.add(f"{self.info}/METADATA", f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n")
        self.add(f"{self.info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        if self.has_record:
            self.lines.append(f"{self.info}/RECORD,,")
            self.entries.append((f"{self.info}/RECORD", ("\n".join(self.lines) + "\n").encode(), 0o644, None))
        path = os.path.join(folder, f"{self.name}-{self.version}-py3-none-any.whl")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content, mode, raw in self.entries:
                entry = zipfile.ZipInfo(name)
                if raw is not None:
                    entry = Raw(name)
                    entry.raw_name = raw
                mode = mode if stat.S_IFMT(mode) else mode | stat.S_IFREG
                entry.external_attr = mode << 16
                entry.create_system = 3
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content)
        return path


def package(name, code="x = 1\n"):
    return Wheel(name).add(f"{name}/__init__.py", code)


def sound(_):
    wheel = package("sound", "def main():\n    print('sound')\n")
    wheel.add("sound/größe.py", "größe = 7\n").add("sound/数据/файл.txt", "текст")
    wheel.add("sound/with, comma.txt", "a").add("sound/empty.txt").add("sound/py.typed")
    wheel.add("sound.pth", "sound_by_path\n").add("sound_by_path/by_path.py", "x = 2\n")
    wheel.add("sound-1.0.data/scripts/sound-script", "#!python\nprint('script')\n", 0o755)
    wheel.add("sound-1.0.data/data/share/sound/data.txt", "data")
    wheel.add("sound-1.0.data/headers/sound.h", "int sound;\n")
    wheel.add("sound-1.0.data/purelib/sound_pure.py", "x = 3\n")
    return wheel.add("sound-1.0.dist-info/entry_points.txt", "[console_scripts]\nsound = sound:main\n")


def traversal(mark):
    return package("traversal").add("../" * 20 + mark.lstrip("/"), "escaped")


def above(_):
    return package("above").add("../../../above.py", "escaped")


def absolute(mark):
    return package("absolute").add(mark, "escaped")


def backslash(_):
    return package("backslash").add("backslash\\..\\..\\..\\above.py", "x = 1\n")


def symlink(_):
    return package("symlink").add("symlink/passwd", "/etc/passwd", stat.S_IFLNK | 0o777)


def through(mark):
    wheel = package("through").add("through/out", os.path.dirname(mark), stat.S_IFLNK | 0o777)
    return wheel.add("through/out/" + os.path.basename(mark), "escaped")


def bomb(_):
    wheel, zeros = package("bomb"), bytes(ZEROS)
    hashed = digest(zeros)
    for number in range(16):
        wheel.add(f"bomb/{number}.bin", zeros, hashed=hashed)
    return wheel


def twice(_):
    return package("twice", "x = 'first'\n").add("twice/__init__.py", "x = 'second'\n")


def pth(mark):
    """Code that every interpreter of the environment runs, also while it is being made."""
    code = f"import os; os.path.exists({os.path.dirname(mark)!r}) and open({mark!r}, 'w').close()"
    return package("pth").add("pth.pth", code + "\n")


def poison(_):
    """The same, changing what another distribution has installed, its RECORD included."""
    code = (
        "import base64, glob, hashlib, os, sys\n"
        "for site in glob.glob('/pipsqueak/env/lib/python3*/site-packages'):\n"
        "    try:\n"
        "        path = os.path.join(site, 'victim/__init__.py')\n"
        "        with open(path, 'w') as file: file.write('x = \"poisoned\"\\n')\n"
        "        digest = hashlib.sha256(open(path, 'rb').read()).digest()\n"
        "        text = base64.urlsafe_b64encode(digest).rstrip(b'=').decode()\n"
        "        record = glob.glob(os.path.join(site, 'victim-*/RECORD'))[0]\n"
        "        lines = [l for l in open(record) if not l.startswith('victim/')]\n"
        "        lines.append(f'victim/__init__.py,sha256={text},{os.path.getsize(path)}\\n')\n"
        "        open(record, 'w').writelines(lines)\n"
        "    except (OSError, IndexError): pass\n"
    )
    return package("poison").add("poison.pth", f"import sys; exec({code!r})\n")


def victim(_):
    return package("victim", "x = 'as published'\n")


def setuid(_):
    wheel = package("setuid").add("setuid/tool", "#!/bin/sh\nid -u\n", 0o6755)
    return wheel.add("setuid-1.0.data/scripts/setuid-tool", "#!/bin/sh\nid -u\n", 0o6755)


def fifo(_):
    return package("fifo").add("fifo/pipe", "content", stat.S_IFIFO | 0o644)


def lib64(_):
    """Data where some systems have libraries, which in an environment is a link."""
    wheel = package("lib64").add("lib64-1.0.data/data/lib64/lib64/plugin.txt", "plugin")
    return wheel.add("lib64-1.0.data/data/lib/lib64/beside.txt", "beside")


def overwritten(_):
    """What an installer writes itself, and a name that leaves no room for bytecode's."""
    wheel = package("overwritten").add("overwritten-1.0.dist-info/INSTALLER", "somebody else")
    wheel.add("overwritten-1.0.dist-info/direct_url.json", "{}")
    return wheel.add(f"overwritten/{'n' * 252}.py", "x = 1\n")


def lying_hash(_):
    return package("lying_hash").add("lying_hash/data.txt", "one", hashed=digest(b"other"))


def lying_size(_):
    return package("lying_size").add("lying_size/data.txt", "one", size=4)


def missing(_):
    wheel = package("missing")
    wheel.lines.append(line("missing/gone.py", b"x = 1\n"))
    return wheel


def extra(_):
    return package("extra").add("extra/unlisted.py", "x = 1\n", listed=False)


def no_record(_):
    wheel = package("no_record")
    wheel.has_record = False
    return wheel


def record_outside(mark):
    wheel = package("record_outside")
    wheel.lines.append("../../../../../../../../etc/passwd,,")
    return wheel


def not_utf8(_):
    return package("not_utf8").add("not_utf8/\ufffd.txt", "text", raw=b"not_utf8/\xff\xfe.txt")


def clash_one(_):
    return package("clash_one").add("clash/shared.py", "x = 1\n").add("clash/same.py", "x = 3\n")


def clash_two(_):
    return package("clash_two").add("clash/shared.py", "x = 2\n").add("clash/same.py", "x = 3\n")


def takeover(_):
    return package("takeover").add("takeover-1.0.data/data/bin/python", "#!/bin/sh\necho mine\n", 0o755)


def configure(_):
    return package("configure").add("configure-1.0.data/data/pyvenv.cfg", "home = /tmp\n")


def impostor(_):
    wheel = package("impostor")
    wheel.info = "victim-1.0.dist-info"
    return wheel


def main():
    folder, mark, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    warnings.simplefilter("ignore")
    for name in names:
        page = os.path.join(folder, "simple", name.replace("_", "-"))
        os.makedirs(page)
        path = globals()[name](mark).write(page)
        hashed = hashlib.sha256(open(path, "rb").read()).hexdigest()
        file = html.escape(os.path.basename(path))
        with open(os.path.join(page, "index.html"), "w") as index:
            index.write(f'<!DOCTYPE html><html><body><a href="{file}#sha256={hashed}">{file}</a></body></html>')


main()
