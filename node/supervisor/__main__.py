"""`python -m node.supervisor --data DIR`, or this folder's path given to Python: that skips `site` with -S."""

import os
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from node.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
