"""A function's process that imports, before it is any function's, what no zygote may have imported."""

from pipsqueak_runtime import environment, failure, json_text, reads


def prepare(channel, modules):
    """Imports modules, and tells what that has read and whether all have come."""
    reads.note_start(environment.FOLDER, environment.lines())
    reads.begin()
    failed = None
    try:
        for name in modules:
            try:
                __import__(name)
            except BaseException as error:
                # What a package raises is not always an Exception.
                reason = f"{name}: {failure.name(error)}: {failure.message(error)}"
                failed = failure.printable(reason, 1000)
                break
    finally:
        reads.end()
    channel.send(json_text.encode({"reads": reads.told(), "failed": failed}), b"")
