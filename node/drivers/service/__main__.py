"""`python -m node.drivers.service COMMAND...`: see main."""

from node.drivers.service.main import main

main()
