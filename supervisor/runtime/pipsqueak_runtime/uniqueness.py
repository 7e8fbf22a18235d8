"""What must differ between children of one zygote."""

import os
import sys


def reseed():
    """Gives every generator that the zygote had seeded a seed of its own."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(int.from_bytes(os.urandom(4), "little"))
