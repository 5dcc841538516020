"""`python -m node.drivers.k8s`: see main."""

from node.drivers.k8s.main import main

main()
