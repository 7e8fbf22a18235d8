"""What must differ between children of one zygote.

What the system is asked for each time differs by itself: `secrets`, `os.urandom`, `uuid4`. Libraries
that seed a generator once and notice a fork by their process's number, as OpenSSL does, notice this
one: a child's number is never that of the zygote. Hashes of texts are the same in all children,
because they are in what the zygote has made already.
"""

import gc
import os
import sys

if 0:
    from pipsqueak_runtime.shapes import *

# A seed of fewer bits was chosen by somebody, and stands for the numbers that it always gives.
CHOSEN_BITS = 96


class Generators:
    """Generators of random numbers that imports have seeded from the system."""

    def __init__(self):
        # type: () -> None
        self.unseeded = []  # type: Any
        self.of_numpy = []  # type: list[Any]
        self.end_watch = lambda: None

    def begin(self):
        # type: () -> None
        """Watches where there is something to, ahead of imports."""
        if "random" in sys.modules:
            self.watch(sys.modules["random"])

    def watch(self, random):
        # type: (Any) -> None
        """Notes generators that are made of `random.Random` until `collect`."""
        import weakref

        plain = random.Random.seed
        self.unseeded = weakref.WeakSet([random._inst, *self.unseeded])

        def seed(generator, a=None, *rest, **named):
            # type: (Any, Any, *Any, **Any) -> None
            if a is None:
                self.unseeded.add(generator)
            else:
                self.unseeded.discard(generator)
            return plain(generator, a, *rest, **named)

        def end_watch():
            # type: () -> None
            random.Random.seed = plain

        random.Random.seed = seed
        self.end_watch = end_watch

    def collect(self):
        # type: () -> None
        """Ends the watch, and finds numpy's generators, but for those that were found and frozen by
        the zygote that this one was forked from."""
        self.end_watch()  # type: ignore[no-untyped-call]
        self.unseeded = list(self.unseeded)
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random:
            kind = numpy_random.BitGenerator
            # Not `isinstance`, which asks proxies what they stand for.
            found = [one for one in gc.get_objects() if issubclass(type(one), kind)]
            # The global one is seeded by its own function.
            own = getattr(numpy_random.mtrand._rand, "_bit_generator", None)
            self.of_numpy += [one for one in found if one is not own and not _has_chosen_seed(one)]

    def reseed(self):
        # type: () -> None
        """Seeds all of them anew, in a child; with them what is not random and must differ."""
        for generator in self.unseeded:
            generator.seed()
        for generator in self.of_numpy:
            generator.state = type(generator)().state
        modules = sys.modules
        if "numpy.random" in modules:
            modules["numpy.random"].seed()
        if "tempfile" in modules:
            modules["tempfile"]._name_sequence = None  # type: ignore[attr-defined]
        if "multiprocessing.process" in modules:
            process = modules["multiprocessing.process"]
            process.current_process().authkey = os.urandom(32)
        if "uuid" in modules:
            _renew_clock(modules["uuid"])


def _has_chosen_seed(generator):
    # type: (Any) -> bool
    # numpy before 1.24 has the other name. Seeded in the old way, there is none.
    sequence = generator.seed_seq if hasattr(generator, "seed_seq") else generator._seed_seq
    entropy = getattr(sequence, "entropy", 0)
    return not isinstance(entropy, int) or entropy.bit_length() <= CHOSEN_BITS


def _renew_clock(uuid):
    # type: (Any) -> None
    """Gives `uuid1` another clock sequence, which tells apart what was made at the same time."""
    uuid._node = uuid._last_timestamp = None
    plain = getattr(uuid, "_generate_time_safe", None)
    if plain is None:
        return
    own = int.from_bytes(os.urandom(2), "big") & 0x3FFF

    def generate_time_safe():
        # type: () -> tuple[bytes, Any]
        text, is_safe = plain()
        clock = int.from_bytes(text[8:10], "big") ^ own
        return text[:8] + clock.to_bytes(2, "big") + text[10:], is_safe

    uuid._generate_time_safe = generate_time_safe
