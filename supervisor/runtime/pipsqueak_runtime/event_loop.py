"""The process's event loop: one for all that is awaited in it, which goes on where it was with the next
invocation. Where several invocations are served at once it runs in a thread of its own, else in the
main thread while something is awaited."""

import asyncio
import sys
import traceback
import warnings
from _queue import SimpleQueue
from _thread import allocate_lock, start_new_thread

from pipsqueak_native import is_elsewhere

from pipsqueak_runtime import own_builtins as __builtins__

if 0:
    from pipsqueak_runtime.shapes import *

_lock = allocate_lock()
_loop = None  # type: AbstractEventLoop | None
# Where those are told who wait for the loop of threads.
_waiting = set()  # type: set[SimpleQueue[Outcome]]


def run(awaitable):
    # type: (Awaitable[Any]) -> Any
    """Waits for something in the loop, in a copy of the caller's context variables; returns what it
    gives, raises what it raises."""
    if "pipsqueak_runtime.concurrency" in sys.modules:
        outcome = _run_there(awaitable)
    else:
        outcome = _run_here(_outcome(awaitable))
    answer, error = outcome
    if error is not None:
        raise error
    return answer


def collect(items):
    # type: (AsyncIterable[Any]) -> list[Any]
    """All items of an asynchronous iterator, as a list."""

    async def collected():
        # type: () -> list[Any]
        return [item async for item in items]

    return run(collected())


def _run_here(outcome):
    # type: (Coroutine[Any, Any, Outcome]) -> Outcome
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = _main_loop()
        asyncio.set_event_loop(_loop)
    task = _loop.create_task(outcome)
    while True:
        try:
            return _loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            if _loop.is_closed():
                raise
            # Of another task that exits; this one goes on.
            traceback.print_exc(file=sys.stderr)
        except BaseException as error:
            if type(error) is RuntimeError and _can_run(_loop):
                # Somebody has stopped it.
                traceback.print_exc(file=sys.stderr)
                continue
            _loop = None
            _end(task.get_loop(), task)
            raise


def _can_run(loop):
    # type: (AbstractEventLoop) -> bool
    return not loop.is_closed() and asyncio._get_running_loop() is None


def _end(loop, task=None):
    # type: (AbstractEventLoop, Task[Any] | None) -> None
    """Ends a loop that does not run any more, as far as that can be done."""
    for end in (task and task.cancel, loop.close, lambda: asyncio.set_event_loop(None)):
        try:
            end and end()
        except Exception:
            pass


def _run_there(awaitable):
    # type: (Awaitable[Any]) -> Outcome
    loop, ended = _loop_of_threads(), SimpleQueue()  # type: AbstractEventLoop, SimpleQueue[Outcome]

    async def awaited():
        # type: () -> Outcome
        outcome = await _outcome(awaitable)
        if is_elsewhere():
            from pipsqueak_runtime import forked

            forked.end(outcome[1])
        return outcome

    def begin():
        # type: () -> None
        try:
            loop.create_task(awaited()).add_done_callback(end)
        except BaseException as error:
            ended.put((None, error))

    def end(task):
        # type: (Task[Outcome]) -> None
        try:
            ended.put(task.result())
        except BaseException as error:
            # Somebody has cancelled all tasks that there were.
            ended.put((None, error))

    _waiting.add(ended)
    try:
        # In a copy of the caller's context.
        loop.call_soon_threadsafe(begin)
        return ended.get()
    finally:
        _waiting.discard(ended)


def _loop_of_threads():
    # type: () -> AbstractEventLoop
    global _loop
    with _lock:
        if _loop is None:
            loop = _main_loop()
            start_new_thread(_serve, (loop,))
            _loop = loop
        return _loop


async def _outcome(awaitable):
    # type: (Awaitable[Any]) -> Outcome
    # A task hands `SystemExit` and `KeyboardInterrupt` to its loop, which would end with them.
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


def _main_loop():
    # type: () -> AbstractEventLoop
    # What was made for the main thread's loop while the function was imported is for this one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return asyncio.new_event_loop()
        return asyncio.new_event_loop() if loop.is_closed() else loop


def _serve(running):
    # type: (AbstractEventLoop) -> None
    global _loop
    asyncio.set_event_loop(running)
    while True:
        try:
            running.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Of a task of the user's own that exits; others go on.
            traceback.print_exc(file=sys.stderr)
        except BaseException as error:
            # It would not run again either. The next who awaits something gets another.
            with _lock:
                _loop = None
            _end(running)
            for ended in list(_waiting):
                ended.put((None, error))
            return
