"""A zygote: imports packages once, then forks children into the sandboxes it is given."""

import importlib
import os
import signal

import pipsqueak_native as native

from pipsqueak_runtime import channel, preload, uniqueness


def serve(control):
    """Serves the supervisor. Returns only in a child, with the child's own channel."""
    message = channel.receive(control)
    if message is None:
        os._exit(0)
    imported, failed = preload.preload(message[0]["modules"])
    hazards = preload.fork_hazards()
    channel.send(control, {"ready": {"modules": imported, "failed": failed, "hazards": hazards}})
    # Those who lead children into their sandboxes end at once, and nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message = channel.receive(control)
        if message is None:
            os._exit(0)
        order, _, descriptors = message
        own, logs, holder, *memberships = descriptors
        try:
            pid = native.fork_into(holder, memberships, order["own_network"])
        except OSError as error:
            _refuse(control, order, error)
            pid = None
        if pid == 0:
            return _become_function(control, order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid:
            channel.send(control, {"forked": {"id": order["id"], "pid": pid}})


def _become_function(control, order, descriptors):
    """Makes a new child the function's own. Returns the function's channel, which takes the place
    of `control`."""
    try:
        own, logs, *others = descriptors
        for descriptor in others:
            os.close(descriptor)
        native.become_user(order["uid"], order["gid"])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The same numbers as in a process that was started for a function.
        for source, target in ((own, control), (logs, 1), (logs, 2)):
            os.dup2(source, target)
        os.close(own)
        os.close(logs)
        os.chdir("/")
        importlib.invalidate_caches()
        uniqueness.reseed()
        return control
    except BaseException as error:
        _refuse(control, order, error)
        os._exit(70)


def _refuse(control, order, error):
    reason = f"{type(error).__name__}: {error}"
    channel.send(control, {"refused": {"id": order["id"], "reason": reason}})
