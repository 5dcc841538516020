"""Which program a supervisor runs: its files and its interpreter, as one word."""

from __future__ import annotations

import os
import sys

from node.supervisor.capture import sha256


def build_id(folder: str) -> str:
    """16 hexadecimal digits for the program files in `folder`, run by this interpreter. Raises OSError."""
    digest = sha256(sys.version.encode())
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(f"{folder}/{name}", "rb") as file:
                data = file.read()
            digest.update(b"%s %d\n" % (os.fsencode(name), len(data)))
            digest.update(data)
    return str(digest.hexdigest()[:16])
