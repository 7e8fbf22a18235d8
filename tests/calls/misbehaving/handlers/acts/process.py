"""Processes that are made, and ends of the handler's own."""

import atexit
import multiprocessing
import os
import subprocess
import sys
import time

from acts import Answer, act


# Whatever an act before has put in its place.
_sleep = time.sleep


def _waited(pid):
    return os.waitpid(pid, 0)[1]


@act("end", "beside", weight=4)
def child_returns(call):
    pid = os.fork()
    if pid and call.draw.random() < 0.5:
        return Answer(["parent", _waited(pid)])
    return Answer("parent" if pid else "child")


@act("end", "beside", weight=4)
def child_raises(call):
    kind = call.draw.choice([ValueError, SystemExit, KeyboardInterrupt])
    pid = os.fork()
    if not pid:
        raise kind(f"{call} fd astray")
    return Answer(["parent", _waited(pid)])


@act("beside")
def child_exits(call):
    pid = os.fork()
    if not pid:
        os._exit(7)
    if call.draw.random() < 0.5:
        call.say(f"waited {_waited(pid)}")


@act("beside", "shared")
def child_sleeps_on(call):
    # Whoever waits for the end of a pipe that another has made waits for it, too.
    if not os.fork():
        time.sleep(call.draw.choice([0.05, 1000]))
        os._exit(0)


@act("beside")
def child_leaves(call):
    pid = os.fork()
    if not pid:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(0.1)
        os.write(1, f"{call} fd astray\n".encode())
        os._exit(0)
    _waited(pid)


@act("end", "beside")
def child_is_a_generator(call):
    def items():
        yield 1
        os.fork()
        yield 2

    return Answer(items())


@act("end", "beside")
def child_while_told(call):
    class Forks(dict):
        def items(self):
            os.fork()
            return [("a", 1)]

    return Answer(Forks(a=1))


@act("end", "beside")
def child_in_a_task(call):
    async def answer():
        os.fork()
        return "awaited"

    return Answer(answer())


@act("end", "beside", "shared", weight=1)
def too_many(call):
    made = []
    try:
        for _ in range(600):
            made.append(os.posix_spawnp("sleep", ["sleep", "1000"], os.environ))
    finally:
        for pid in made:
            os.kill(pid, 9)
            _waited(pid)
    return Answer(len(made))


@act()
def programs(call):
    done = subprocess.run([sys.executable, "-I", "-c", "raise SystemExit(4)"])
    call.say(f"ended {done.returncode}")


@act()
def program_left(call):
    subprocess.Popen(["sleep", "0.1"])


@act()
def pipes(call):
    made = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    call.say(f"heard {made.communicate(b'x' * 100_000)[0].count(b'x')}")


@act()
def worker(call):
    method = call.draw.choice(["fork", "spawn"])
    made = multiprocessing.get_context(method).Process(target=os._exit, args=[3])
    made.start()
    made.join()
    call.say(f"ended {made.exitcode}")


@act("beside")
def pool(call):
    with multiprocessing.get_context("fork").Pool(2) as made:
        call.say(f"made {made.map(abs, [-1, -2])}")


@act("beside")
def worker_left(call):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=[0.1]).start()


@act("end", "shared", weight=3)
def exits(call):
    os._exit(call.draw.choice([0, 1, 3, 255]))


@act("end", "shared")
def becomes_another(call):
    program = call.draw.choice(["true", "false"])
    os.execvp(program, [program])


@act("end", "shared")
def child_ends_it(call):
    if not os.fork():
        os.kill(os.getppid(), call.draw.choice([9, 15]))
        os._exit(0)
    _sleep(5)


@act("end", "shared")
def exits_in_c(call):
    import ctypes

    ctypes.CDLL(None).exit(4)


@act("shared")
def at_exit(call):
    def fail():
        raise ValueError("at exit")

    atexit.register(fail)
    os.register_at_fork(after_in_child=lambda: 1 / 0, before=lambda: 1 / 0)


@act("end", "shared", "hangs", weight=1)
def sleeps(call):
    time.sleep(1000)


@act("end", "shared", "hangs", weight=1)
def computes(call):
    while True:
        pass


@act("end", "shared", "hangs", weight=1)
def holds_the_interpreter(call):
    import ctypes

    ctypes.PyDLL(None).sleep(1000)


@act("end", "shared", weight=1)
def takes_memory(call):
    return Answer(len(bytearray(b"x") * (600 << 20)))


@act("end", "beside", weight=1)
def child_takes_memory(call):
    pid = os.fork()
    if not pid:
        bytearray(b"x") * (600 << 20)
        os._exit(0)
    return Answer(_waited(pid))
