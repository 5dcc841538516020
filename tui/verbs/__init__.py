"""The verbs of `cortex`, one module per group."""
