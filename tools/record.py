"""Adds figures of a benchmark to those that are kept of a commit: record.py FIGURES NAME [FLAG...].

`tools/bench --record` calls it.
"""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def field(path: str, name: str) -> str:
    """What a file of /proc has under a name."""
    for line in pathlib.Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def machine() -> dict[str, object]:
    memory = field("/proc/meminfo", "MemTotal").partition(" ")[0]
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory) >> 10,
        "kernel": platform.release(),
    }


def main(figures: str, benchmark: str, *flags: str) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short=9", "HEAD"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    date = datetime.date.today().isoformat()
    target = ROOT / "docs" / "results" / f"{date}-{commit}.jsonl"
    lines = [json.dumps({"benchmark": benchmark, "flags": flags})]
    if not target.exists():
        lines.insert(0, json.dumps({"machine": machine(), "commit": commit, "date": date}))
    lines += pathlib.Path(figures).read_text().splitlines()
    target.parent.mkdir(exist_ok=True)
    with target.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    print(f"kept in {target.relative_to(ROOT)}")


main(*sys.argv[1:])
