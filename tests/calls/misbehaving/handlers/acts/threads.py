"""Threads, and what they leave or hold."""

import _thread
import os
import sys
import tempfile
import threading
import time

from acts import Answer, act

_held = threading.Lock()


def _start(target, daemon=True):
    thread = threading.Thread(target=target, daemon=daemon)
    thread.start()
    return thread


@act()
def joined(call):
    _start(lambda: os.write(1, f"{call} fd of a thread\n".encode())).join()


@act("beside")
def left(call):
    def later():
        time.sleep(call.draw.random() / 10)
        call.say("fd later")

    _start(later, daemon=call.draw.random() < 0.5)


@act("beside")
def raises_later(call):
    def later():
        time.sleep(call.draw.random() / 10)
        raise call.draw.choice([ValueError, SystemExit, KeyboardInterrupt])(f"{call} fd later")

    _start(later, daemon=call.draw.random() < 0.5)


@act("beside")
def raises_without_threading(call):
    def later():
        raise ValueError(f"{call} fd later")

    _thread.start_new_thread(later, ())


@act("beside")
def goes_on(call):
    def forever():
        while True:
            time.sleep(0.01)

    _start(forever, daemon=call.draw.random() < 0.5)


@act("beside")
def is_busy(call):
    def busily():
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass

    _start(busily)


@act("beside", "shared")
def holds_locks(call):
    held = threading.Event()

    def hold():
        with _held, tempfile._once_lock:
            held.set()
            time.sleep(1000)

    if not _held.locked():
        _start(hold)
        held.wait(1)


@act("beside", "shared")
def holds_the_import_lock(call):
    import _imp

    held = threading.Event()

    def hold():
        _imp.acquire_lock()
        held.set()
        time.sleep(0.2)
        _imp.release_lock()

    _start(hold)
    held.wait(1)


@act("end", "shared", weight=1)
def too_many(call):
    done = threading.Event()
    try:
        for _ in range(600):
            _start(lambda: done.wait(5))
    finally:
        done.set()
        # They are gone ahead of the next call.
        while threading.active_count() > 20:
            time.sleep(0.01)
    return Answer("as many as there could be")


@act("end", "shared", weight=1)
def exits(call):
    def exit():
        os._exit(call.draw.choice([0, 5]))

    _start(exit).join()
    time.sleep(5)


@act("shared")
def hooks(call):
    def fail(*_):
        raise ValueError("of a hook")

    threading.excepthook = fail
    threading.settrace(lambda *_: None)
    threading.setprofile(lambda *_: None)
    sys.excepthook = fail


@act("shared")
def own_stack(call):
    threading.stack_size(call.draw.choice([32 << 10, 64 << 20]))


@act("shared")
def interrupts(call):
    # Strikes the main thread, where that is this one.
    if threading.current_thread() is threading.main_thread():
        _thread.interrupt_main()
        time.sleep(0.05)


@act()
def renamed(call):
    threading.current_thread().name = "\udc80\0"
    threading.current_thread().__class__ = threading._DummyThread


@act()
def local(call):
    threading.local().value = call
    import contextvars

    contextvars.ContextVar("own").set(call)


@act("shared")
def fewer(call):
    threading._active.clear()
    threading._limbo.clear()
