"""`python -m node.drivers.agent`: see main."""

import sys

from node.drivers.agent.main import main

sys.exit(main())
