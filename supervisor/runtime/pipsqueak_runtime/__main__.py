"""`python __main__.py zygote|function`: serves the supervisor on descriptor 3."""

import sys

CHANNEL = 3
CODE = "/function"


def main(role):
    # type: (str) -> None
    begun = set(sys.modules)
    # This folder is on the path for a while only: user code sees its own folder, its environment, and at
    # last what is provided to everybody.
    package = __file__.rpartition("/")[0]
    folder = package.rpartition("/")[0]
    if sys.path[:1] == [package]:
        # An interpreter that heeds variables puts it there.
        del sys.path[0]
    sys.path.insert(0, folder)
    from pipsqueak_runtime import function, own

    own.plain = begun
    sys.path[:] = [*sys.path[1:], f"{folder}/provided"]
    sys.argv[:] = [CODE]
    # `multiprocessing` runs the main module of its parent again in processes that it spawns.
    sys.modules["__main__"] = type(sys)("__main__")
    channel = CHANNEL
    try:
        if role == "zygote":
            from pipsqueak_runtime import zygote

            # Returns in each child, with the child's channel.
            channel = zygote.serve(CHANNEL)
        function.serve(channel, CODE)
    except function.native.Elsewhere as elsewhere:
        raised = elsewhere.args[0] if elsewhere.args else None
    # Only what a function or a package has forked comes here.
    function.forked.leave(raised)


main(sys.argv[1])
