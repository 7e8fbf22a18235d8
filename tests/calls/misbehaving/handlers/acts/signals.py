"""Signals: sent, handled, ignored, and left to come."""

import faulthandler
import os
import signal
import time

from acts import act


@act("shared")
def alarm_left(call):
    signal.alarm(2)


@act("shared")
def timer_left(call):
    timer = call.draw.choice([signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
    signal.setitimer(timer, 3, call.draw.choice([0, 0.001]))


@act("shared")
def timer_handled(call):
    def fail(*_):
        raise ValueError("of a timer")

    signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, 3, 0.01)


@act()
def alarm_that_rings(call):
    def ring(*_):
        raise TimeoutError(f"{call} rings")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        time.sleep(5)
    except TimeoutError:
        call.say("rang")


@act("shared")
def handled(call):
    signal.signal(signal.SIGTERM, lambda *_: call.say("heard"))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)


@act("end", "shared")
def handled_by_raising(call):
    kind = call.draw.choice([ValueError, SystemExit, KeyboardInterrupt])

    def fail(*_):
        raise kind(f"{call} of a signal")

    signal.signal(signal.SIGUSR1, fail)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(2)


@act("shared")
def ignored(call):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


@act("shared")
def blocked(call):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))


@act("shared")
def by_default(call):
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


@act("shared")
def wakes_nobody(call):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    os.close(reader)
    if call.draw.random() < 0.5:
        os.close(writer)


@act("shared", weight=1)
def child_sends_later(call):
    signal.signal(signal.SIGUSR2, lambda *_: None)
    if os.fork() == 0:
        for _ in range(5):
            time.sleep(0.02)
            os.kill(os.getppid(), signal.SIGUSR2)
        os._exit(0)


@act("end", "shared", weight=3)
def to_itself(call):
    names = ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGBUS", "SIGABRT", "SIGALRM"]
    os.kill(os.getpid(), getattr(signal, call.draw.choice(names)))
    time.sleep(2)


@act("end", "shared")
def faults(call):
    if call.draw.random() < 0.5:
        import ctypes

        ctypes.string_at(0)
    os.abort()


@act("end", "shared", "hangs", weight=1)
def stops(call):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)


@act("shared")
def to_its_group(call):
    os.killpg(0, call.draw.choice([signal.SIGWINCH, signal.SIGCONT, signal.SIGURG]))


@act("end", "shared")
def ends_its_group(call):
    os.killpg(0, call.draw.choice([signal.SIGTERM, signal.SIGKILL]))
    time.sleep(2)


@act("shared")
def dumps_later(call):
    faulthandler.dump_traceback_later(3, exit=True)


@act("shared")
def tells_of_faults(call):
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, chain=True)
