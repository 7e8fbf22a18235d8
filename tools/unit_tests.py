"""Builds and runs unit tests: unit_tests.py [CRATE [NAME] [FLAG...]]. `tools/test unit` calls it."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

# Selected with each crate, though nothing of them is run: with these every selection has the features of the
# whole workspace, so that what all depend on is built once and not once more for each crate.
COMPANIONS = ["pipsqueak-bench", "pipsqueak-native", "pipsqueak-tests"]
# They make mounts, or look at what only root may see or run as somebody else.
NEED_ROOT = [
    "cli::doctor::programs::tests::what_runs_here_alone_is_missing",
    "environment::memory::tests::files_in_memory_are_linked_and_shown_elsewhere",
    "mount::hidden::tests::a_copy_is_of_the_mount_and_outlives_it",
    "mount::hidden::tests::one_that_is_dropped_leaves_nothing",
    "network::netlink::tests::the_kernel_lists_links_and_refuses_what_is_wrong",
    "overlay::tests::what_changes_below_is_seen_after_a_refresh_and_files_are_its_own",
]
FLAGS = {"lib": "--lib", "bin": "--bin={}"}


def packages() -> list[dict[str, Any]]:
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--quiet"]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: list[dict[str, Any]] = json.loads(told)["packages"]
    return found


def targets(package: dict[str, Any]) -> list[str]:
    """What cargo is told to build a package's unit tests."""
    tested = [one for one in package["targets"] if one["test"]]
    flags = [
        FLAGS[kind].format(one["name"]) for one in tested for kind in one["kind"] if kind in FLAGS
    ]
    # It has a library because cargo wants one beside the integration tests.
    return [] if package["name"] == "pipsqueak-tests" else flags


def folder(package: dict[str, Any]) -> pathlib.Path:
    return pathlib.Path(package["manifest_path"]).parent


def chosen(crate: str) -> dict[str, Any]:
    """The package that a crate's folder or package is called after."""
    tested = [package for package in packages() if targets(package)]
    for package in tested:
        if crate in (package["name"], folder(package).name):
            return package
    names = ", ".join(sorted(folder(package).name for package in tested))
    print(f"no crate called {crate} has unit tests; these have: {names}", file=sys.stderr)
    sys.exit(2)


def build(selection: list[str]) -> list[tuple[str, pathlib.Path]]:
    """Test programs, each with the manifest of its package."""
    command = ["cargo", "test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]
    told = subprocess.run([*command, *selection], check=False, stdout=subprocess.PIPE)
    if told.returncode:
        sys.exit(told.returncode)
    messages = map(json.loads, told.stdout.splitlines())
    return [
        (message["manifest_path"], pathlib.Path(message["executable"]))
        for message in messages
        if message["reason"] == "compiler-artifact"
        and message["profile"]["test"]
        and message["executable"]
    ]


def tests(program: pathlib.Path, arguments: list[str]) -> list[str]:
    """Names of a program's tests that these arguments choose."""
    listed = subprocess.run(
        [program, "--list", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    lines = listed.stdout.splitlines()
    return [line.removesuffix(": test") for line in lines if line.endswith(": test")]


def main(arguments: list[str]) -> int:
    crate = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if crate is None:
        known = {package["manifest_path"] for package in packages() if targets(package)}
        programs = [one for one in build(["--workspace", "--lib", "--bins"]) if one[0] in known]
    else:
        package = chosen(crate)
        selected = [f"--package={name}" for name in (package["name"], *COMPANIONS)]
        built = build([*selected, *targets(package)])
        programs = [one for one in built if one[0] == package["manifest_path"]]
    names = {program: tests(program, arguments) for _, program in programs}
    if not any(names.values()):
        print(f"no unit test of {crate or 'any crate'} has such a name", file=sys.stderr)
        return 2
    failed = 0
    for manifest, program in programs:
        skipped = [name for name in names[program] if os.geteuid() and name in NEED_ROOT]
        for name in skipped:
            print(f"skipped, because it needs root: {name}", file=sys.stderr)
        if len(skipped) < len(names[program]):
            flags = [word for name in skipped for word in ("--skip", name)]
            # As cargo does: tests find their files from there.
            ended = subprocess.run(
                [program, *arguments, *flags], check=False, cwd=pathlib.Path(manifest).parent
            )
            failed |= ended.returncode
    return failed


sys.exit(main(sys.argv[1:]))
