"""`python __main__.py zygote|function`: serves the supervisor on descriptor 3."""

import sys

CHANNEL = 3


def main(role):
    # The interpreter was started in isolated mode, so this folder is on the path only if put there,
    # and is taken off again: user code sees its own folder, its environment and nothing else.
    folder = __file__.rpartition("/")[0].rpartition("/")[0]
    sys.path.insert(0, folder)
    from pipsqueak_runtime import function, zygote

    sys.path.remove(folder)
    if role == "zygote":
        # Returns in each child, with the child's channel.
        channel = zygote.serve(CHANNEL)
    else:
        channel = CHANNEL
    function.serve(channel)


main(sys.argv[1])
