"""`python -m node.drivers.container`: see main."""

import sys

from node.drivers.container.main import main

sys.exit(main())
