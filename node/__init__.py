"""cortexd: the daemon that runs on every machine of a Cortex cluster."""

__version__ = "0.1.0"
