"""Shows one function through all four tiers on a private instance, and checks what it sees.

Started by `tools/quickstart`, which has built everything and put it on the PATH.
"""

import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

ROOT = pathlib.Path(os.environ["PIPSQUEAK_ROOT"])
EXAMPLE = ROOT / "tools" / "examples" / "totals"
EVENT = {
    "sales": [
        {"product": "cheese", "price": 4.5, "count": 3},
        {"product": "bread", "price": 2.0, "count": 2},
        {"product": "cheese", "price": 5.0, "count": 1},
    ]
}
EXPECTED = {"bread": 4.0, "cheese": 18.5}
ROUNDS = {"ssd": 5, "zygote": 9, "paused": 25}
# Start and total in milliseconds, by tier.
Medians = dict[str, tuple[float, float]]


class Instance:
    """An instance of Pipsqueak in a temporary folder, or where the environment's variables say."""

    def __init__(self, folder: pathlib.Path) -> None:
        places = {"PIPSQUEAK_STATE": "state", "PIPSQUEAK_RUN": "run", "PIPSQUEAK_MOUNT": "packages"}
        self.variables = {
            name: os.environ.get(name, str(folder / place)) for name, place in places.items()
        }
        self.run = self.variables["PIPSQUEAK_RUN"]
        self.mount = self.variables["PIPSQUEAK_MOUNT"]
        self.group: str | None = None
        self.groups: list[pathlib.Path] = []

    def call(self, *arguments: str) -> str:
        """Runs one command of the invoker and returns what it printed."""
        done = subprocess.run(
            ["pipsqueak", *arguments],
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        check(
            done.returncode == 0, f"`pipsqueak {' '.join(arguments)}` ended with {done.returncode}"
        )
        return done.stdout

    def invoke(self, tier: str) -> tuple[float, float]:
        """Invokes the example, which must answer right, from the tier that is expected."""
        told = json.loads(self.call("invoke", "totals", "-d", json.dumps(EVENT), "--json"))
        check(told["result"] == EXPECTED, f"the function answered {told['result']}")
        kept = " (a used PIPSQUEAK_STATE has no cold start to show)" if tier == "cold" else ""
        check(
            told["tier"] == tier,
            f"the {told['tier']} tier answered where {tier} was expected{kept}",
        )
        return told["start_us"] / 1000, told["total_us"] / 1000

    def await_zygote(self) -> None:
        """Waits until the environment's zygote has imported its packages."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            states = {
                zygote["state"] for zygote in json.loads(self.call("status", "--json"))["zygotes"]
            }
            if states == {"ready"}:
                return
            check("failed" not in states, "the zygote could not be started")
            time.sleep(0.05)
        check(False, "no zygote within a minute")

    def leftovers(self) -> list[str]:
        """What is still on the machine of this instance.

        A namespace lives no longer than the processes and mounts that are looked for here."""
        mounts = [
            line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
        ]
        found = [f"mount {mount[1]}" for mount in mounts if mount[1] == self.mount]
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                groups = (process / "cgroup").read_text()
            except OSError:
                continue
            if self.run in command or (self.group and self.group in command + groups):
                found.append(f"process {process.name}: {command}")
        found += [f"cgroup {group}" for group in self.groups if group.exists()]
        return found

    def note_groups(self) -> None:
        """Remembers the control groups of the running instance."""
        self.group = group = json.loads(self.call("status", "--json"))["group"]
        mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
        roots = [line.split()[1] for line in mounts if line.split()[2].startswith("cgroup")]
        self.groups = [pathlib.Path(root) / group for root in roots]


def check(holds: bool, otherwise: str) -> None:
    """Ends the run with a message where something does not hold."""
    if not holds:
        sys.exit(f"quickstart: {otherwise}")


def milliseconds(command: Sequence[str]) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def plain_environment(folder: pathlib.Path) -> str:
    """The same packages as uv installs them for one user, on the same disk; its interpreter."""
    uv = os.environ["PIPSQUEAK_UV"]
    subprocess.run([uv, "venv", "--quiet", "--no-config", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--cache-dir",
            str(folder.parent / "downloads"),
            "--link-mode",
            "copy",
            "--python",
            python,
            "-r",
            str(EXAMPLE / "requirements.txt"),
        ],
        check=True,
    )
    return python


def measure(instance: Instance, folder: pathlib.Path) -> tuple[Medians, float]:
    """Start and total of each tier in milliseconds, and the plain import, medians of rounds.

    `folder` is where an ordinary environment is made to compare with."""
    print("cold: the first start finds nothing; resolving, downloading, installing, importing")
    measured = {"cold": [instance.invoke("cold")]}
    python = plain_environment(folder)
    plain = []
    for _ in range(ROUNDS["ssd"]):
        # A zygote that is being made would take the processor from what is measured.
        instance.await_zygote()
        instance.call("evict")
        plain.append(milliseconds([python, "-c", "import pandas"]))
        measured.setdefault("ssd", []).append(instance.invoke("ssd"))
    instance.await_zygote()
    for _ in range(ROUNDS["zygote"]):
        instance.call("evict", "--paused")
        measured.setdefault("zygote", []).append(instance.invoke("zygote"))
    for _ in range(ROUNDS["paused"]):
        measured.setdefault("paused", []).append(instance.invoke("paused"))
    medians = {
        tier: (
            statistics.median(start for start, _ in rounds),
            statistics.median(total for _, total in rounds),
        )
        for tier, rounds in measured.items()
    }
    return medians, statistics.median(plain)


def print_table(medians: Medians, plain: float) -> None:
    cold = medians["cold"][0]
    print()
    print(f"{'tier':<8} {'start':>12} {'total':>12} {'speed-up over cold':>20}")
    for tier in ("cold", "ssd", "zygote", "paused"):
        start, total = medians[tier]
        print(f"{tier:<8} {start:>9.2f} ms {total:>9.2f} ms {cold / start:>19.1f}x")
    print(f"\npython3 -c 'import pandas' from a uv environment on disk: {plain:.0f} ms")


def check_budgets(medians: Medians, plain: float) -> None:
    start = {tier: times[0] for tier, times in medians.items()}
    check(
        start["cold"] > start["ssd"] > start["zygote"] > start["paused"],
        "the tiers are not in order",
    )
    check(start["paused"] < 5, f"a paused start takes {start['paused']:.2f} ms, not under 5")
    check(start["zygote"] < 50, f"a zygote start takes {start['zygote']:.2f} ms, not under 50")
    check(
        start["ssd"] < 2 * plain,
        f"an ssd start takes {start['ssd']:.0f} ms, over twice the plain import's {plain:.0f}",
    )


def show_mount(instance: Instance) -> None:
    """The same packages from an ordinary interpreter, outside of any sandbox of ours."""
    instance.call("env", "add", "science", "-r", str(EXAMPLE / "requirements.txt"))
    view = instance.call("env", "path", "science").strip()
    script = "import pandas; print('pandas', pandas.__version__, 'from', pandas.__file__)"
    print("\nthe same packages, in an ordinary python3 outside of any sandbox:")
    subprocess.run([f"{view}/bin/python", "-c", script], check=True)
    packages = next(pathlib.Path(view).glob("lib/python*/site-packages"))
    subprocess.run(
        [shutil.which("python3") or "python3", "-c", script],
        check=True,
        env=os.environ | {"PYTHONPATH": str(packages)},
    )


def main() -> None:
    # As at Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="pipsqueak-quickstart-") as name:
        folder = pathlib.Path(name)
        instance = Instance(folder)
        print(instance.call("up", "--tiers", "paused,zygote,ssd").strip())
        try:
            instance.note_groups()
            instance.call("deploy", "totals", str(EXAMPLE), "-r", str(EXAMPLE / "requirements.txt"))
            medians, plain = measure(instance, folder / "plain")
            show_mount(instance)
        finally:
            print(instance.call("down").strip())
        until = time.monotonic() + 10
        while (left := instance.leftovers()) and time.monotonic() < until:
            time.sleep(0.1)
        check(not left, "left behind: " + "; ".join(left))
    print_table(medians, plain)
    check_budgets(medians, plain)
    print("nothing is left behind: no process, mount, control group or namespace")


main()
