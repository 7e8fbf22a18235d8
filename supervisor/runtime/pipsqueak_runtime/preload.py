"""Importing an environment's packages ahead of the functions that will want them."""

import gc
import sys


def preload(names):
    """Imports modules by name. Returns those that were imported and why others were not."""
    imported, failed = [], {}
    for name in names:
        try:
            __import__(name)
            imported.append(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # A collection in a child would write to every object's header and so copy every page.
    gc.collect()
    gc.freeze()
    return imported, failed


def fork_hazards():
    """What a fork would break or share: threads and child processes that imports have left."""
    import os

    hazards = []
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        hazards.append(f"threads left running: {threads - 1}")
    with open("/proc/self/task/%d/children" % os.getpid()) as children:
        count = len(children.read().split())
    if count:
        hazards.append(f"child processes left running: {count}")
    return hazards
