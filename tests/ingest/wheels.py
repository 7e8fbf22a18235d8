"""Builds wheels that no honest tool makes, and an index of them: `wheels.py FOLDER MARK NAME...`.

MARK is a path of the host where nothing may ever appear.
"""

import base64
import hashlib
import html
import importlib.util
import marshal
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
        # What is done to the archive's bytes at the end, and what its metadata needs.
        self.patch, self.requires = None, []
        self.wheel_version = "1.0"

    def add(self, path, content=b"", mode=0o644, raw=None, listed=True, **lies):
        content = content.encode() if isinstance(content, str) else content
        self.entries.append((path, content, mode, raw))
        if listed:
            self.lines.append(line(path, content, **lies))
        return self

    def metadata(self):
        requires = "".join(f"Requires-Dist: {name}\n" for name in self.requires)
        return f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{requires}".encode()

    def write(self, folder):
        self.add(f"{self.info}/METADATA", self.metadata())
        about = f"Wheel-Version: {self.wheel_version}\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        self.add(f"{self.info}/WHEEL", about)
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
        if self.patch:
            with open(path, "rb") as file:
                content = self.patch(bytearray(file.read()))
            with open(path, "wb") as file:
                file.write(content)
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


def foreign(wheel, prefix, listed=True, name="six", version="1.17.0"):
    """Adds another distribution's module, and a RECORD for it that has nothing else to say, below a path."""
    code = "x = 'hijacked'\n"
    wheel.add(f"{prefix}{name}.py", code, listed=listed)
    record = line(f"{name}.py", code.encode()) + "\n"
    return wheel.add(f"{prefix}{name}-{version}.dist-info/RECORD", record, listed=listed)


def six(_):
    return Wheel("six", "1.17.0").add("six.py", "x = 'as published'\n")


def hijack(_):
    """Another distribution's files, with a RECORD that says they are its own, as an installer moves data."""
    return foreign(package("hijack"), "hijack-1.0.data/purelib/")


def zhijack(_):
    """The same, of which its own RECORD says nothing, and which an installer that goes by names has last."""
    return foreign(package("zhijack"), "zhijack-1.0.data/purelib/", listed=False)


def hijack_top(_):
    return foreign(package("hijack_top"), "")


def hijack_data(_):
    return foreign(package("hijack_data"), "hijack_data-1.0.data/data/lib/python3.11/site-packages/")


def hijack_lib64(_):
    return foreign(package("hijack_lib64"), "hijack_lib64-1.0.data/data/lib64/python3.11/site-packages/")


def hijack_case(_):
    wheel = package("hijack_case")
    return wheel.add("hijack_case-1.0.data/platlib/Six-1.17.0.DIST-INFO/RECORD", "six.py,,\n")


def overlay(_):
    """Another distribution's module alone: what both bring is told where both are wanted."""
    return package("overlay").add("overlay-1.0.data/purelib/six.py", "x = 'hijacked'\n")


def overlay_top(_):
    return package("overlay_top").add("six.py", "x = 'hijacked'\n")


def bytecode(_):
    """What another's module would be taken for, without that module."""
    code = compile("x = 'hijacked'\n", "six.py", "exec")
    content = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
    wheel = package("bytecode").add("__pycache__/six.cpython-311.pyc", content)
    return wheel.add("bytecode-1.0.data/purelib/__pycache__/victim.cpython-311.pyc", content)


def dangling(_):
    return package("dangling").add("dangling/link.so", "../../../../../../etc/shadow", stat.S_IFLNK | 0o777)


def device(_):
    return package("device").add("device/null", "", stat.S_IFCHR | 0o666)


def upwards(_):
    return package("upwards").add("upwards-1.0.data/data/../../../../above.py", "escaped")


def dots(_):
    return package("dots").add("dots/./other.py", "x = 1\n")


def newline(_):
    return package("newline").add("newline/a\nsix.py,,\n.py", "x = 1\n")


def escape(_):
    return package("escape").add("escape/\x1b]0;title\x07.txt", "x")


def moved_twice(_):
    wheel = package("moved_twice")
    return wheel.add("moved_twice-1.0.data/purelib/moved_twice/__init__.py", "x = 'second'\n")


def linked_twice(_):
    wheel = package("linked_twice").add("linked_twice-1.0.data/data/lib/extra.txt", "one")
    return wheel.add("linked_twice-1.0.data/data/lib64/extra.txt", "other")


def file_and_folder(_):
    return package("file_and_folder").add("file_and_folder/x", "x").add("file_and_folder/x/y.py", "y = 1\n")


def own_record(_):
    wheel = package("own_record")
    return wheel.add("own_record-1.0.data/purelib/own_record-1.0.dist-info/RECORD", "six.py,,\n")


def sized(change):
    """Has the archive's list say another size of the first file than is packed."""

    def patch(content):
        at = content.index(b"PK\x01\x02")
        content[at + 24 : at + 28] = change.to_bytes(4, "little")
        return content

    return patch


def understated(_):
    wheel = Wheel("understated").add("understated/__init__.py", bytes(8 << 20), size="")
    wheel.patch = sized(10)
    return wheel


def overstated(_):
    wheel = Wheel("overstated").add("overstated/__init__.py", b"x = 1\n", size="")
    wheel.patch = sized(1 << 20)
    return wheel


def overlapping(_):
    """Two names of one content: the list of an archive may hold a thousand."""
    wheel = package("overlapping").add("overlapping/one.bin", bytes(1 << 20)).add("overlapping/two.bin", bytes(1 << 20))

    def patch(content):
        first = content.index(b"PK\x01\x02")
        second = content.index(b"PK\x01\x02", first + 4)
        third = content.index(b"PK\x01\x02", second + 4)
        content[third + 42 : third + 46] = content[second + 42 : second + 46]
        return content

    wheel.patch = patch
    return wheel


def point(name, line):
    wheel = package(name, "def main():\n    pass\n")
    return wheel.add(f"{name}-1.0.dist-info/entry_points.txt", f"[console_scripts]\n{line}\n")


def point_above(_):
    return point("point_above", "../../above = point_above:main")


def point_code(_):
    return point("point_code", "tool = point_code:main(); import os; os.system")


def point_python(_):
    return point("point_python", "python3.11 = point_python:main")


def later(_):
    wheel = package("later")
    wheel.wheel_version = "2.0"
    return wheel


def renamed(_):
    wheel = package("renamed")
    wheel.info = "renamed-2.0.dist-info"
    return wheel


def split(_):
    """All places that a wheel's files may be put to, and all kinds of scripts."""
    wheel = package("split", "def main():\n    print('split')\n\n\nclass Tool:\n    run = staticmethod(main)\n")
    wheel.add("split/tool.sh", "#!/bin/sh\n", 0o755).add("split/data.bin", bytes(range(256)) * 100)
    wheel.add("split/unlisted.py", "x = 1\n", listed=False).add("split/broken.py", "print 'of another Python'\n")
    data = "split-1.0.data"
    wheel.add(f"{data}/purelib/split_pure.py", "x = 3\n").add(f"{data}/platlib/split/native.so", "\x7fELF", 0o755)
    wheel.add(f"{data}/headers/sub/split.h", "int split;\n").add(f"{data}/data/etc/split.conf", "c")
    wheel.add(f"{data}/data/share/man/man1/split.1", "man").add(f"{data}/scripts/binary", "\x7fELF", 0o644)
    wheel.add(f"{data}/scripts/script", "#!python -E\nprint('script')\n", 0o644)
    wheel.add(f"{data}/scripts/crlf", "#!pythonw\r\nprint('crlf')\r\n").add(f"{data}/scripts/shell", "#!/bin/sh\n")
    wheel.add("split.pth", "import sys\n").add("split-1.0.dist-info/licenses/LICENSE", "mine")
    points = "# of tools\n[console_scripts]\nsplit-run = split:Tool.run\nsplit = split:main [extra]\n"
    return wheel.add("split-1.0.dist-info/entry_points.txt", f"{points}\n[gui_scripts]\nsplit-gui=split : main\n")


def main():
    folder, mark, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    warnings.simplefilter("ignore")
    for name in names:
        page = os.path.join(folder, "simple", name.replace("_", "-"))
        os.makedirs(page)
        wheel = globals()[name](mark)
        path = wheel.write(page)
        hashed = hashlib.sha256(open(path, "rb").read()).hexdigest()
        # So that whoever resolves has no reason to look into the wheel.
        with open(f"{path}.metadata", "wb") as metadata:
            metadata.write(wheel.metadata())
        known = f'data-core-metadata="sha256={hashlib.sha256(wheel.metadata()).hexdigest()}"'
        file = html.escape(os.path.basename(path))
        with open(os.path.join(page, "index.html"), "w") as index:
            link = f'<a href="{file}#sha256={hashed}" {known}>{file}</a>'
            index.write(f"<!DOCTYPE html><html><body>{link}</body></html>")


main()
