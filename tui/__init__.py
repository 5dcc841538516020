"""cortex: the operator's console and command line. Knows cortex.v1, never imports node."""

__version__ = "0.1.0"
