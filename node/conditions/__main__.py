"""The evaluating process: this folder's path given to Python, and the folder that the engine is in.

Reads questions from stdin and writes answers to stdout, one at a time, until stdin ends. See process.py.
"""

import os
import resource
import signal
import struct
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.append(sys.argv[1])

from node.conditions.evaluate import evaluate, syntax

# Some loops of the engine look at no clock. CPU time, so that a busy machine makes nothing time out.
_CPU_LIMIT_S = 0.5
_ADDRESS_SPACE_BYTES = 1 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(9)) == 9:
        syntax_only, *sizes = struct.unpack(">?II", header)
        expression, inputs = (source.read(size).decode() for size in sizes)
        signal.setitimer(signal.ITIMER_PROF, _CPU_LIMIT_S)
        kind, error = syntax(expression) if syntax_only else evaluate(expression, inputs)
        signal.setitimer(signal.ITIMER_PROF, 0)
        text = error.encode("utf-8", "replace")
        sink.write(struct.pack(">BI", kind, len(text)) + text)
        sink.flush()


if __name__ == "__main__":
    main()
