"""`python plain.py FOLDER REPORT MARK MODE EVENTS`: a plain process that calls the handler in FOLDER with each of
EVENTS (a JSON list), and tells how each call has ended, as a line of JSON on the descriptor REPORT. On MARK it
marks the end of what was printed for it. MODE says whether the handler runs in the main thread or in another.
"""

import asyncio
import builtins
import json
import os
import sys
from _queue import SimpleQueue
from _thread import start_new_thread
from threading import current_thread

# What acts do to these reaches the handler's alone.
__builtins__ = _built_in = dict(vars(builtins))
for _name in list(sys.modules):
    if _name.partition(".")[0] in ("json", "asyncio"):
        del sys.modules[_name]
_encode_any = json.JSONEncoder(allow_nan=False).encode
_patchable = vars(builtins)
_flush = sys.stdout.flush, sys.stderr.flush
_write, _getpid, _exit = os.write, os.getpid, os._exit
_name_of = type.__dict__["__name__"].__get__
_generator = type(_ for _ in ())
_loop = asyncio.new_event_loop()
_own = _getpid()
_in_main_thread = "main" in sys.argv


def main(folder, report, mark, mode, events):
    sys.stdout.reconfigure(line_buffering=True)
    sys.argv[:] = [folder]
    sys.path.insert(0, folder)
    os.chdir(folder)
    from main import ACTS, handler

    for name, act in ACTS.items():
        act.run = _told(int(report), name, act.run)
    call = _outcome if mode == "main" else _in_threads()
    for number, event in enumerate(json.loads(events)):
        outcome = call(handler, event)
        for flush in _flush:
            try:
                flush()
            except BaseException:
                pass
        # In the order of what is printed, and in no line of it.
        _write(int(mark), f"\n<end of {number}>\n".encode())
        _write(int(report), f"{_encode(outcome)}\n".encode())
    _exit(0)


def _told(report, name, run):
    def told(call):
        _write(report, f'{{"begun": "{name}"}}\n'.encode())
        return run(call)

    return told


def _in_threads():
    """Calls in threads that are there ahead of the first."""
    asked, told, known = SimpleQueue(), SimpleQueue(), SimpleQueue()

    def work():
        # Known to the library before anything is done to that.
        known.put(current_thread())
        told.put(_outcome(*asked.get()))

    for _ in range(2):
        start_new_thread(work, ())
        known.get()

    def call(handler, event):
        asked.put((handler, event))
        while True:
            try:
                return told.get()
            except BaseException:
                # What handles a signal has raised.
                pass

    return call


def _outcome(handler, event):
    try:
        answer = _completed(handler(event))
    except BaseException as error:
        _leave(error)
        return {"error": [_name_of(type(error)), _text(error)]}
    _leave(None)
    try:
        result = _encode(answer)
    except BaseException as error:
        _leave(error)
        return {"no_json": [_name_of(type(error)), _text(error)]}
    _leave(None)
    return {"result": result}


def _completed(answer):
    kind = type(answer)
    if kind is _generator:
        return list(answer)
    if hasattr(kind, "__anext__"):
        return _loop.run_until_complete(_collected(answer))
    if hasattr(kind, "__await__"):
        outcome, error = _loop.run_until_complete(_awaited(answer))
        if error is not None:
            raise error
        return outcome
    return answer


async def _awaited(answer):
    try:
        return await answer, None
    except BaseException as error:
        return None, error


async def _collected(items):
    return [item async for item in items]


def _encode(value):
    # Modules of the library have the same built-in functions as the handler.
    put = dict(_patchable)
    _patchable.update(_built_in)
    try:
        return _encode_any(value)
    finally:
        _patchable.update(put)


def _text(error):
    """What an error says, with escapes for what is no character; None where that cannot be had."""
    try:
        return str.__str__(str(error)).encode(errors="backslashreplace").decode()
    except BaseException:
        return None


class _Elsewhere(BaseException):
    """What runs was forked by the handler. Its argument is what the handler has raised there."""


def _leave(error):
    """Ends what the handler has forked as a script's child ends."""
    if _getpid() == _own:
        return
    if _in_main_thread:
        raise _Elsewhere(error)
    if error is not None and not isinstance(error, SystemExit):
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            pass
    for flush in _flush:
        try:
            flush()
        except BaseException:
            pass
    code = getattr(error, "code", 0) if isinstance(error, SystemExit) else int(error is not None)
    _exit(code & 255 if isinstance(code, int) else int(code is not None))


def _main():
    try:
        main(*sys.argv[1:])
    except _Elsewhere as elsewhere:
        error = elsewhere.args[0]
    if error is not None:
        raise error


if __name__ == "__main__":
    # CPython before 3.10 looks for built-in functions anew only where a function of another module is called.
    exec("run()", {"run": _main})
