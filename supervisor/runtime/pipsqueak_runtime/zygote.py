"""A zygote: imports packages once, then forks children into the sandboxes it is given."""

import gc
import os
import sys

import pipsqueak_native as native

from pipsqueak_runtime import (
    context,
    environment,
    failure,
    files,
    forked,
    handler,
    news,
    order,
    output,
    protocol,
    serving,
    snapshot,
)
from pipsqueak_runtime.hazards import Probe
from pipsqueak_runtime.preload import Preloading
from pipsqueak_runtime.uniqueness import Generators

if 0:
    from pipsqueak_runtime.shapes import *


# Made once: what each zygote makes and frees is in pages that its children copy.
_TRIED = protocol.compose(protocol.TRIED, {})

handler.watch = native.imports

# What a child need not give back: that would copy the pages which it shares with its zygote.
_held = None


def serve(control):
    # type: (int) -> int
    """Serves the supervisor. Returns only in a function's process, with its own channel."""
    global _held
    _make_streams_those_of_children()
    # No child is to read it.
    context.started_with()
    output.open()
    probe, generators = _held = Probe(), Generators()
    native.open_passage()
    native.own()
    # Each turn is that of a zygote which the one before has forked.
    while _serve_as_zygote(control, probe, generators) == "zygote":
        output.open()
        probe.inherit()
        environment.widen()
    return control


def _make_streams_those_of_children():
    # type: () -> None
    """Has the streams know that they are pipes, as they are in each child: an object remembers of its
    file whether there are places in it, and a zygote's has some."""
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        number, buffer = stream.fileno(), stream.buffer
        own = os.dup(number)
        os.dup2(writing, number)
        # There is no buffer by `PYTHONUNBUFFERED`.
        raw = getattr(buffer, "raw", buffer)
        pipe = type(raw)(number, raw.mode, closefd=False)  # type: ignore[call-arg]
        pipe.name = raw.name  # type: ignore[misc]
        # The same objects as before, which others may have.
        if raw is not buffer:
            buffer.__init__(pipe, os.fstat(number).st_blksize)  # type: ignore[misc]
            pipe = buffer
        how = stream.line_buffering, stream.write_through  # type: ignore[union-attr]
        stream.__init__(pipe, stream.encoding, stream.errors, "\n", *how)  # type: ignore[misc]
        os.dup2(own, number)
        os.close(own)
    os.close(reading)
    os.close(writing)


def _serve_as_zygote(control, probe, generators):
    # type: (int, Probe, Generators) -> str
    """Imports, then forks. Returns in each child, with its role."""
    message = protocol.receive(control)
    if message is None:
        os._exit(0)
    if trouble := protocol.trouble(*message[:2]):
        _give_up(control, trouble)
    ready = _prepare(control, message[1]["modules"], probe, generators)
    # A collection in a child would write to every object's header and so copy every page.
    gc.collect()
    gc.freeze()
    native.send(control, ready)
    # Or a child would, when it leaves this frame.
    del message, ready
    _try_fork(control, generators)
    native.collapse()
    native.send(control, _TRIED)
    while True:
        message = protocol.receive(control)
        if message is None:
            os._exit(0)
        _, order, descriptors = message
        _, _, holder = descriptors
        try:
            pid = native.fork_into(holder, order["own_network"], order["role"] == "zygote")
        except OSError as error:
            _refuse(control, order, error)
            pid = None
        if pid == 0:
            return _become_child(control, order, descriptors, generators)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid:
            protocol.send(control, protocol.FORKED, {"id": order["id"], "pid": pid})


def _prepare(control, modules, probe, generators):
    # type: (int, list[str], Probe, Generators) -> bytes
    """Imports. Returns what the supervisor is to be told: nothing else of it is left in this process, as
    freeing many small objects in each child would copy the pages that they are in."""
    preloading = Preloading(modules, probe, generators)
    output.record()
    order.record()
    preloading.run()
    if preloading.failed:
        protocol.send(control, protocol.FAILED, preloading.failed)
        os._exit(70)
    try:
        snapshot.before()
    except snapshot.HookFailure as error:
        forked.stay(error.__cause__)
        reason = f"a hook of register_before_snapshot failed: {failure.message(error)}"
        _give_up(control, reason)
    forked.stay()
    header = {**preloading.tell(), "tmp_bytes": files.keep()}
    ready = protocol.compose(protocol.READY, header)
    del header
    generators.collect()
    environment.note()
    environment.forget()
    serving.flush()
    output.end()
    order.seal()
    news.know()
    return ready


def _try_fork(control, generators):
    # type: (int, Generators) -> None
    """Forks a child that does what each does, and ends; or all of them might fail, each while somebody
    waits for it. The supervisor waits for this for a while only."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            native.own()
            _forget_the_zygote("function")
            serving.prepare()
            generators.reseed()
            from pipsqueak_runtime import rehearsal

            rehearsal.run()
            outcome = "ready"
        except BaseException as error:
            outcome = f"{failure.name(error)}: {failure.message(error)}"
        finally:
            os.write(writing, failure.printable(outcome, 1000).encode())
            os._exit(0)
    os.close(writing)
    outcome = os.read(reading, 4096).decode(errors="replace")
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if outcome != "ready":
        how = outcome or f"ended with wait status {status}"
        _give_up(control, f"its children fail: {how}")


def _give_up(control, reason):
    # type: (int, str) -> NoReturn
    protocol.send(control, protocol.UNREADY, {"reason": failure.printable(reason, 4000)})
    os._exit(70)


def _become_child(control, order, descriptors, generators):
    # type: (int, Order, list[int], Generators) -> str
    """Makes a new child a process of its own, whose channel takes the place of `control`. Returns its
    role."""
    try:
        own, logs, holder = descriptors
        os.close(holder)
        native.settle(order["role"] == "zygote")
        # The same numbers as in a process that was started for a function.
        for source, target in ((own, control), (logs, 1), (logs, 2)):
            os.dup2(source, target)
        os.close(own)
        os.close(logs)
        os.chdir("/")
        files.give()
        _forget_the_zygote(order["role"])
        generators.reseed()
        if order["waits"]:
            from pipsqueak_runtime import rehearsal

            rehearsal.run()
        # Who has asked for it knows by this that nothing of the zygote's stands in its way any more.
        native.send(control, b"")
        return order["role"]
    except BaseException as error:
        _refuse(control, order, error)
        os._exit(70)


def _forget_the_zygote(role):
    # type: (str) -> None
    # The last argument is the role. CPython before 3.10 does not tell them.
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[-1] = role
    if "threading" in sys.modules:
        # CPython before 3.13 leaves it the number of its parent's.
        sys.modules["threading"].main_thread()._set_native_id()


def _refuse(control, order, error):
    # type: (int, Order, BaseException) -> None
    reason = failure.printable(f"{failure.name(error)}: {failure.message(error)}", 4000)
    protocol.send(control, protocol.REFUSED, {"id": order["id"], "reason": reason})
