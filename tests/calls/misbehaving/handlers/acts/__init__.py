"""What a handler may do that it had better not. Each act says what must be known of it to judge what it does:

- `end`: it ends the handler, so that nothing follows
- `shared`: it changes what all calls of the process share
- `beside`: others print meanwhile, in no order
- `hangs`: it does not end
"""

import random


class Act:
    """An act. `weight` is how often it is drawn, against others."""

    def __init__(self, run, traits, weight):
        self.run = run
        self.traits = traits
        self.weight = weight


class Answer:
    """What the handler is to return."""

    def __init__(self, value):
        self.value = value


class Call:
    """A call's part in an act: its token, and what it draws."""

    def __init__(self, token, seed):
        self.token = f"<{token}>"
        self.draw = random.Random(seed)

    def say(self, text):
        """Prints a line that is this call's."""
        print(f"{self.token} {text}")

    def __format__(self, _):
        return self.token


ACTS = {}


def act(*traits, weight=2):
    """Makes a function an act."""

    def taken(run):
        module = run.__module__.rpartition(".")[2]
        ACTS[f"{module}.{run.__name__}"] = Act(run, traits, weight)
        return run

    return taken


from acts import answers, patches, printing, process, raising, signals, threads
