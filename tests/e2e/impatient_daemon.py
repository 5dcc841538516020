"""`python -m tests.e2e.impatient_daemon`: cortexd with the supervisor of tests/e2e/impatient_supervisor."""

from __future__ import annotations

from pathlib import Path

import node.supervisor
from node.cli import main

if __name__ == "__main__":
    # The folder beside this is what the daemon starts.
    node.supervisor.__file__ = str(Path(__file__).with_name("impatient_supervisor") / "__init__.py")
    main()
