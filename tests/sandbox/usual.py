"""What programs usually do, and containment must leave them."""

import asyncio
import concurrent.futures
import multiprocessing
import multiprocessing.shared_memory
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid


def square(number):
    return number * number


def pool():
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return workers.map(square, range(4))


def executor():
    with concurrent.futures.ProcessPoolExecutor(2) as workers:
        return list(workers.map(square, range(4)))


def manager():
    with multiprocessing.get_context("fork").Manager() as shared:
        numbers = shared.list([1])
        numbers.append(2)
        return list(numbers)


def shared_memory():
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=8)
    try:
        block.buf[0] = 7
        return block.buf[0]
    finally:
        block.close()
        block.unlink()


def tasks():
    async def main():
        child = await asyncio.create_subprocess_exec("echo", "hi", stdout=subprocess.PIPE)
        said, _ = await child.communicate()
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        end = await reader.read()
        writer.close()
        server.close()
        await asyncio.to_thread(time.sleep, 0)
        return said.decode() + end.decode()

    return asyncio.run(main())


def terminal():
    near, far = os.openpty()
    os.write(far, b"x\n")
    found = [os.ttyname(far), os.read(near, 10).decode()]
    os.close(near)
    os.close(far)
    return found


def session_with_terminal():
    child, near = pty.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", "echo said > /dev/tty"])
    said = b""
    try:
        while piece := os.read(near, 100):
            said += piece
    except OSError:
        pass
    os.close(near)
    os.waitpid(child, 0)
    return said.decode()


def files():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/below")
        open(f"{folder}/one", "w").write("text")
        os.link(f"{folder}/one", f"{folder}/two")
        os.symlink("two", f"{folder}/three")
        os.mkfifo(f"{folder}/pipe")
        os.rename(f"{folder}/one", f"{folder}/below/one")
        os.truncate(f"{folder}/two", 2)
        os.chmod(f"{folder}/two", 0o700)
        return open(f"{folder}/three").read()


def unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{folder}/socket")
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"{folder}/socket")
        accepted, _ = server.accept()
        client.sendall(b"x")
        return accepted.recv(1).decode()


def memory_file():
    descriptor = os.memfd_create("x")
    os.write(descriptor, b"text")
    try:
        return open(f"/proc/self/fd/{descriptor}").read()
    finally:
        os.close(descriptor)


def database():
    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(f"{folder}/db") as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE t AS SELECT 1")
            return connection.execute("SELECT * FROM t").fetchone()[0]


def own_child():
    child = subprocess.Popen(["sleep", "100"])
    signal.pidfd_send_signal(os.pidfd_open(child.pid), signal.SIGTERM)
    return child.wait()


def names():
    return [socket.getaddrinfo("localhost", 80)[0][4][0], [n for _, n in socket.if_nameindex()]]


USUAL = {
    "pool": (pool, [0, 1, 4, 9]),
    "executor": (executor, [0, 1, 4, 9]),
    "manager": (manager, [1, 2]),
    "shared memory": (shared_memory, 7),
    "tasks": (tasks, "hi\n"),
    "terminal": (terminal, ["/dev/pts/0", "x\r\n"]),
    "session with a terminal": (session_with_terminal, "said\r\n"),
    "files": (files, "te"),
    "unix socket": (unix_socket, "x"),
    "memory file": (memory_file, "text"),
    "database": (database, 1),
    "own child": (own_child, -signal.SIGTERM),
    "names": (names, ["127.0.0.1", ["lo"]]),
    "shell": (lambda: subprocess.check_output("echo a | tr a b", shell=True, text=True), "b\n"),
    "own environment": (lambda: "PATH" in open("/proc/self/environ").read(), True),
    "own memory map": (lambda: "python" in open("/proc/self/maps").read(), True),
    "number by time": (lambda: uuid.uuid1().version, 1),
    "thread": (lambda: threading.Thread(target=time.sleep, args=(0,)).start(), None),
    "processors": (lambda: len(os.sched_getaffinity(0)) > 0, True),
    "session": (lambda: os.getsid(0) == os.getpgid(0) == os.getpid(), True),
}


def handler(_):
    found = {}
    for name, (act, expected) in USUAL.items():
        try:
            answer = act()
        except Exception as error:
            answer = repr(error)
        if answer != expected:
            found[name] = answer
    return found
