"""A function's process that imports, before it is any function's, what no zygote may have imported."""

import gc
import sys

import pipsqueak_native as native

from pipsqueak_runtime import (
    environment,
    failure,
    handler,
    json_text,
    order,
    protocol,
    reads,
    replaced,
)


def prepare(channel, modules):
    # type: (native.Channel, list[str]) -> None
    """Imports modules, and tells what that has read and whether all have come."""
    reads.note_start(environment.FOLDER, environment.lines())
    reads.begin()
    order.record()
    failed, watch = None, replaced.Watch()
    try:
        for name in modules:
            try:
                count = len(sys.modules)
                __import__(name)
                # Functions may import it later than others, or not at all.
                others = watch.news(name) if len(sys.modules) > count else []
                if others:
                    failed = failure.printable(f"{name} replaces {replaced.told(others)}", 1000)
                    break
            except BaseException as error:
                # What a package raises is not always an Exception.
                reason = f"{name}: {failure.name(error)}: {failure.message(error)}"
                failed = failure.printable(reason, 1000)
                break
    finally:
        reads.end()
    # What imports print and warn of goes where the function's does.
    order.seal()
    handler.watch = native.imports
    gc.freeze()
    told = {"reads": reads.told(), "failed": failed}
    channel.send(protocol.PREPARED, json_text.encode(told), b"")
