"""The handler: misbehaves as it is told, or behaves well."""

import builtins
import time

# What it does when it behaves well is its own, whatever an act has put in the place of built-in functions.
__builtins__ = dict(vars(builtins))

from acts import ACTS, Answer, Call

_sleep = time.sleep


def handler(event):
    if "acts" not in event:
        return _well(event["call"], event["wait"])
    for name, seed in event["acts"]:
        answer = ACTS[name].run(Call(event["call"], seed))
        if type(answer) is Answer:
            return answer.value
    return {"did": event["call"]}


def _well(call, wait):
    said = None
    try:
        print(f"<{call}> well")
    except BaseException as error:
        said = type(error).__name__
    _sleep(wait)
    return {"well": call, "sum": sum(range(1000)), "said": said}
