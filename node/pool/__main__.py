"""This folder's path given to Python: `host --data DIR`, or `worker DESCRIPTOR CONFIG` as a host starts it."""

import os
import sys

if not __package__:
    # Last, so that nothing of ours hides a module of the interpreter that runs the handlers.
    sys.path[0:1] = []
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"] and len(arguments) == 3:
        from node.pool.worker import main as work

        return work(int(arguments[1]), arguments[2])
    if arguments[:2] == ["host", "--data"] and len(arguments) == 3:
        from node.pool.host import main as serve

        return serve(arguments[2])
    os.write(2, b"usage: python node/pool host --data DIR\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
